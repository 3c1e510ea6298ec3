"""How names from a file appear in our sentences: clean, bounded, and never more than a screen of them.

A tensor name is whatever somebody wrote into a file: it may hold escape codes, line feeds or marks that turn the
reading direction.  What cannot be printed is shown as its escape, so a name cannot forge a line of our output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_NAME = 160
MAX_LISTED = 20


def printable(name: str) -> str:
    """Return `name` with everything unprintable escaped, cut after 160 characters."""
    cut = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in cut
    )


def shown(name: str) -> str:
    """Return `name` printable and in quotation marks."""
    return f"'{printable(name)}'"


def shown_list(names: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Return the names as one clause, quoted and joined by commas, at most `limit` of them."""
    return ", ".join(capped([shown(name) for name in names], limit))


def capped(lines: Sequence[str], limit: int = MAX_LISTED, kind: str = "") -> list[str]:
    """Return the first `limit` lines and, when there are more, a last one that says how many (of which kind)."""
    if len(lines) <= limit:
        return list(lines)
    return [*lines[:limit], f"… and {len(lines) - limit:,} more {kind}".rstrip()]
