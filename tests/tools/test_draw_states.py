"""The drawing of the states: it reads all of the tables, and the page shows them."""

import pytest
from tools.draw_states import KINDS, TABLES, draw, main, states, transitions


def test_the_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_each_row_of_the_tables_is_drawn() -> None:
    text = TABLES.read_text(encoding="utf-8")
    rows = [row for kind in KINDS for row in transitions(text, kind)]
    assert len(rows) == text.count("        {")
    assert (["TURN"], "SENDING", "worker", "the response does not fit the socket") in rows
    assert all(origins for origins, *_ in rows)
    assert len([line for line in draw().splitlines() if line.count(" | ") == 3]) == len(rows) + len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_state_can_be_reached_and_left(kind: str) -> None:
    text = TABLES.read_text(encoding="utf-8")
    names = {name for name, _ in states(text, kind)}
    rows = list(transitions(text, kind))
    assert names
    assert {target for _, target, *_ in rows} == names
    assert {origin for origins, *_ in rows for origin in origins} == names


def test_a_macro_and_an_exception_stand_for_states() -> None:
    text = """
        PHASE_FREE,       /* a */
        PHASE_IDLE,       /* b */
        PHASE_ACTIVE      /* c */
        REQUEST_NONE = 0, /* d */
    #define HS_AWAITING (HS_FROM(PHASE_IDLE) | HS_FROM(PHASE_ACTIVE))
        {HS_AWAITING, PHASE_ACTIVE, 'E'},         /* more */
        {HS_FROM(REQUEST_NONE), REQUEST_NONE, 'E'}, /* another table */
        {~HS_FROM(PHASE_FREE), PHASE_FREE, 'W'},  /* all but one */
    """
    assert list(transitions(text, "PHASE")) == [
        (["IDLE", "ACTIVE"], "ACTIVE", "engine", "more"),
        (["IDLE", "ACTIVE"], "FREE", "worker", "all but one"),
    ]
    assert list(transitions(text, "REQUEST")) == [(["NONE"], "NONE", "engine", "another table")]
