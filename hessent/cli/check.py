"""`hessent check`: rules on the measures of a run, for CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hessent.cli import check_options as given
from hessent.cli.options import Debug, Quiet

if TYPE_CHECKING:
    from hessent.report.checks.rules import Rule

FAILED = 1


def command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A spectra file, its `summary --json`, or a folder of them (the latest step).",
        ),
    ],
    policy: given.Policy = None,
    at_most: given.Max = None,
    at_least: given.Min = None,
    max_increase: given.MaxIncrease = None,
    max_decrease: given.MaxDecrease = None,
    max_ratio: given.MaxRatio = None,
    min_ratio: given.MinRatio = None,
    block: given.Block = None,
    baseline: given.Baseline = None,
    update_baseline: given.UpdateBaseline = False,
    strict: given.Strict = False,
    population: given.Population = False,
    allow_incomplete: given.AllowIncomplete = False,
    step: given.Step = None,
    output_format: given.Format = None,
    as_json: given.Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hold rules against the measures of a run: exit code 0 if they pass, 1 if not, 2 if a rule is wrong.

    A rule fails only where the whole 95 % interval lies beyond its bound.  Where the interval straddles it the
    result is unsure, which --strict turns into a failure; a number that is not known fails always.

    Without --policy and without a rule on the command line, [tool.hessent.check] of the project is used.
    """
    from hessent.cli.check_output import print_report, print_update
    from hessent.cli.output_files import read_of
    from hessent.report.checks.gate import check_rules
    from hessent.report.checks.judged_spectrum import require_complete
    from hessent.report.checks.spectrum_files import read_run

    chosen = given.choose_format(output_format, as_json)
    typed = {
        "max": at_most or [],
        "min": at_least or [],
        "max_increase": max_increase or [],
        "max_decrease": max_decrease or [],
        "max_ratio": max_ratio or [],
        "min_ratio": min_ratio or [],
    }
    rules = _rules(policy, typed, block or [], baseline, required=not (update_baseline and baseline))
    judged = read_run(run, step)
    if update_baseline:
        require_complete(judged, allowed=allow_incomplete)
        print_update(judged, rules, baseline, chosen, reads=[*read_of([run]), policy])
        return
    report = check_rules(rules, judged, strict=strict, population=population, allow_incomplete=allow_incomplete)
    print_report(report, chosen)
    if report.failed:
        raise typer.Exit(FAILED)


def _rules(
    policy: str | None,
    typed: dict[str, list[str]],
    blocks: list[str],
    baseline: str | None,
    *,
    required: bool,
) -> tuple[Rule, ...]:
    """Return the rules typed and those of the policy; the project's own policy only where nothing else is named."""
    from pathlib import Path

    from hessent.errors import UsageError
    from hessent.report.checks.policy import rules_of_policy
    from hessent.report.checks.policy_file import find_project_policy, read_policy
    from hessent.report.checks.typed_rules import rules_of_words

    words = any(typed.values())
    if blocks and not words:
        raise UsageError(
            "--block is about rules on the command line, and there is none",
            fix="--max lambda_max=250 beside it, or block = in the policy",
        )
    rules = rules_of_words(typed, blocks=blocks, baseline=baseline)
    if policy is None and not words:
        policy = find_project_policy(Path.cwd())
        if policy is None and required:
            raise UsageError(
                "there is no rule to check",
                expected="--policy FILE, --max lambda_max=250, or [tool.hessent.check] in pyproject.toml",
            )
    if policy is not None:
        table, lines = read_policy(policy)
        rules += rules_of_policy(table, where=policy, baseline=baseline, lines=lines)
    return rules
