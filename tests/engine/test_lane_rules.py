"""Which lane a request belongs to: the order of the rules, and paths that can be read in two ways."""

import posixpath
import random
from urllib.parse import unquote_to_bytes

import pytest

from halfsync.engine.lane_rules import LaneTable
from halfsync.settings.lanes import Lanes, all_lanes
from halfsync.testing.lane_paths import lane_name

LANES = {
    "health": {"paths": ["/health", "/api/health"], "priority": 10},
    "api": {"paths": ["/api/*"], "priority": 1},
    "reports": {"paths": ["/api/reports/*", "/api/reports"], "priority": -1},
    "writes": {"paths": ["/api/*"], "methods": ["POST", "PUT"], "priority": 2},
    "deletes": {"methods": ["DELETE"], "priority": 3},
    "names": {"paths": ["/über/a b"]},
}


@pytest.fixture(scope="module")
def table() -> LaneTable:
    return LaneTable(all_lanes(Lanes().convert(LANES)))


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("GET", "/health", "health"),
        ("GET", "/health/", "default"),
        ("GET", "/healthy", "default"),
        ("GET", "/HEALTH", "default"),
        ("GET", "/api/health", "health"),
        ("GET", "/api/", "api"),
        ("GET", "/api", "default"),
        ("GET", "/api/x/y/", "api"),
        ("POST", "/api/x", "writes"),
        ("POS", "/api/x", "api"),
        ("post", "/api/x", "api"),
        ("POST", "/api/reports/x", "reports"),
        ("GET", "/api/reports", "reports"),
        ("DELETE", "/", "deletes"),
        ("DELETE", "/api/x", "api"),
        ("DELETE", "", "deletes"),
        ("OPTIONS", "", "default"),
        ("GET", "/%C3%BCber/a%20b", "names"),
        ("GET", "/%61pi/x", "api"),
        ("GET", "/api%2Freports%2fx", "reports"),
        ("GET", "/api%", "default"),
        ("GET", "/api/%2", "api"),
        ("GET", "/api/%zz", "api"),
        ("GET", "/%2561pi/x", "default"),
        ("GET", "/api/./x", "api"),
        ("GET", "/api//reports/x", "reports"),
        ("GET", "/api/health/../reports/x", "reports"),
        ("GET", "/api/reports/../health", "reports"),
        ("GET", "/./health", "default"),
        ("GET", "/x/../health", "default"),
        ("GET", "/api/../health", "api"),
        ("GET", "/../../api/reports/", "reports"),
        ("GET", "/api/...", "api"),
        ("GET", "/.well-known/../api/reports", "reports"),
        ("GET", "/api/reports/..", "reports"),
        ("GET", "/health/.", "default"),
    ],
)
def test_the_first_rule_that_fits_counts(table: LaneTable, method: str, path: str, lane: str) -> None:
    assert lane_name(table, method.encode(), path.encode()) == lane


def test_a_path_that_is_too_long_goes_to_the_least_lane(table: LaneTable) -> None:
    assert lane_name(table, b"GET", b"/health".ljust(8193, b"x")) == "reports"
    assert lane_name(table, b"GET", b"/api/".ljust(8192, b"x")) == "api"
    assert lane_name(table, b"GET", b"/api/".ljust(8192, b"/")) == "api"


def test_the_lesser_lane_of_one_priority_has_fewer_threads() -> None:
    few, many = {"paths": ["/few/*"], "max_threads": 2}, {"paths": ["/many/*"], "max_threads": 3}
    for lanes in ({"few": few, "many": many}, {"many": many, "few": few}):
        table = LaneTable(all_lanes(Lanes().convert(lanes)))
        for path in (b"/few/../many/x", b"/many/../few/x"):
            assert lane_name(table, b"GET", path) == "few"


@pytest.mark.parametrize("seed", range(5))
def test_no_spelling_leads_to_a_better_lane(table: LaneTable, seed: int) -> None:
    """Against a model: the path as it is decoded, and that path as posixpath resolves it."""
    rng = random.Random(seed)
    pieces = ["/", "/", "api", "reports", "health", ".", "..", "%2e", "%2F", "x", "%", "%61pi", "repor%74s"]
    ranks = ["reports", "default", "names", "api", "writes", "deletes", "health"]
    for _ in range(3000):
        raw = ("/" + "".join(rng.choices(pieces, k=rng.randint(0, 9)))).encode()
        path = unquote_to_bytes(raw)
        resolved = posixpath.normpath(path.replace(b"//", b"/")).replace(b"//", b"/")
        if resolved != b"/" and (path.endswith((b"/", b"/.", b"/.."))):
            resolved += b"/"
        lanes = {plain(table, path), plain(table, resolved)}
        assert lane_name(table, b"GET", raw) == min(lanes, key=ranks.index), raw


def plain(_table: LaneTable, path: bytes) -> str:
    """Return the lane of a path that is taken as it is, by the rules of LANES, for GET."""
    if path in (b"/health", b"/api/health"):
        return "health"
    if path == b"/api/reports" or path.startswith(b"/api/reports/"):
        return "reports"
    return "api" if path.startswith(b"/api/") else "default"


def test_lanes_without_rules_have_one_lane() -> None:
    table = LaneTable(all_lanes(()))
    assert table.names == ("default",)
    assert lane_name(table, b"GET", b"/x/../y") == "default"
