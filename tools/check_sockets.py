"""Check that only the transport touches the socket of a client.

Reads every .pyx, .pxd and .h under src/halfsync, and reports each place outside transport/ that declares or uses a
system call that receives from a connected socket, sends to it, or shuts it down. Modules with sockets that are not a
client's are listed as exceptions. Ends with 1 and a line for each fault.
"""

import re
import sys
from pathlib import Path

CALLS = (
    *("recv", "recvfrom", "recvmsg", "recvmmsg", "readv"),
    *("send", "sendto", "sendmsg", "sendmmsg", "writev", "splice"),
    *("sendfile", "shutdown"),
)
# The queue between processes, the log to a syslog, and the load generator, which is a client: no client's sockets.
OTHERS = frozenset(["lab/load_clients.pyx", "observe/syslog.pyx", "shared/handoff_queue.pyx"])

# A call in C, or the name of the C function in a Cython declaration.
_CALL = re.compile(rf'(?<![\w.>"])(?:{"|".join(CALLS)})\s*\(|"(?:{"|".join(CALLS)})"')
_OPTION = re.compile(r"\b(?:SO_LINGER|MSG_PEEK|SIOCOUTQ|TIOCOUTQ)\b")
_COMMENT = re.compile(r"#.*")
_DOCSTRING = re.compile(
    r'^\s*"""(?!\s*$).*?"""', re.MULTILINE | re.DOTALL
)  # not C code, which begins on the line after its quotes
# A Cython function with the name of a call.
_DEFINED = re.compile(r"\bcdef\b[^(\n]*?(\w+)\(")


def main(arguments: list[str]) -> int:
    """Check the tree named on the command line, or this repository's. Return the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "src" / "halfsync"
    faults = [fault for path in sorted(root.rglob("*")) for fault in find_faults(root, path)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("check_sockets: only the transport touches the sockets of clients")
    return 1 if faults else 0


def find_faults(root: Path, path: Path) -> list[str]:
    """Return the faults in one file."""
    inner = path.relative_to(root).as_posix()
    if (
        path.suffix not in (".pyx", ".pxd", ".h")
        or inner in OTHERS
        or inner.startswith(("transport/", "testing/"))
    ):
        return []
    text = path.read_text(encoding="utf-8")
    text = _DOCSTRING.sub(lambda match: "\n" * match[0].count("\n"), text)
    defined = set(_DEFINED.findall(text))
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        code = _COMMENT.sub("", line) if path.suffix != ".h" else line
        for match in (*_CALL.finditer(code), *_OPTION.finditer(code)):
            name = match[0].strip('"( ')
            if name in defined and '"' not in match[0]:
                continue
            faults.append(f"{path}:{number}: {name}: only halfsync.transport touches the socket of a client")
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
