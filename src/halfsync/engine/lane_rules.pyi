from typing import final

from halfsync.settings.lanes import Lane

@final
class LaneTable:
    def __init__(self, lanes: tuple[Lane, ...]) -> None: ...
    names: tuple[str, ...]
