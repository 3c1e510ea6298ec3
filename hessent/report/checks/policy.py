"""A policy as a table of plain values, checked key by key, and the rules that it states.

Every bound of a ``[[rule]]`` becomes a rule of its own, so that each has one outcome per block.  Whatever could
make a rule silently pass is refused: a key that is not known, a bound that is not a finite number or can never be
met, no bound at all, a change without a baseline.  All problems are reported at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hessent.errors import UsageError, suggest
from hessent.report.checks.rules import KINDS, LEVELS, WHOLE_MODEL, Bound, BoundKind, Rule
from hessent.report.measure_columns import measures_with_columns

MOST_RULES = 10_000
_RULE_KEYS = ("measure", "block", *KINDS, "baseline", "level")
_SHARES = frozenset({"positive_ratio", "negative_ratio", "zero_ratio"})
# Pairs of which the first must not lie above the second.
_ORDERED = (("min", "max"), ("min_ratio", "max_ratio"))


def rules_of_policy(
    table: Any, *, where: str | None = None, baseline: str | None = None, lines: Sequence[int] = ()
) -> tuple[Rule, ...]:
    """Return the rules of a policy.

    Parameters
    ----------
    table : object
        ``{"rule": [{"measure": …, "max": …}, …]}`` as TOML or a program gives it.
    where : str, optional
        The policy's file; baselines in it are relative to its folder.
    baseline : str, optional
        Takes the place of all baselines that the policy names.
    lines : sequence of int
        Line of each ``[[rule]]``, where known.

    Raises
    ------
    UsageError
        Listing everything that is wrong.
    """
    problems: list[str] = []
    rules: list[Rule] = []
    for number, entry in enumerate(_entries(table, problems)):
        line = lines[number] if number < len(lines) else None
        label = f"rule {number + 1}" + (f" (line {line})" if line is not None else "")
        found = rule_problems(entry, has_baseline=baseline is not None)
        problems += [f"{label}: {problem}" for problem in found]
        if not found:
            rules += _rules(entry, where, baseline, line)
    if problems:
        raise policy_error(problems, where)
    return tuple(rules)


def policy_error(problems: Sequence[str], where: str | None) -> UsageError:
    """Return the error that lists what is wrong with a policy."""
    return UsageError(
        "the policy is wrong" if where is not None else "the rules are wrong",
        where=where,
        problems=problems,
        expected=f"[[rule]] with a measure and any of {', '.join(KINDS)}; where wanted block, baseline, level",
    )


def rule_problems(entry: Any, *, has_baseline: bool) -> list[str]:
    """Return what is wrong with one rule of a policy, as clauses.

    Parameters
    ----------
    entry : object
        The rule, a mapping if it is right.
    has_baseline : bool
        Whether a baseline is known that the rule need not name.
    """
    if not isinstance(entry, Mapping):
        return [f"is {shown(entry)}, not a table of keys"]
    problems = [_unknown_key(key, _RULE_KEYS) for key in entry if key not in _RULE_KEYS]
    problems += _measure_problems(entry.get("measure"))
    for key in ("block", "baseline"):
        if key in entry and not (isinstance(entry[key], str) and entry[key]):
            problems.append(f"{key} is {shown(entry[key])}, not a text")
    if "level" in entry and entry["level"] not in LEVELS:
        problems.append(f"level is {shown(entry['level'])}, not one of {', '.join(LEVELS)}")
    bounds: dict[str, Bound] = {}
    for kind in KINDS.values():
        if kind.key in entry:
            found = parse_bound(kind, entry[kind.key], entry.get("measure"))
            if isinstance(found, str):
                problems.append(found)
            else:
                bounds[kind.key] = found
    given = [key for key in KINDS if key in entry]
    if not given:
        problems.append("has no bound")
    if any(KINDS[key].needs_baseline for key in given) and not has_baseline and "baseline" not in entry:
        problems.append(f"{' and '.join(key for key in given if KINDS[key].needs_baseline)} without a baseline")
    for least, most in _ORDERED:
        if least in bounds and most in bounds and bounds[least].number > bounds[most].number:
            pair = f"{least} {bounds[least].shown} and {most} {bounds[most].shown}"
            problems.append(f"{pair}: nothing can hold both")
    return problems


def parse_bound(kind: BoundKind, given: Any, measure: Any = None) -> Bound | str:
    """Return a bound, or the clause that says what is wrong with it.

    Parameters
    ----------
    kind : BoundKind
        What is bounded.
    given : object
        A number, or the text of a percentage such as ``"20%"``.
    measure : object
        Name of the measure, where known: a share lies between 0 and 1.
    """
    relative = False
    if isinstance(given, str) and given.strip().endswith("%"):
        if not kind.may_be_percentage:
            return f"{kind.key} is {shown(given)}: a percentage is for max_increase and max_decrease"
        relative, given = True, _number_of(given.strip()[:-1])
    number = _finite(given)
    if number is None:
        return f"{kind.key} is {shown(given)}, not a finite number"
    if relative:
        number /= 100
    if kind.may_be_percentage and number < 0:
        return f"{kind.key} is negative; what must change is said by max_ratio or min_ratio"
    if kind.quantity == "ratio" and number <= 0:
        return f"{kind.key} is {shown(given)}, not above zero"
    if kind.quantity == "value" and isinstance(measure, str) and measure in _SHARES and not 0 <= number <= 1:
        return f"{kind.key} is {shown(given)}, but {measure} is a share from 0 to 1"
    return Bound(kind, number, relative)


def shown(value: Any) -> str:
    """Return a value of a policy for a message, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python turns into text
        return "a value too long to show"
    return text if len(text) <= 60 else text[:59] + "…"


def _entries(table: Any, problems: list[str]) -> Sequence[Any]:
    if not isinstance(table, Mapping):
        problems.append(f"it is {shown(table)}, not a table with [[rule]]")
        return ()
    problems += [_unknown_key(key, ("rule",)) for key in table if key != "rule"]
    entries = table.get("rule", [])
    if not isinstance(entries, list | tuple):
        problems.append("'rule' is not a list of tables: write [[rule]], in double brackets")
    elif not entries:
        problems.append("there is no [[rule]] in it")
    elif len(entries) > MOST_RULES:
        problems.append(f"it has {len(entries):,} rules, of which at most {MOST_RULES:,} are read")
    else:
        return entries
    return ()


def _rules(entry: Mapping[str, Any], where: str | None, baseline: str | None, line: int | None) -> list[Rule]:
    named = entry.get("baseline")
    if named is not None and where is not None:
        named = os.path.join(os.path.dirname(where), named)
    found = []
    for kind in KINDS.values():
        bound = parse_bound(kind, entry[kind.key], entry["measure"]) if kind.key in entry else None
        if isinstance(bound, Bound):
            found.append(
                Rule(
                    entry["measure"],
                    bound,
                    entry.get("block", WHOLE_MODEL),
                    entry.get("level", "fail"),
                    (baseline if baseline is not None else named) if kind.needs_baseline else None,
                    where,
                    line,
                )
            )
    return found


def _measure_problems(name: Any) -> list[str]:
    known = measures_with_columns()
    if name is None:
        return ["names no measure"]
    if not isinstance(name, str):
        return [f"measure is {shown(name)}, not a text"]
    if name in known:
        return []
    near = suggest(name, known)
    return [f"there is no measure {shown(name)}; " + (near or f"there are {', '.join(known)}")]


def _unknown_key(key: Any, known: Sequence[str]) -> str:
    near = suggest(str(key), known)
    return f"{shown(key)} is not a key" + (f"; {near}" if near else "")


def _number_of(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text + "%"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
