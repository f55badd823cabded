"""The page that shows a running server: one document, made of the three files beside this one."""

from __future__ import annotations

from binascii import b2a_base64

try:  # not hashlib, which loads OpenSSL
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:  # before Python 3.12
    from _sha256 import sha256  # type: ignore[import-not-found]

from halfsync.runtime.originals import os

PARTS = (("style", "/* style.css */", "style.css"), ("script", "/* script.js */", "script.js"))


def load_page() -> tuple[bytes, bytes]:
    """Return the document, and the value of its Content-Security-Policy. Raises OSError.

    The policy allows this style and this script, and connections to where the document came from. Nothing else is
    loaded, sent or run, whatever a client of the server has put into a path.
    """
    page = _read("page.html")
    policy = [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    for kind, place, name in PARTS:
        text = _read(name)
        page = page.replace(place, text)
        policy.append(f"{kind}-src 'sha256-{_digest(text)}'")
    return page.encode(), "; ".join([*policy, "frame-ancestors 'none'"]).encode()


def _digest(text: str) -> str:
    return b2a_base64(sha256(text.encode()).digest(), newline=False).decode()


def _read(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:  # noqa: PTH123
        return file.read()
