"""Names from files, made safe to print.

A tensor may be called anything: with escape codes that repaint the terminal, with line breaks, or with marks that
reverse the reading order.  Such characters are shown as escapes; every ordinary letter of every script stays.
"""

from __future__ import annotations

import unicodedata

# Control (Cc), format (Cf: bidirectional overrides, zero-width), lone surrogate (Cs), unassigned (Cn), private use
# (Co), line separator (Zl) and paragraph separator (Zp).
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def printable(name: str) -> str:
    r"""Return `name` with every character that cannot be seen written as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``.

    Parameters
    ----------
    name : str
        A name of a tensor, block or file, or a line of text that holds some.

    Returns
    -------
    str
        The same text on one line, without any character that moves the cursor or changes the reading order.
    """
    if name.isascii() and name.isprintable():
        return name
    return "".join(_escaped(letter) if _is_unseen(letter) else letter for letter in name)


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN_CATEGORIES


def _escaped(letter: str) -> str:
    code = ord(letter)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
