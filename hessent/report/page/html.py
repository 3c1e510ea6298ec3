"""HTML as text that is either escaped or made here.

Names of blocks, files and data come from strangers.  So a plain string is always escaped where it is put into an
element, in its text and in its attributes; only `Markup`, which these functions alone return, is taken as it is.
"""

from __future__ import annotations

import html

from hessent.report.names import printable

_VOID = frozenset({"meta", "input"})
_SHAPES = frozenset({"path", "use", "rect"})  # of SVG, where a slash ends an element


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Markup | None
Attribute = str | int | float | bool | None


def escaped(text: str) -> Markup:
    """Return text as HTML that shows it, with characters that cannot be seen written as escapes."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text), quote=True))


def element(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Parameters
    ----------
    tag : str
        Its name.
    *children : str, Markup or None
        What it holds; plain strings are escaped, None is left out.
    **attributes : str, number, bool or None
        ``class_`` stands for class, and an underscore for a dash elsewhere; True for an attribute without a value;
        None and False for none.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    if tag in _SHAPES:
        return Markup(f"<{tag}{written}/>")
    inner = "".join(escaped(child) for child in children if child is not None)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def joined(*parts: Child) -> Markup:
    """Return parts one after the other, a line each."""
    return Markup("\n".join(escaped(part) for part in parts if part))


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(printable(str(value)), quote=True)}"'
