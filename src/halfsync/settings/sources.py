"""Where settings come from: flags, then the environment, then a file, then what hosting platforms set.

This is the only module that reads settings from the environment, and it does so once. ``listening.activation`` and
``host.notify`` read what systemd passes, and ``host.directory`` reads the shell's name for the working directory. If
two sources give the same setting, the stronger one is used, and the weaker one is not even validated, so that a flag
can correct a variable.

Paths are plain strings here: importing pathlib would cost every start 3 ms and 1 MB.
"""

import errno
import re
import stat
import warnings
from collections.abc import Mapping

from halfsync.errors import UsageError, reason_of
from halfsync.listening.activation import Activation, read, take
from halfsync.loading.variables import outside
from halfsync.runtime.originals import os
from halfsync.runtime.standard import genuine
from halfsync.settings.declaration import BY_NAME, SETTINGS
from halfsync.settings.settings import Given, Settings, nearest

PREFIX = "HALFSYNC_"
FILE_NAME = "halfsync.toml"
PROJECT_FILE_NAME = "pyproject.toml"
BYTES_MOST = 1_048_576  # the longest settings file
# The variables of a Service halfsync-web: its address and ports, and, as for Docker links, each port as parts of a URL.
_SERVICE = re.compile(
    r"HALFSYNC(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)


def resolve(
    flags: Mapping[str, object],
    *,
    environ: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] = ".",
    again: bool = False,
) -> Settings:
    """Return all settings: from ``flags`` by name first, then the environment, a file, conventions and defaults.

    ``directory``: where a file is looked for if none is named. ``again``: a running server reads its settings once
    more, and must not wait for a program that writes them. Raises UsageError for anything unknown or wrong.
    """
    activation = take() if environ is None else read(environ, os.getpid())
    if environ is None:
        environ = outside()  # without the application's variables, which a reload would find there
    by_flag = {name: Given(value, BY_NAME[name].flag, BY_NAME[name].flag) for name, value in flags.items()}
    by_variable = _from_environment(environ)
    config = by_flag.get("config") or by_variable.get("config")
    by_file = _from_file(config, os.fspath(directory), again=again)
    conventions = {**_from_conventions(environ), **_from_activation(activation)}
    return Settings.from_given({**conventions, **by_file, **by_variable, **by_flag})


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return the settings in HALFSYNC_*. An empty variable counts as not set: platforms often leave some empty."""
    known = {setting.variable: setting.name for setting in SETTINGS}
    given: dict[str, Given] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or (variable not in known and _is_kubernetes(variable, value)):
            continue
        if variable not in known:
            remedy = nearest(variable, known)
            raise UsageError("unknown setting in the environment", origin=f"${variable}", remedy=remedy)
        if value:
            given[known[variable]] = Given(value, f"${variable}", f"${variable}")
    return given


def _is_kubernetes(variable: str, value: str) -> bool:
    """Return whether Kubernetes has set a variable in the pod, for a Service whose name begins with "halfsync"."""
    if variable.endswith("_PORT") and value.startswith(("tcp://", "udp://", "sctp://")):
        return True  # a plain number is a mistake of a user who wants to set the port
    return _SERVICE.fullmatch(variable) is not None


def _from_conventions(environ: Mapping[str, str]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for setting in SETTINGS:
        if setting.convention is None:
            continue
        variable, template = setting.convention
        if value := environ.get(variable):
            given[setting.name] = Given(template.format(value), f"${variable}", f"${variable}")
    return given


def _from_activation(activation: Activation) -> dict[str, Given]:
    """Return the bind to the sockets that systemd passes to this process, if there are any."""
    return {"bind": Given("systemd", "$LISTEN_FDS", "$LISTEN_FDS")} if activation.sockets else {}


def _from_file(config: Given | None, directory: str, *, again: bool) -> dict[str, Given]:
    """Return the settings in the file that was named, or in the one in the directory, which may be missing."""
    if config is not None:
        named = str(BY_NAME["config"].convert(config.value, config.label))
        table = _read_table(named, label=config.label, named=True, again=again)
        return _from_table(table or {}, named)
    for name in (FILE_NAME, PROJECT_FILE_NAME):
        path = name if directory == "." else f"{directory}/{name}"
        table = _read_table(path, label=name, named=False, again=again)
        if table is not None:
            return {**_from_table(table, path), "config": Given(path, "found", name)}
    return {}


def _read_table(path: str, *, label: str, named: bool, again: bool) -> dict[str, object] | None:
    """Return the settings in a TOML file; None: it is missing, or has none for halfsync."""
    scheme, _, rest = path.partition(":")
    if named and scheme in ("python", "file") and rest:
        # gunicorn's form of naming a Python module or file.
        raise UsageError(
            f"{path!r} names no file",
            origin=label,
            remedy=f"name a TOML file, as in {FILE_NAME}; for gunicorn's settings: halfsync import-config {path}",
        )
    try:
        content = _read_file(path, label, may_wait=named and not again)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not named:
            return None
        reason = reason_of(error)
        remedy = "check the name and the permissions of the file"
        raise UsageError(f"cannot read {path}: {reason}", origin=label, remedy=remedy) from None
    if path.endswith(".py"):
        raise _refuse_python(path)
    is_project = path.rpartition("/")[2] == PROJECT_FILE_NAME
    # Most projects have a pyproject.toml that does not mention halfsync: do not load a TOML parser for that.
    if is_project and not named and b"halfsync" not in content:
        return None
    with genuine():
        import tomllib  # noqa: PLC0415 - only a file needs it

    try:
        document: dict[str, object] = tomllib.loads(content.decode())
    except ValueError as error:
        if not path.endswith(".toml") and _is_python(content):
            raise _refuse_python(path, f" ({error})") from None
        raise UsageError(f"not valid TOML: {error}", origin=path, remedy="correct the file") from None
    except RecursionError:
        raise UsageError(
            "nested too deeply", origin=path, remedy="no setting has more than three levels"
        ) from None
    if not is_project:
        return document
    tool = document.get("tool")
    table = tool.get("halfsync") if isinstance(tool, dict) else None
    if table is None and named:
        raise UsageError("has no table [tool.halfsync]", origin=path, remedy="add one, or leave the flag out")
    if table is not None and not isinstance(table, dict):
        raise UsageError("tool.halfsync is not a table", origin=path, remedy="write it as [tool.halfsync]")
    return table


def _read_file(path: str, label: str, *, may_wait: bool) -> bytes:
    """Return a file's content. may_wait: it may be a pipe, whose writer is waited for. Raises OSError and UsageError.

    A read of anything other than a regular file may wait for ever, or never end.
    """
    _refuse_kind(os.stat(path), path, label, may_wait=may_wait)
    # A pipe that has taken the file's place since then must not block this.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        _refuse_kind(status, path, label, may_wait=may_wait)
        content = b""
        while len(content) <= BYTES_MOST:
            try:
                piece = os.read(descriptor, BYTES_MOST + 1 - len(content))
            except BlockingIOError:
                os.set_blocking(descriptor, True)  # there is a writer
                continue
            content += piece
            if not piece:
                break
    finally:
        os.close(descriptor)
    if len(content) > BYTES_MOST:
        problem = f"{path} has more than {BYTES_MOST} bytes"
        raise UsageError(problem, origin=label, remedy="name a settings file; those are shorter")
    if stat.S_ISFIFO(status.st_mode) and not content:
        raise UsageError(f"{path} is a pipe without a writer", origin=label, remedy="name a file")
    return content


def _refuse_kind(status: os.stat_result, path: str, label: str, *, may_wait: bool) -> None:
    """Raise UsageError for what is neither a regular file nor, if this may wait, a pipe. OSError: it is a directory."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode) and not (may_wait and stat.S_ISFIFO(status.st_mode)):
        raise UsageError(f"{path} is not a regular file", origin=label, remedy="name a regular file")


def _is_python(content: bytes) -> bool:
    """Return whether a file has something that only Python has: an import, a definition or a call.

    Most mistakes in TOML, and most YAML, JSON and INI, are valid Python too: `preload = True`, `workers: 2`,
    `pidfile = run/web.pid`.
    """
    import ast  # noqa: PLC0415 - only a mistake needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its syntax, since it is not run
            statements = ast.parse(content).body
            return any(
                isinstance(one, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)
                or (
                    isinstance(one, ast.Assign | ast.Expr)
                    and any(isinstance(part, ast.Call | ast.JoinedStr) for part in ast.walk(one))
                )
                for one in statements
            )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _refuse_python(path: str, mistake: str = "") -> UsageError:
    """Return the error for settings in Python, which gunicorn uses."""
    return UsageError(
        f"this is Python, and settings are written in TOML{mistake}",
        origin=path,
        remedy=f"write them as NAME = VALUE, as in {FILE_NAME}; for gunicorn's settings: halfsync import-config {path}",
    )


def _from_table(table: Mapping[str, object], path: str) -> dict[str, Given]:
    given: dict[str, Given] = {}
    known = {name: setting for name, setting in BY_NAME.items() if name != "config"}
    for name, value in table.items():
        if name not in known:
            remedy = nearest(name, known)
            raise UsageError(f"unknown setting {name!r}", origin=path, remedy=remedy)
        given[name] = Given(value, path, f"{name} in {path}")
    return given
