"""Fuzz the parsers with atheris: `python -m tests.fuzz` with libFuzzer's flags and folders of inputs.

Run by tools/fuzz.sh on the build that is instrumented for it. The coverage that guides it is that of the compiled
parsers alone: nothing in Python is instrumented. With `--seeds FOLDER`, only write the wire cases of tests/corpus there
as inputs, each whole, byte by byte, and in pieces, with the options by turns.
"""

import os
import sys
from hashlib import sha1
from pathlib import Path

from tests import corpus
from tests.fuzz import property as fuzzed

SEED_BYTES = 4096  # the longest wire that is worth mutating
SEED_SIZES = (b"\xff", b"", b"\x06\x80\x11")


def write_seeds(folder: Path) -> None:
    """Write the corpus as inputs, each under its digest, as libFuzzer does."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(corpus.load()):
        if len(case.wire) > SEED_BYTES:
            continue
        for turn, sizes in enumerate(SEED_SIZES):
            options = (number + turn * 11) % fuzzed.BEHIND_CHUNKED_HEAD
            wire = case.wire
            if wire.startswith(fuzzed.CHUNKED_HEAD):
                wire = wire.removeprefix(fuzzed.CHUNKED_HEAD)
                options |= fuzzed.BEHIND_CHUNKED_HEAD
            data = fuzzed.Input(options, sizes, wire).encode()
            (folder / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def main() -> None:
    """Write seeds, or fuzz until libFuzzer says that it is enough."""
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    import atheris

    # libFuzzer starts itself again to merge: what it starts must be a program.
    arguments = [os.environ.get("HALFSYNC_FUZZ_PROGRAM", sys.argv[0]), *sys.argv[1:]]
    atheris.Setup(arguments, fuzzed.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
