"""The drawing of the states: it reads all of the table, and the page shows it."""

from tools.draw_states import PHASES, draw, main, transitions


def test_the_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_each_row_of_the_table_is_drawn() -> None:
    text = PHASES.read_text(encoding="utf-8")
    rows = list(transitions(text))
    assert len(rows) == text.count("        {")
    assert (["TURN"], "SENDING", "worker", "the response does not fit the socket") in rows
    assert all(origins for origins, *_ in rows)


def test_a_macro_and_an_exception_stand_for_phases() -> None:
    text = """
        PHASE_FREE,     /* a */
        PHASE_HEAD,     /* b */
        PHASE_BODY,     /* c */
    #define HS_RECEIVING (HS_PHASE(HEAD) | HS_PHASE(BODY))
        {HS_RECEIVING, PHASE_BODY, 'E'},      /* more */
        {~HS_PHASE(FREE), PHASE_FREE, 'W'},   /* all but one */
    """
    assert list(transitions(text)) == [
        (["HEAD", "BODY"], "BODY", "engine", "more"),
        (["HEAD", "BODY"], "FREE", "worker", "all but one"),
    ]


def test_owners_are_drawn() -> None:
    assert "ENGINE → QUEUE" in draw()
