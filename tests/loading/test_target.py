"""How a target is written, and the advice on one that is not."""

import itertools
import re

from halfsync.errors import LoadError
from halfsync.loading.target import split_target

PIECES = (
    "app",
    "my-app",
    "-",
    "1x",
    ".",
    "..",
    ".py",
    "/",
    "src/",
    ":",
    ":",
    "()",
    "(",
    ")",
    " ",
    "class",
    "é",
    "",
)


def test_no_advice_about_a_target_is_refused_itself() -> None:
    for target in {"".join(pieces) for pieces in itertools.product(PIECES, repeat=4)}:
        try:
            split_target(target)
        except LoadError as error:
            advised = re.search(r"\bwrite (?:it as )?([^ ,]+)", error.remedy)
            assert advised, error
            assert split_target(advised[1])
