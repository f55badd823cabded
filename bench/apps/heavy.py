"""An application that holds 200 MB once it is loaded: half of it in many small objects, half in large blocks.

Each request touches one of the objects, as requests do: its count of references changes, and with that its page.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

OBJECTS = 500_000  # of about 200 bytes each
BLOCKS = 100  # of a megabyte each
GREETING = b"Hello, World!"

TABLE = {number: (f"item {number}", number * 3.5, {"stock": number % 7}) for number in range(OBJECTS // 2)}
FILLING = [bytes(1_000_000) for _ in range(BLOCKS)]
for block in range(BLOCKS):
    FILLING[block] = bytes([block % 256]) * 1_000_000  # zeros alone might never be in memory


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Look one of them up."""
    item = TABLE[random.randrange(len(TABLE))]
    assert item[2]["stock"] >= 0
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(GREETING)))])
    return [GREETING]
