"""Bodies too large to hold, made piece by piece: for tests, and copied beside the applications that they serve."""

import random
from collections.abc import Iterator

PIECE_BYTES = 65_536
NUMBER_BYTES = 8
BLOCK = random.Random(20_261_126).randbytes(PIECE_BYTES - NUMBER_BYTES)


def pieces(size: int) -> Iterator[bytes]:
    """Yield so many bytes in pieces of which no two are alike: each begins with its place."""
    for at in range(0, size, PIECE_BYTES):
        yield (at.to_bytes(NUMBER_BYTES, "big") + BLOCK)[: size - at]
