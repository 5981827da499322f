"""Reading the HTML pages of the evaluation in tests."""

from html.parser import HTMLParser
from pathlib import Path

CONTROLS = ("baseline-mse", "baseline-mahalanobis", "mel-statistics")
VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class Page(HTMLParser):
    """A parsed page: its tags with attributes, its text, the rows of its tables, and whether all tags are closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert not self.open
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("wbr", "small", "span", "a"):
            self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The first table row that begins with ``name``, without the name."""
        return next(row[1:] for row in self.rows if row and row[0].strip() == name)

    def sources(self) -> list[str]:
        """Every address that a browser would fetch by itself."""
        fetched = ("src", "srcset", "data", "poster", "background", "action")
        addresses = [attrs[key] or "" for _, attrs in self.tags for key in fetched if key in attrs]
        return addresses + [attrs["href"] or "" for tag, attrs in self.tags if tag == "link"]
