"""A page read back with the standard library's parser: its elements, ids, links and tables."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input"}
LINKS = {"src", "href", "action", "formaction", "srcset", "data", "poster", "background", "xlink:href", "ping"}


@dataclass
class Cell:
    tag: str
    attributes: dict
    text: str = ""


@dataclass
class ParsedTable:
    caption: str = ""
    rows: list = field(default_factory=list)


class ParsedPage(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.problems, self.ids, self.links = [], [], [], []
        self.tags, self.attributes, self.tables, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        found = dict(attributes)
        assert len(found) == len(attributes), f"an attribute stands twice in {tag}: {attributes}"
        self.attributes.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [value for name, value in attributes if name in LINKS]
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append(ParsedTable())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append(Cell(tag, found))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1] == tag, f"</{tag}> where {self.stack[-1]} is open"
        self.stack.pop()

    def handle_data(self, data):
        if "script" in self.stack or "style" in self.stack:
            return
        self.texts.append(data)
        if "caption" in self.stack:
            self.tables[-1].caption += data
        elif {"td", "th"} & set(self.stack):
            self.tables[-1].rows[-1][-1].text += data

    @property
    def text(self):
        return " ".join(self.texts)

    def table(self, caption):
        """The one table whose caption ends so."""
        (found,) = [table for table in self.tables if table.caption.endswith(caption)]
        return found
