"""What a tool writes into a page: it replaces what is between two lines, and nothing else."""

from pathlib import Path

import pytest
from tools.written import placed


def test_only_what_is_between_the_lines_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<begin>\n\nold\n\n<end>\nafter\n")
    text = placed(page, "<begin>", "new\n", "<end>")
    assert text == "before\n\n<begin>\n\nnew\n\n<end>\nafter\n"
    page.write_text(text)
    assert placed(page, "<begin>", "new\n", "<end>") == text


@pytest.mark.parametrize("text", ["nothing", "<begin>", "<end>", "<end><begin>"])
def test_a_page_without_a_place_is_an_error(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(
        AssertionError, match=r"page\.md has no place for what is written into it: <begin>, <end>"
    ):
        placed(page, "<begin>", "x", "<end>")
