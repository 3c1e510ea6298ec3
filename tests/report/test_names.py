"""No name from a file can move the cursor, change colours, or turn the reading order."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hessent.report.names import printable


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("größe.θ", "größe.θ"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("nul\0", "nul\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("\u2028", "\\u2028"),
        ("\udc80", "\\udc80"),
        ("\U000e0001", "\\U000e0001"),
        ("[/red]", "[/red]"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(name, text):
    assert printable(name) == text


@given(st.text(alphabet=st.characters()))
def test_printable_text_is_one_line_that_any_terminal_can_show(name):
    text = printable(name)
    text.encode("utf-8")
    assert len(text.splitlines()) <= 1
    assert not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs"} for letter in text)
