"""Rules typed on the command line: ``--max lambda_max=250``, ``--max-increase 'layer4.*:trace=20%'``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hessent.errors import UsageError
from hessent.report.checks.policy import parse_bound, rule_problems
from hessent.report.checks.rules import KINDS, WHOLE_MODEL, Bound, Rule


def rules_of_words(
    given: Mapping[str, Sequence[str]], *, blocks: Sequence[str] = (), baseline: str | None = None
) -> tuple[Rule, ...]:
    """Return the rules that were typed.

    Parameters
    ----------
    given : mapping of str to sequence of str
        By kind of bound, each ``MEASURE=NUMBER`` or ``GLOB:MEASURE=NUMBER``.
    blocks : sequence of str
        Globs for the rules that name none; empty for the whole model.
    baseline : str, optional
        What changes are measured against.

    Raises
    ------
    UsageError
        Listing everything that is wrong.
    """
    problems: list[str] = []
    rules: list[Rule] = []
    for key, words in given.items():
        for word in words:
            left, equals, number = word.rpartition("=")
            if not equals:
                problems.append(f"{_option(key)} '{word}' is not MEASURE=NUMBER")
                continue
            glob, colon, measure = left.rpartition(":")
            entry = {"measure": measure, key: _value(number)}
            found = rule_problems(entry, has_baseline=baseline is not None)
            if colon and not glob:
                found.append("the glob before the colon is empty")
            problems += [f"{_option(key)} '{word}': {problem}" for problem in found]
            bound = parse_bound(KINDS[key], entry[key], measure)
            if not found and isinstance(bound, Bound):
                kept = baseline if bound.kind.needs_baseline else None
                rules += [Rule(measure, bound, block, baseline=kept) for block in _globs(glob, blocks)]
    if problems:
        raise UsageError(
            "the rules on the command line are wrong",
            problems=problems,
            expected="for example --max lambda_max=250 or --max-increase 'layer4.*:trace=20%' --baseline main.json",
        )
    return tuple(rules)


def _globs(glob: str, blocks: Sequence[str]) -> Sequence[str]:
    return (glob,) if glob else tuple(blocks) or (WHOLE_MODEL,)


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _value(text: str) -> float | str:
    """Return the number that was typed; a percentage, or what is no number, stays text."""
    try:
        return float(text)
    except ValueError:
        return text
