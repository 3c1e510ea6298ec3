"""A figure of matplotlib as small inline SVG that follows the page's colours.

Its panels are cut apart, so that the page can set them beside or below each other.  The colours of a light `Look`
become CSS variables, styles become classes that all pictures share, ids become unique on the page, and curves lose
the points that nobody sees: those nearer to the rest than a quarter of a point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from hessent.report.page.html import Markup, element
from hessent.report.page.svg_path import NEAR, shortened_path, written
from hessent.report.plots.picture import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS_PER_INCH = 72.0
_LEAST_LETTERS = 7.5  # points
_LETTER = 4.4  # points across, of the smallest letters
_MARGINS = (0.50, 0.36, 0.15, 0.34)  # inches left, above, right and below of a panel's frame
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_STROKE = re.compile(r"M 0 0 \s*L (\S+) (\S+) \s*")  # a marker that is a line from its origin
Corner = tuple[float, float]  # of a panel in its figure, in points from the top left
_NUMBERS = ("x", "y", "width", "height")


@dataclass(frozen=True)
class _Place:
    """Where a panel lies in its figure, its size, and how near points are that are left out; in points."""

    corner: Corner
    size: tuple[float, float]
    near: float


@dataclass
class Pictures:
    """What the pictures of a page share: classes for styles, and the count that makes their ids unique.

    Attributes
    ----------
    classes : dict of str to str
        Name of the class of each style.
    count : int
        Ids given so far.
    """

    classes: dict[str, str] = field(default_factory=dict)
    count: int = 0

    @property
    def css(self) -> str:
        """The rules of all classes."""
        return "".join(f".{name}{{{style}}}" for style, name in self.classes.items())

    def class_of(self, style: str) -> str:
        """Return the class of a style as matplotlib writes it."""
        return self.classes.setdefault(_themed(style), f"s{len(self.classes)}")

    def new_id(self) -> str:
        """Return an id that no other picture has."""
        self.count += 1
        return f"p{self.count}"

    def panels(self, figure: Figure, labels: list[str], below: float = 0.0, near: float = NEAR) -> list[Markup]:
        """Return each panel of a figure as a picture of its own; to be called within `drawing`.

        Parameters
        ----------
        figure : Figure
            Drawn with a light `Look`.
        labels : list of str
            What each panel shows, for those who do not see it.
        below : float
            Inches that a panel needs below its frame, beside those for the labels of its ticks.
        near : float
            Points from the curve within which others are left out.
        """
        tree = _tree(figure)
        _join_paths(tree)
        width, height = (_POINTS_PER_INCH * side for side in (figure.get_figwidth(), figure.get_figheight()))
        left, top, right, bottom = (_POINTS_PER_INCH * inches for inches in _MARGINS)
        defined = {name: node for node in tree.iter() if (name := node.get("id")) and node.tag != _SVG + "g"}
        pictures = []
        for number, (axes, label) in enumerate(zip(figure.axes, labels, strict=True), start=1):
            group = tree.find(f".//{_SVG}g[@id='axes_{number}']")
            assert group is not None, "matplotlib numbers the panels of a figure"
            box = axes.get_position()
            corner = (box.x0 * width - left, (1 - box.y1) * height - top)
            size = (
                box.width * width + left + right,
                box.height * height + top + bottom + below * _POINTS_PER_INCH,
            )
            _draw_ticks(group, defined)
            _squeeze(group, corner[0] + size[0])
            pictures.append(self._picture(group, defined, _Place(corner, size, near), label))
        return pictures

    def _picture(
        self,
        group: ElementTree.Element,
        defined: dict[str, ElementTree.Element],
        place: _Place,
        label: str,
    ) -> Markup:
        used = {name for node in group.iter() for name in _uses(node)}
        names = {old: self.new_id() for old in sorted(used)}
        panel = _Panel(self, names, place)
        # A marker is drawn about its own origin; what is clipped is clipped by the frame of its panel.
        marker = _Panel(self, names, _Place((0.0, 0.0), place.size, place.near))
        parts = [(panel if defined[old].tag == _SVG + "clipPath" else marker).node(defined[old]) for old in names]
        inner = Markup(element("defs", *parts) + "".join(panel.children(group)))
        x, y = (written(side) for side in place.size)
        return element("svg", inner, viewBox=f"0 0 {x} {y}", role="img", aria_label=label)


@dataclass(frozen=True)
class _Panel:
    """Writes the nodes of one panel."""

    pictures: Pictures
    names: dict[str, str]  # ids on the page by those in the figure
    place: _Place

    def children(self, node: ElementTree.Element) -> Iterator[Markup]:
        """Yield what a node holds, without the groups around it and without definitions."""
        for child in node:
            if child.tag == _SVG + "defs" or child.get("id") in self.names:
                continue  # what of it is used stands at the beginning
            if child.tag == _SVG + "g" and not child.get("clip-path"):
                yield from self.children(child)
            else:
                yield self.node(child)

    def node(self, node: ElementTree.Element) -> Markup:
        """Return a node with all that it holds."""
        names, corner = self.names, self.place.corner
        tag = node.tag.removeprefix(_SVG)
        entries: dict[str, str | None] = {}
        for key, value in node.attrib.items():
            if key == "id":
                entries["id"] = names.get(value)
            elif key == "style":
                entries["class"] = self.pictures.class_of(value)
            elif key == "d":
                entries["d"] = shortened_path(value, corner, self.place.near)
            elif key in _NUMBERS:
                entries[key] = written(float(value) - (corner[_NUMBERS.index(key)] if key in "xy" else 0.0))
            elif key == _LINK:
                entries["href"] = f"#{names[value[1:]]}"
            elif key == "clip-path":
                entries[key] = f"url(#{names[value[5:-1]]})"
            elif key in ("textLength", "lengthAdjust"):
                entries[key] = value
            elif key == "transform" and not value.startswith("rotate(-0 "):
                entries[key] = _moved(value, corner)
        text = node.text if tag == "text" else None
        return element(tag, text, *self.children(node), **entries)


def _join_paths(tree: ElementTree.Element) -> None:
    """Make one path of those that follow each other and look alike: the marks of eigenvalues are many."""
    for parent in list(tree.iter()):
        kept: ElementTree.Element | None = None
        for child in list(parent):
            alike = kept is not None and child.tag == kept.tag == _SVG + "path" and _looks(child) == _looks(kept)
            if alike and kept is not None and "id" not in child.attrib:
                kept.set("d", kept.attrib["d"] + child.attrib["d"])
                parent.remove(child)
            else:
                kept = child


def _draw_ticks(group: ElementTree.Element, defined: dict[str, ElementTree.Element]) -> None:
    """Draw markers that are but a stroke, the ticks of the axes, as one path of each style."""
    paths: dict[str, list[str]] = {}
    for parent in list(group.iter()):
        for child in list(parent):
            stroke = (
                _STROKE.fullmatch(defined[child.attrib[_LINK][1:]].get("d", "")) if _LINK in child.attrib else None
            )
            if stroke is not None:
                x, y = (float(child.get(key, "0")) for key in "xy")
                end = f"L {x + float(stroke[1]):.6f} {y + float(stroke[2]):.6f} "
                paths.setdefault(child.get("style", ""), []).append(f"M {x:.6f} {y:.6f} {end}")
                parent.remove(child)
    for style, strokes in paths.items():
        ElementTree.SubElement(group, _SVG + "path", d="".join(strokes), style=style)


def _looks(node: ElementTree.Element) -> dict[str, str]:
    return {key: value for key, value in node.attrib.items() if key != "d"}


def _squeeze(group: ElementTree.Element, end: float) -> None:
    """Let long lines of letters end where their picture ends, whatever letters the reader's machine has."""
    for node in group.iter(_SVG + "text"):
        if "text-anchor: start" in node.get("style", ""):
            room = end - float(node.get("x", "0"))
            if _LETTER * len(node.text or "") > room:
                node.set("textLength", written(room))
                node.set("lengthAdjust", "spacingAndGlyphs")


def _uses(node: ElementTree.Element) -> Iterator[str]:
    """Names of definitions that a node refers to."""
    if _LINK in node.attrib:
        yield node.attrib[_LINK][1:]
    if "clip-path" in node.attrib:
        yield node.attrib["clip-path"][5:-1]


def _tree(figure: Figure) -> ElementTree.Element:
    import matplotlib

    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
        axes.minorticks_off()
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return ElementTree.fromstring(content.getvalue())


def _themed(style: str) -> str:
    """A style with the colours of the light look as variables, and letters that can be read."""
    rules = dict(rule.strip().split(": ", 1) for rule in style.split(";") if rule.strip())
    rules.pop("font-family", None)
    size = rules.get("font-size", "").removesuffix("px")
    if size:
        rules["font-size"] = f"{max(float(size), _LEAST_LETTERS):g}px"
    return ";".join(f"{name}:{_VARIABLES.get(value, value)}" for name, value in rules.items())


def colour_variables(look: Look) -> dict[str, str]:
    """Return the page's variables for the colours of a look.

    Parameters
    ----------
    look : Look
        Light or dark.
    """
    named = {"--ground": look.ground, "--ink": look.ink, "--faint": look.faint}
    return named | {f"--c{number}": colour for number, colour in enumerate(look.colours)}


_VARIABLES = {colour: f"var({name})" for name, colour in reversed(colour_variables(Look()).items())}


def _moved(transform: str, corner: Corner) -> str:
    """A rotation about a point of the figure as one about the same point of the panel."""
    inner = transform.partition("(")[2].rstrip(")").split()
    if not transform.startswith("rotate(") or len(inner) != 3:
        return transform
    x, y = (written(float(number) - by) for number, by in zip(inner[1:], corner, strict=True))
    return f"rotate({written(float(inner[0]))} {x} {y})"
