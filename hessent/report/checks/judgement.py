"""Rules held against the measures of a run, decided by the 95 % interval.

A quantity *holds* where its whole interval keeps to the bound, is *violated* where its whole interval lies beyond
it, and *unsure* where the interval straddles it or is open on that side.  An unknown quantity never holds: it is
unsure, and at level fail it fails the check, strict or not.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hessent.errors import UsageError, suggest
from hessent.estimate import Estimate
from hessent.report.checks import changes
from hessent.report.checks.comparability import Comparison, interval_of
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.checks.rules import WHOLE_MODEL, Bound, Rule

Outcome = Literal["holds", "violated", "unsure"]

MOST_RESULTS = 1_000_000
_SHOWN_BLOCKS = 8


@dataclass(frozen=True)
class Result:
    """What became of one rule on one block.

    Attributes
    ----------
    rule : Rule
        The rule.
    block : str
        The block.
    quantity : Estimate
        What was compared with the bound: the measure, its increase or decrease (a share where the bound is a
        percentage), or the quotient.
    run : Estimate
        The measure of the run.
    baseline : Estimate or None
        The measure of the baseline; None where the rule is not about a change.
    paired : bool or None
        Whether run and baseline were compared probe by probe; None where there is no baseline.
    outcome : {"holds", "violated", "unsure"}
        Decided by the interval of `quantity`.
    fails : bool
        Whether it fails the check.
    """

    rule: Rule
    block: str
    quantity: Estimate
    run: Estimate
    baseline: Estimate | None
    paired: bool | None
    outcome: Outcome
    fails: bool

    @property
    def is_unknown(self) -> bool:
        """Whether there was no number to compare."""
        return self.quantity.value is None


@dataclass(frozen=True)
class CheckReport:
    """All results of a check.

    Attributes
    ----------
    run : JudgedSpectrum
        What was judged.
    baselines : mapping of str to JudgedSpectrum
        By the name that the rules give them.
    results : tuple of Result
        Rule by rule, in the model's order.
    warnings : tuple of str
        What a reader must know: sentences.
    strict : bool
        Whether what is unsure fails.
    population : bool
        Whether the intervals are those of the population that the data was drawn from.
    """

    run: JudgedSpectrum
    baselines: Mapping[str, JudgedSpectrum]
    results: tuple[Result, ...]
    warnings: tuple[str, ...]
    strict: bool
    population: bool

    @property
    def failed(self) -> bool:
        """Whether the check failed: exit code 1."""
        return any(result.fails for result in self.results)

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of a rule of level fail."""
        outcomes = {result.outcome for result in self.results if result.rule.level == "fail"}
        return "violated" if "violated" in outcomes else "unsure" if "unsure" in outcomes else "holds"

    def to_json(self) -> dict[str, Any]:
        """Return the document ``hessent.check/1``."""
        from hessent.report.checks.document import check_document

        return check_document(self)


def outcome_of(quantity: Estimate, bound: Bound) -> Outcome:
    """Decide by the interval.

    Parameters
    ----------
    quantity : Estimate
        What is compared with the bound.
    bound : Bound
        An upper or a lower one; reaching it is not yet beyond it.
    """
    if quantity.value is None:
        return "unsure"
    # An upper bound on q is a lower one on −q: the ends change places with their signs.
    turned = quantity if bound.kind.is_upper else changes.opposite(quantity)
    number = bound.number if bound.kind.is_upper else -bound.number
    if turned.low is not None and turned.low > number:
        return "violated"
    return "holds" if turned.high is not None and turned.high <= number else "unsure"


def judge(
    rules: Sequence[Rule],
    run: JudgedSpectrum,
    baselines: Mapping[str, JudgedSpectrum],
    *,
    strict: bool = False,
    population: bool = False,
) -> CheckReport:
    """Hold rules against a run.

    Parameters
    ----------
    rules : sequence of Rule
        At least one.
    run : JudgedSpectrum
        What is judged.
    baselines : mapping of str to JudgedSpectrum
        By the name in `Rule.baseline`; every one that a rule names.
    strict : bool
        Count what is unsure as a failure, and refuse a baseline of other data or another model.
    population : bool
        Judge the intervals of the population that the data was drawn from.

    Raises
    ------
    UsageError
        Where a glob matches no block, a block lacks its counterpart in the baseline, bounds contradict each other,
        or run and baseline cannot be compared; everything at once.
    """
    comparisons = {name: Comparison(run, other, population=population) for name, other in baselines.items()}
    problems: list[str] = []
    warnings = [sentence for other in comparisons.values() for sentence in other.differences]
    for other in comparisons.values():
        problems += other.obstacles
    if strict:
        problems += warnings
    if run.synthetic:
        warnings.append("the data is SYNTHETIC: made up, so that these numbers say nothing about a real task")
    matched = [(rule, _matching(rule, run, baselines, problems)) for rule in rules]
    problems += _contradictions(matched)
    if sum(len(blocks) for _, blocks in matched) > MOST_RESULTS:
        problems.append(f"the rules match blocks more than {MOST_RESULTS:,} times")
    if problems:
        raise UsageError(
            "the rules cannot be held against this run",
            where=run.file,
            problems=list(dict.fromkeys(problems)),
            expected=_some_blocks(run) if any("matches no block" in problem for problem in problems) else None,
        )
    results = [
        _result(rule, block, run, comparisons, strict=strict, population=population)
        for rule, blocks in matched
        for block in blocks
    ]
    return CheckReport(run, baselines, tuple(results), tuple(dict.fromkeys(warnings)), strict, population)


def _result(
    rule: Rule,
    block: str,
    run: JudgedSpectrum,
    comparisons: Mapping[str, Comparison],
    *,
    strict: bool,
    population: bool,
) -> Result:
    measured = interval_of(run.blocks[block].measures[rule.measure], population=population)
    quantity, reference, paired = measured, None, None
    if rule.bound.kind.needs_baseline:
        assert rule.baseline is not None
        quantity, reference, paired = comparisons[rule.baseline].change(rule, block)
    outcome = outcome_of(quantity, rule.bound)
    beyond = outcome == "violated" or quantity.value is None or (strict and outcome == "unsure")
    return Result(rule, block, quantity, measured, reference, paired, outcome, beyond and rule.level == "fail")


def _matching(
    rule: Rule, run: JudgedSpectrum, baselines: Mapping[str, JudgedSpectrum], problems: list[str]
) -> list[str]:
    """Return the blocks that a rule is about; a block that only one side has must not slip through."""
    found = _matches(rule.block, run.blocks)
    if not found:
        near = suggest(rule.block, run.blocks)
        hint = near or ("it was measured without the whole model" if rule.block == WHOLE_MODEL else "")
        problems.append(f"{rule.text}: '{rule.block}' matches no block" + (f"; {hint}" if hint else ""))
    if rule.baseline is not None:
        there = _matches(rule.block, baselines[rule.baseline].blocks)
        known, others = set(found), set(there)
        there_not = [name for name in found if name not in others]
        here_not = [name for name in there if name not in known]
        problems += [f"block '{name}' is not in the baseline {rule.baseline}" for name in there_not]
        problems += [f"block '{name}' of the baseline {rule.baseline} is not in the run" for name in here_not]
    return found


def _matches(glob: str, names: Mapping[str, object]) -> list[str]:
    return [name for name in names if fnmatch.fnmatchcase(name, glob)]


def _contradictions(matched: Sequence[tuple[Rule, Sequence[str]]]) -> list[str]:
    """Find pairs of rules, of whatever globs, that no number can keep to."""
    tightest: dict[tuple[str, str, str, str | None], dict[bool, Rule]] = {}
    for rule, blocks in matched:
        kind = rule.bound.kind
        if kind.quantity not in ("value", "ratio") or rule.level != "fail":
            continue
        for block in blocks:
            sides = tightest.setdefault((block, rule.measure, kind.quantity, rule.baseline), {})
            known = sides.get(kind.is_upper)
            if known is None or (rule.bound.number < known.bound.number) == kind.is_upper:
                sides[kind.is_upper] = rule
    return [
        f"{sides[False].text} and {sides[True].text}: nothing can hold both"
        for sides in tightest.values()
        if len(sides) == 2 and sides[False].bound.number > sides[True].bound.number
    ]


def _some_blocks(run: JudgedSpectrum) -> str:
    names = list(run.blocks)
    more = ", …" * (len(names) > _SHOWN_BLOCKS)
    return f"a glob for one of {len(names):,} blocks: {', '.join(names[:_SHOWN_BLOCKS])}{more}"
