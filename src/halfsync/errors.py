"""Every error that halfsync raises on purpose, as one tree."""

from http import HTTPStatus


class HalfsyncError(Exception):
    """The base of every error that halfsync raises on purpose."""


class ProtocolError(HalfsyncError):
    """The peer broke HTTP or passed a limit: answer with `status`, close, and parse nothing more of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status} {HTTPStatus(self.status).phrase}: {self.reason}"
