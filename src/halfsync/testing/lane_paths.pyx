"""The rules by which requests go to lanes, for their unit tests. Only in checks builds."""
from halfsync.engine.lane_rules cimport LaneTable, lane_for


def lane_name(LaneTable table, bytes method, bytes path):
    return table.names[lane_for(&table.rules, method, len(method), path, len(path))]
