"""The errors of the lab."""

from __future__ import annotations

from halfsync.errors import HalfsyncError


class MeasureError(HalfsyncError):
    """A measurement failed; its text says why, for the report."""
