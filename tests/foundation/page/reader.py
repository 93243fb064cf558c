"""A strict reader of the pages: what is opened is closed, what is shown, what would be fetched."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}
TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "main", "section", "header", "footer", "article", "div",
    "p", "h1", "h2", "h3", "span", "b", "i", "code", "pre", "mark", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "svg", "rect", "line", "polyline", "circle", "path", "text",
}  # fmt: skip
"""All that the report is made of; whatever else turns up came out of a text."""


class Page(HTMLParser):
    """Parses a page; raises AssertionError where it is not well-formed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.shown = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "xlink:href", "poster"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.shown += data
