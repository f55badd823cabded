"""Which of gunicorn's hooks move, and whether a function does with its arguments only what ours can do."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable

# Our hook in the place of each of gunicorn's; "": there is none.
HOOKS = {
    "on_starting": "on_starting",
    "on_reload": "on_reload",
    "when_ready": "when_ready",
    "pre_fork": "pre_fork",
    "post_fork": "post_fork",
    "post_worker_init": "worker_ready",
    "child_exit": "child_exit",
    "worker_exit": "worker_exit",
    **dict.fromkeys(
        (
            "worker_int", "worker_abort", "pre_exec", "pre_request", "post_request", "nworkers_changed", "on_exit",
            "ssl_context", "on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit",
        ),
        "",
    ),
}  # fmt: skip
# What hooks can ask of what they are called with: the server, and the worker (host/hooks.py).
OF_SERVER = {"pid", "generation", "log"}
OF_WORKER = {"number", "pid", "generation", "log"}


def find_missing(hook: Callable[..., object]) -> list[str]:
    """Return what a hook reads of its arguments that ours do not have, as in ``worker.age``; empty: nothing more.

    A hook whose source is not there, or that passes its arguments on, may still use more.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(hook)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    function = next((one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.Lambda)), None)
    if function is None:
        return []
    parameters = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    known = {
        name: OF_WORKER if (position == 1 or (len(parameters) == 1 and name == "worker")) else OF_SERVER
        for position, name in enumerate(parameters[:2])
    }
    used = {
        (one.value.id, one.attr)
        for one in ast.walk(function)
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in known
    }
    return sorted(f"{name}.{attribute}" for name, attribute in used if attribute not in known[name])
