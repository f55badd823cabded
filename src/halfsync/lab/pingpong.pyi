from typing import TypedDict

class PingPong(TypedDict):
    turns_ns: list[float]
    cpu_ns: list[float]
    alone_ns: list[float]
    turns: int
    voluntary: int
    involuntary: int

def ping_pong(
    *,
    processes: bool,
    cpu: int,
    other_cpu: int,
    set_bytes: int = 0,
    huge: bool = False,
    windows: int = 8,
    window_s: float = 0.02,
) -> PingPong: ...
