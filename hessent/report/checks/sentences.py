"""What became of a rule, in words, for places that have no columns: annotations, test reports, code quality."""

from __future__ import annotations

from dataclasses import replace

from hessent.estimate import Estimate
from hessent.report.checks.judgement import CheckReport, Result
from hessent.report.checks.rules import Bound
from hessent.report.measure_columns import measure_column
from hessent.report.names import printable
from hessent.report.numbers import NumberKind, format_estimate


def shown_measure(estimate: Estimate, measure: str) -> str:
    """Return a measure with its interval; of a share the ends are the message."""
    kind: NumberKind = "bracket" if measure_column(measure, 1.0).kind == "bracket" else "estimate"
    return format_estimate(estimate, kind).joined()


def shown_quantity(result: Result) -> str:
    """Return what was compared with the bound: a change with its sign, as a percentage where the bound is one."""
    estimate, bound = result.quantity, result.rule.bound
    if bound.kind.quantity == "value":
        return shown_measure(estimate, result.rule.measure)
    unit = ""
    if bound.relative:
        estimate, unit = _hundredfold(estimate), " %" * (estimate.value is not None)
    text = format_estimate(estimate).joined() + unit
    signed = bound.kind.quantity != "ratio" and estimate.value is not None and estimate.value > 0
    return f"+{text}" if signed and text[0].isdigit() else text


def verdict(result: Result) -> str:
    """Return the outcome in one word."""
    return "unknown" if result.is_unknown else result.outcome


def sentence(result: Result) -> str:
    """Return one sentence about a result: block, measure, numbers and bound, on one line and safe to print."""
    rule = result.rule
    text = f"{result.block}: {rule.measure} "
    if result.is_unknown:
        text += f"is unknown ({result.quantity.reason or 'no reason is given'}), and nothing unknown passes"
        return printable(f"{text} {rule.bound.kind.key} {rule.bound.shown}")
    noun = rule.bound.kind.quantity
    text += "is " if noun == "value" else f"has the {noun} " if noun == "ratio" else f"has an {noun} of "
    text = text.replace("an decrease", "a decrease")
    text += shown_quantity(result)
    if result.baseline is not None:
        before, now = (shown_measure(number, rule.measure) for number in (result.baseline, result.run))
        text += f" (from {before} to {now})"
    if result.outcome == "unsure":
        return printable(f"{text}: the interval does not decide whether it is {_allowed(rule.bound)}")
    return printable(f"{text}: {_allowed(rule.bound)} is allowed")


def closing_words(report: CheckReport) -> str:
    """Return the outcome of the whole check in one sentence."""
    results = report.results
    counts = [
        (sum(r.outcome == "violated" and r.rule.level == "fail" for r in results), "violated"),
        (sum(r.outcome == "violated" and r.rule.level == "warn" for r in results), "violated at level warn"),
        (sum(r.is_unknown for r in results), "unknown"),
        (sum(r.outcome == "unsure" and not r.is_unknown for r in results), "unsure"),
        (sum(r.outcome == "holds" for r in results), "hold"),
    ]
    told = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return f"{'FAILED' if report.failed else 'passed'}: of {_counted(len(results), 'check')} {told}."


def advice(report: CheckReport) -> str | None:
    """Return what can be done about what is unsure; None where nothing is."""
    if not any(r.outcome == "unsure" and not r.is_unknown for r in report.results):
        return None
    narrower = "more --samples" if report.population else "a smaller --rtol"
    strict = "counts as a failure (--strict)" if report.strict else "fails with --strict alone"
    return f"unsure: the 95 % interval is not on one side of the bound; it {strict}. Narrower: {narrower}."


def _allowed(bound: Bound) -> str:
    return f"{'at most' if bound.kind.is_upper else 'at least'} {bound.shown}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _hundredfold(estimate: Estimate) -> Estimate:
    value, low, high = (None if n is None else 100 * n for n in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high)
