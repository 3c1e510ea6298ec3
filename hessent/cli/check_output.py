"""Printing a check, and what `--update-baseline` did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from hessent.cli.check_options import CheckFormat
from hessent.cli.console import results, terminal_width, warn, write_lines, write_text
from hessent.cli.output_files import OutputFile, check_outputs
from hessent.report.checks.baseline_file import read_old_baseline, write_baseline
from hessent.report.checks.baseline_update import baselines_to_update, has_changed, update_document, update_table
from hessent.report.checks.table import check_table
from hessent.report.document import to_json
from hessent.report.plain import to_markdown
from hessent.report.tables import Table
from hessent.report.terminal import table_lines

if TYPE_CHECKING:
    from hessent.report.checks.judged_spectrum import JudgedSpectrum
    from hessent.report.checks.judgement import CheckReport
    from hessent.report.checks.rules import Rule

_SUMMARY_FILE = "GITHUB_STEP_SUMMARY"
_IN_FULL = CheckFormat.MARKDOWN  # has every column and row


def print_report(report: CheckReport, output_format: CheckFormat) -> None:
    """Print a check to standard output; warnings go to standard error where the format has no place for them.

    Parameters
    ----------
    report : CheckReport
        All results.
    output_format : CheckFormat
        What was asked for.
    """
    if output_format is CheckFormat.JSON:
        write_text(to_json(report.to_json()))
    elif output_format is CheckFormat.JUNIT:
        from hessent.report.checks.junit import to_junit

        write_text(to_junit(report))
    elif output_format is CheckFormat.GITLAB:
        from hessent.report.checks.gitlab import to_gitlab

        write_text(to_gitlab(report))
    elif output_format is CheckFormat.GITHUB:
        _print_for_github(report)
    elif output_format is CheckFormat.MARKDOWN:
        write_text(to_markdown([check_table(report)]))
    else:
        _print_table(check_table(report))
    if output_format in (CheckFormat.JSON, CheckFormat.JUNIT, CheckFormat.GITLAB):
        for warning in report.warnings:
            warn(warning)


def print_update(
    run: JudgedSpectrum,
    rules: Sequence[Rule],
    baseline: str | None,
    output_format: CheckFormat,
    *,
    reads: Sequence[str | None] = (),
) -> None:
    """Write a run into the baselines and print what changed.

    Parameters
    ----------
    run : JudgedSpectrum
        What later runs are measured against.
    rules : sequence of Rule
        Their measures are shown.
    baseline : str or None
        The file to write; None for those that the rules name.
    output_format : CheckFormat
        What was asked for: a table, unless JSON.
    reads : sequence of str or None
        Files that the command reads, and which are no place for a baseline.

    Raises
    ------
    UsageError
        If there is no baseline to write, or a file is there that is none.
    """
    named = baselines_to_update(rules, baseline)
    check_outputs([OutputFile("--baseline", path) for path in named], reads)
    old = {path: read_old_baseline(path) for path in named}
    for path, before in old.items():
        if has_changed(run, before):
            write_baseline(path, run)
    if output_format is CheckFormat.JSON:
        write_text(to_json(update_document(run, old)))
        return
    for number, (path, before) in enumerate(old.items()):
        table = update_table(run, path, before, rules)
        if output_format is CheckFormat.MARKDOWN:
            write_text("\n" * bool(number) + to_markdown([table]))
        else:
            _print_table(table, blank=number > 0)


def _print_table(table: Table, *, blank: bool = False) -> None:
    console = results()
    lines = table_lines(table, terminal_width(console), in_full=_IN_FULL)
    write_lines(console, [Text()] * blank + lines)


def _print_for_github(report: CheckReport) -> None:
    from hessent.report.checks.github import plain_log, step_summary, to_annotations

    lines = [line.plain for line in table_lines(check_table(report), None, in_full=_IN_FULL)]
    write_text(plain_log("\n".join(lines)) + "\n" + to_annotations(report))
    page = os.environ.get(_SUMMARY_FILE)
    if not page:
        return
    try:
        with open(page, "a", encoding="utf-8") as file:
            file.write(step_summary(report) + "\n")
    except OSError as error:  # the outcome of the check stands all the same
        warn(f"${_SUMMARY_FILE} cannot be written: {error.strerror}")
