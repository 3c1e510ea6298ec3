"""Values of options that typer does not know: times, sizes, and KEY=VALUE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hessent.errors import UsageError


def parse_options(entries: Sequence[str]) -> Mapping[str, str]:
    """Turn repeated `KEY=VALUE` into a mapping.

    Raises
    ------
    UsageError
        Naming every entry that has no `=`, and every key given twice.
    """
    problems: list[str] = []
    options: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            problems.append(f"'{entry}' is not KEY=VALUE")
        elif key in options:
            problems.append(f"'{key}' is given twice")
        options[key] = value
    if problems:
        raise UsageError("the options cannot be read", where="--arch-option", problems=problems)
    return options


def parse_rates(entries: Sequence[str]) -> Mapping[str, float]:
    """Turn repeated `NAME=RATE` into a mapping.

    Raises
    ------
    UsageError
        Naming every entry that is not of that form, and every name given twice.
    """
    problems: list[str] = []
    rates: dict[str, float] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        try:
            rate = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            problems.append(f"'{entry}' is not NAME=RATE")
            continue
        if name in rates:
            problems.append(f"'{name}' is given twice")
        rates[name] = rate
    if problems:
        raise UsageError("the rates cannot be read", where="--lr", problems=problems, fix="--lr adam=0.001")
    return rates


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str | None) -> float | None:
    """Return the seconds that `90`, `120s`, `10m` or `2h` stand for.

    Raises
    ------
    UsageError
        If it is not a time.
    """
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"'{text}' is not a time", where="--max-time", expected="for example 120s, 10m or 2h")
    return seconds


def parse_size(text: str | None) -> int | None:
    """Return the bytes that a size such as `8G` stands for; None stays None.

    Raises
    ------
    UsageError
        If it is not a size.
    """
    from hessent.pipeline.request import parse_size as parse

    return None if text is None else parse(text)
