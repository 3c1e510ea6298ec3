"""A check as GitHub annotations, and the page that goes into the step's summary.

GitHub shows ten errors, ten warnings and ten notices of a step and drops the rest without a word.  So there is one
annotation per rule, whatever the number of its blocks, and beyond nine of a kind the rest share the tenth.
"""

from __future__ import annotations

from collections.abc import Sequence

from hessent.report.checks.judgement import CheckReport, Result
from hessent.report.checks.rules import Rule
from hessent.report.checks.sentences import closing_words, sentence
from hessent.report.checks.table import check_table
from hessent.report.names import printable
from hessent.report.plain import to_markdown

MOST_ANNOTATIONS = 10  # of each kind in a step
_MOST_SENTENCES = 20  # in one annotation
_MOST_ROWS = 1_000  # in the summary: GitHub refuses more than a megabyte
_MOST_SUMMARY = 1_000_000  # bytes


def to_annotations(report: CheckReport) -> str:
    """Return the workflow commands of a check, one per line: errors for what fails, warnings for the rest.

    Parameters
    ----------
    report : CheckReport
        All results.
    """
    lines = []
    for command in ("error", "warning"):
        groups: dict[Rule, list[Result]] = {}
        for result in report.results:
            if result.outcome != "holds" and result.fails == (command == "error"):
                groups.setdefault(result.rule, []).append(result)
        lines += _commands(command, groups)
    if report.warnings:
        lines.append(_command("notice", "hessent check", report.warnings, None))
    return "".join(f"{line}\n" for line in lines)


def step_summary(report: CheckReport) -> str:
    """Return Markdown for ``$GITHUB_STEP_SUMMARY``, short enough for it.

    Parameters
    ----------
    report : CheckReport
        All results.
    """
    rows = min(len(report.results), _MOST_ROWS)
    while True:
        table = to_markdown([check_table(report, most_rows=rows)])
        page = f"### hessent check: {closing_words(report)}\n\n{table}"
        if len(page.encode()) <= _MOST_SUMMARY or not rows:
            return page
        rows //= 2


def plain_log(text: str) -> str:
    """Return text for the log in which GitHub finds no command: names in it may come from any file."""
    lines = (("· " + line if line.lstrip().startswith("::") else line) for line in text.split("\n"))
    return "\n".join(lines).replace("##[", "## [")


def escaped_message(text: str) -> str:
    """Escape the text of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """Escape a property of a workflow command, which a colon or a comma would end."""
    return escaped_message(text).replace(":", "%3A").replace(",", "%2C")


def _commands(command: str, groups: dict[Rule, list[Result]]) -> list[str]:
    single = list(groups.items())
    rest: list[tuple[Rule, list[Result]]] = []
    if len(single) > MOST_ANNOTATIONS:
        single, rest = single[: MOST_ANNOTATIONS - 1], single[MOST_ANNOTATIONS - 1 :]
    lines = [_command(command, rule.text, [sentence(result) for result in found], rule) for rule, found in single]
    if rest:
        sentences = [sentence(result) for _, found in rest for result in found]
        lines.append(_command(command, f"{len(rest):,} more rules", sentences, None))
    return lines


def _command(command: str, title: str, sentences: Sequence[str], rule: Rule | None) -> str:
    properties = {"title": printable(title)}
    if rule is not None and rule.file is not None:
        properties["file"] = printable(rule.file)
        if rule.line is not None:
            properties["line"] = str(rule.line)
    told = list(map(printable, sentences[:_MOST_SENTENCES]))
    if len(sentences) > _MOST_SENTENCES:
        told.append(f"and {len(sentences) - _MOST_SENTENCES:,} more")
    listed = ",".join(f"{name}={escaped_property(value)}" for name, value in properties.items())
    message = escaped_message("\n".join(told))
    return f"::{command} {listed}::{message}"
