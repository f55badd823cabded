"""What must be there before the first measurement: programs, peers, the floor, the file, the replies.

Nothing here aborts a run except a missing load generator. What cannot be had becomes the text of its row.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from bench.servers import Arm, Kit, Role
from bench.workloads import FILE_BYTES, POST_BYTES, STATIC_FILES, WORKLOADS, Kind

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
SYSTEM_PROGRAMS = ("wrk", "nginx", "gcc")
WANTED_FDS = 65_536
SPARE_FDS = 500
"""Descriptors kept for everything that is not an idle connection."""
INSTALL_S = 600
COMPILE_S = 60


def say(text: str) -> None:
    """Progress, on stderr, so that stdout holds the report alone."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def last_line(text: str) -> str:
    """The last line of a program's complaint, cut to fit a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "no message"


def attempt(args: list[str], timeout_s: float) -> str:
    """Run a program of the preparation; return what it complained of if it failed, or nothing."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        result = subprocess.run(
            args,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=env,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return last_line(result.stderr) if result.returncode else ""


def system_programs() -> dict[str, str]:
    """Install the system's programs if that is allowed; return those still missing, with what to do."""
    missing = [program for program in SYSTEM_PROGRAMS if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {' '.join(missing)}")
        attempt(["apt-get", "update", "-qq"], INSTALL_S)
        attempt(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], INSTALL_S)
    return {
        program: f"{program} is not installed (for example: sudo apt-get install {program})"
        for program in SYSTEM_PROGRAMS
        if shutil.which(program) is None
    }


def peers(folder: Path) -> dict[str, str]:
    """Make the peers' environment, or bring it up to requirements.txt; return what could not be installed."""
    stamp = folder / "installed.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return {}
    say("installing the peers into their own environment (once)")
    python = folder / "bin" / "python"
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    requirements = [line for line in lines if line]
    if not python.exists() and (problem := attempt([sys.executable, "-m", "venv", str(folder)], INSTALL_S)):
        return {package_of(line): f"could not be installed: {problem}" for line in requirements}
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", "--upgrade"]
    problems = {}
    for line in requirements:
        if problem := attempt([*pip, line], INSTALL_S):
            problems[package_of(line)] = f"could not be installed: {problem}"
    if not problems:
        # Only a complete environment is left alone: what failed today is tried again in the next run.
        stamp.write_text(wanted)
    return problems


def package_of(requirement: str) -> str:
    """The name in a requirement."""
    return re.split(r"[<>=!~\[ ]", requirement, maxsplit=1)[0]


def package_versions(python: Path | str) -> dict[str, str]:
    """The distributions that an interpreter sees, with their versions; empty if it does not run."""
    script = (
        "import importlib.metadata as m, json, platform;"
        "import sysconfig;"
        "free = ', free-threaded' if sysconfig.get_config_var('Py_GIL_DISABLED') else '';"
        "print(json.dumps({'Python': platform.python_version() + free,"
        " **{d.metadata['Name']: d.version for d in m.distributions()}}))"
    )
    try:
        # -P: the folder that the benchmark is run from is not a place to find packages.
        output = subprocess.run(
            [str(python), "-Pc", script], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(json.loads(output.stdout))


def program_version(args: list[str]) -> str:
    """The first line that a program prints about its version; nothing if it is not there."""
    try:
        output = subprocess.run(args, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return ""
    lines = (output.stdout + output.stderr).splitlines()
    return lines[0].strip() if lines else ""


def compile_floor(build: Path) -> str:
    """Compile the floor; return the problem, or nothing."""
    source = HERE / "floor" / "floor.c"
    problem = attempt(["gcc", "-O2", "-Wall", "-o", str(build / "floor"), str(source)], COMPILE_S)
    return f"could not be compiled: {problem}" if problem else ""


def large_file(path: Path) -> None:
    """Write the file that is served: not sparse, so that its pages are in the page cache like any file's."""
    if path.exists() and path.stat().st_size == FILE_BYTES:
        return
    block = (b"The quick brown fox jumps over the lazy dog. " * 23)[:1000] * 1000
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // len(block)):
            file.write(block)


def static_files(folder: Path) -> None:
    """Write the files that servers serve by themselves."""
    folder.mkdir(exist_ok=True)
    for name, size in STATIC_FILES.items():
        (folder / name).write_bytes(
            (b"The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]
        )


def default_replies(kit: Kit) -> None:
    """Write the responses the floor gives until halfsync has shown its own: the usual five headers."""
    for workload in WORKLOADS:
        if workload.kind in (Kind.LOAD, Kind.CLOSE):
            body = str(POST_BYTES).encode() if workload.body_bytes else b"x" * workload.answer_bytes
            head = (
                "HTTP/1.1 200 OK\r\nServer: halfsync\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            )
            head += "Connection: close\r\n\r\n" if workload.kind is Kind.CLOSE else "\r\n"
            kit.reply(workload).write_bytes(head.encode() + body)


def raise_fd_limit() -> int:
    """Lift the limit of open files, here and for the servers; return how many may be idle connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < WANTED_FDS:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED_FDS, WANTED_FDS))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    elif soft < WANTED_FDS:
        # Not beyond what is needed: some programs make a table of the whole limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED_FDS, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FDS


def missing_for(arm: Arm, problems: dict[str, str]) -> str:
    """Why an arm cannot be run, or nothing."""
    needs = arm.packages or ((arm.name,) if arm.role is Role.FLOOR else ())
    return next((problems[name] for name in needs if name in problems), "")
