"""A page read as browsers do: what must hold for each page that the lab writes."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}
ADDRESSES = ("src", "href", "srcset", "action", "poster", "data", "xlink:href")


class Page(HTMLParser):
    """A page's elements. `faults` are tags that do not match, ids that occur twice, and addresses outside the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._ids: set[str] = set()
        self._targets: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self._open]
        self.faults += [f"no element {name}" for name in self._targets if name not in self._ids]

    @property
    def text(self) -> str:
        """Return all words of the page, with one space between them."""
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._look_at(dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._look_at(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def _look_at(self, attributes: dict[str, str | None]) -> None:
        name = attributes.get("id")
        if name is not None:
            if name in self._ids:
                self.faults.append(f"id {name} occurs twice")
            self._ids.add(name)
        for key in ADDRESSES:
            value = attributes.get(key)
            if value is not None and value.startswith("#"):
                self._targets.append(value[1:])
            elif value is not None:
                self.faults.append(f"{key}={value} is outside the page")
