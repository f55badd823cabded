"""The tables of lanes, and the share of a client: what is read, how it is written back, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from halfsync.errors import UsageError
from halfsync.settings import Settings, resolve
from halfsync.settings.lanes import Lane, Lanes, Share, all_lanes

API = {"paths": ["/api/*"]}
FULL = {
    "api": Lane("api", ("/api/*", "/x"), ("GET", "M-SEARCH"), 2, 3, 10, -5),
    "a-b_2": Lane("a-b_2", ('/"quoted" ü/*',)),
}


def lanes(**tables: Any) -> tuple[Lane, ...]:
    return Lanes().convert(tables)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({}, ()),
        ("none", ()),
        ("{}", ()),
        ({"api": API}, (Lane("api", ("/api/*",)),)),
        ({"api": {"paths": "/a,/b"}}, (Lane("api", ("/a", "/b")),)),
        ("{api = {paths = ['/api/*'], threads = 2}}", (Lane("api", ("/api/*",), threads=2),)),
        ({"writes": {"methods": ["POST"], "priority": "3"}}, (Lane("writes", (), ("POST",), priority=3),)),
        ({"all": {"paths": ["/*", "/", "/a/"]}}, (Lane("all", ("/*", "/", "/a/")),)),
        ({"default": {"max_threads": 2}}, (Lane("default", max_threads=2),)),
        (tuple(FULL.values()), tuple(FULL.values())),
    ],
)
def test_reads(raw: object, value: tuple[Lane, ...]) -> None:
    assert Lanes().convert(raw) == value


def test_is_written_as_it_is_read() -> None:
    value = tuple(FULL.values())
    assert Lanes().convert(Lanes().show(value)) == value
    assert Lanes().show(()) == "none"


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"Api": API}, "'Api' is not the name of a lane"),
        ({"": API}, "'' is not the name of a lane"),
        ({"x" * 33: API}, "is not the name of a lane"),
        ({"api": 1}, "lane api is not a table"),
        ({"api": {}}, "no request goes to lane api"),
        ({"api": {"threads": 2}}, "no request goes to lane api"),
        ({"api": API | {"path": "/x"}}, "lane api has an unknown key 'path'; did you mean 'paths'?"),
        ({"api": API | {"qqqqqq": 1}}, "has an unknown key 'qqqqqq'; it may have paths, methods, threads"),
        ({"api": {"paths": []}}, "paths of lane api: the list is empty"),
        ({"api": {"paths": 3}}, "paths of lane api: 3 is not a list of paths"),
        ({"api": {"paths": ["/x", "/x"]}}, "paths of lane api: '/x' is given twice"),
        (
            {"api": API | {"methods": ["get"]}},
            "methods of lane api: 'get' is not a method; write it in capitals",
        ),
        ({"api": API | {"methods": ["A B"]}}, "methods of lane api: 'A B' is not a method"),
        (
            {"api": API | {"methods": [f"A{n}" for n in range(17)]}},
            "17 methods are too many; name at most 16",
        ),
        ({"api": API | {"threads": 0}}, "threads of lane api: 0 is not a whole number from 1 to 1024"),
        (
            {"api": API | {"priority": 101}},
            "priority of lane api: 101 is not a whole number from -100 to 100",
        ),
        ({"api": API | {"queue_size": "many"}}, "queue_size of lane api: 'many' is not a whole number"),
        ({"api": API | {"threads": 3, "max_threads": 2}}, "is guaranteed 3 threads and may have only 2"),
        ({"default": API}, "lane default takes the requests that no other lane names"),
        ({"a": API, "b": API}, "lanes a and b both name /api/*; name it in one lane"),
        ({"a": {"methods": ["GET", "PUT"]}, "b": {"methods": ["PUT"]}}, "lanes a and b both name PUT"),
        (
            {"a": API | {"methods": ["GET"]}, "b": {"paths": ["/x", "/api/*"], "methods": ["GET"]}},
            "lanes a and b both name GET /api/*",
        ),
        ({f"lane{n}": {"paths": [f"/{n}"]} for n in range(17)}, "17 lanes are too many; name at most 16"),
        ({"a": {"paths": [f"/{n}" for n in range(257)]}}, "257 paths are too many"),
    ],
)
def test_refuses(tables: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        Lanes().convert(tables)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["", "x", "*", "/x*", "/*/x", "/x/**", "/a%20b", "/x?y", "/x#y", "/a\\b", "/a//b", "/./a", "/a/..", "/a//*",
     "/../*", "/\n", "/" + "x" * 1024, None],
)  # fmt: skip
def test_refuses_a_path_that_no_rule_may_have(path: object) -> None:
    with pytest.raises(UsageError, match="is not a path of requests; write it like /health, or"):
        lanes(api={"paths": [path]})


@pytest.mark.parametrize(
    "raw",
    ["", "x", "[1]", "{api = 1", "{}\nbind = 1", "3", 3, None, [Lane("a")], ("x",), "{a={paths=['/']},}}"],
)
def test_refuses_what_is_no_table_of_lanes(raw: object) -> None:
    with pytest.raises(UsageError):
        Lanes().convert(raw)


def test_one_path_may_be_in_two_lanes_for_other_methods() -> None:
    both = lanes(a=API | {"methods": ["GET"]}, b=API | {"methods": ["POST"]}, c=API)
    assert [lane.name for lane in both] == ["a", "b", "c"]


def test_the_default_lane_is_first() -> None:
    assert [lane.name for lane in all_lanes(lanes(a=API, default={"priority": 1}))] == ["default", "a"]
    assert all_lanes(lanes(a=API))[0] == Lane("default")


def test_guarantees_must_fit_the_threads() -> None:
    tables = {"a": {"paths": ["/a"], "threads": 2}, "b": {"paths": ["/b"]}}
    assert len(Settings.from_options(lanes=tables).lanes) == 2
    with pytest.raises(UsageError) as caught:
        Settings.from_options(lanes=tables, threads=3)
    assert str(caught.value) == (
        "lanes: the lanes, with default, are guaranteed 4 threads, and threads is 3; "
        "set threads to 4 or more, or lower threads of some lanes"
    )
    with pytest.raises(UsageError, match="are guaranteed 5 threads"):
        Settings.from_options(lanes=tables | {"default": {"threads": 2}})


def test_comes_from_a_file_and_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text(
        "threads = 8\nclient_share = 0.25\n"
        '[lanes.api]\npaths = ["/api/*"]\nthreads = 2\n[lanes.default]\npriority = 1\n'
    )
    settings = resolve({}, environ={}, directory=tmp_path)
    assert settings.lanes == (Lane("api", ("/api/*",), threads=2), Lane("default", priority=1))
    assert settings.client_share == 0.25
    assert resolve({}, environ={"HALFSYNC_LANES": "none"}, directory=tmp_path).lanes == ()
    other = resolve({"lanes": '{x = {paths = ["/x"]}}', "client_share": "1"}, environ={}, directory=tmp_path)
    assert (other.lanes, other.client_share) == ((Lane("x", ("/x",)),), 1.0)
    (tmp_path / "halfsync.toml").write_text("[lanes.api]\nthread = 2\n")
    with pytest.raises(UsageError) as caught:
        resolve({}, environ={}, directory=tmp_path)
    assert str(caught.value) == (
        f"lanes in {tmp_path}/halfsync.toml: lane api has an unknown key 'thread'; did you mean 'threads'?"
    )


@pytest.mark.parametrize(
    ("raw", "value"), [(1, 1.0), ("1", 1.0), (0.5, 0.5), (" .25 ", 0.25), ("1e-3", 0.001)]
)
def test_reads_a_share(raw: object, value: float) -> None:
    assert Share().convert(raw) == value
    assert Share().convert(Share().show(value)) == value


@pytest.mark.parametrize(
    "raw", [0, -1, 1.01, "", "x", "50%", "nan", float("nan"), "1.5", True, None, [], "٣"]
)
def test_refuses_what_is_no_share(raw: object) -> None:
    with pytest.raises(UsageError, match="is not a number above 0 and up to 1"):
        Share().convert(raw)
