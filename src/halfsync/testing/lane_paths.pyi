"""The rules by which requests go to lanes, for their unit tests. Only in checks builds."""

from halfsync.engine.lane_rules import LaneTable

def lane_name(table: LaneTable, method: bytes, path: bytes) -> str:
    """Return the name of the lane of a request. path: as it was sent, without a query."""
