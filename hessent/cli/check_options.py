"""The options of `hessent check`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hessent.cli.options import OUTPUT, refuse_two_formats

RULES = "Rules"
BASELINE = "Baseline"
DECISION = "How it is decided"


class CheckFormat(StrEnum):
    """The forms in which a check can be printed."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    GITLAB = "gitlab"
    MARKDOWN = "markdown"


def choose_format(output_format: CheckFormat | None, as_json: bool) -> CheckFormat:
    """Join `--format` and its short form `--json`; raises UsageError if both are given and differ."""
    refuse_two_formats(output_format, as_json)
    return CheckFormat.JSON if as_json else output_format or CheckFormat.TABLE


def _rule(option: str, help_text: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        option, metavar="[GLOB:]MEASURE=BOUND", help=help_text, show_default=False, rich_help_panel=RULES
    )
    return info


Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="TOML with [[rule]], or a pyproject.toml with [tool.hessent.check].",
        show_default=False,
        rich_help_panel=RULES,
    ),
]
Max = Annotated[list[str] | None, _rule("--max", "At most: lambda_max=250, 'layer4.*:entropy_gap=6' (repeatable).")]
Min = Annotated[list[str] | None, _rule("--min", "At least (repeatable).")]
MaxIncrease = Annotated[
    list[str] | None,
    _rule("--max-increase", "At most so much above the baseline: trace=20% or trace=1.5 (repeatable)."),
]
MaxDecrease = Annotated[
    list[str] | None, _rule("--max-decrease", "At most so much below the baseline (repeatable).")
]
MaxRatio = Annotated[list[str] | None, _rule("--max-ratio", "Run / baseline at most (repeatable).")]
MinRatio = Annotated[list[str] | None, _rule("--min-ratio", "Run / baseline at least (repeatable).")]
Block = Annotated[
    list[str] | None,
    typer.Option(
        "--block",
        metavar="GLOB",
        help="Blocks of the rules that name none (repeatable). Default: full, the whole model.",
        show_default=False,
        rich_help_panel=RULES,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="What changes are measured against: a spectra file, a summary or a baseline in JSON. "
        "Takes the place of those that the policy names.",
        show_default=False,
        rich_help_panel=BASELINE,
    ),
]
UpdateBaseline = Annotated[
    bool,
    typer.Option(
        "--update-baseline",
        help="Judge nothing: write the run into the baseline (JSON), print what changed, and end with 0.",
        rich_help_panel=BASELINE,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Count what is unsure as a failure, and refuse a baseline of other data.",
        rich_help_panel=DECISION,
    ),
]
Population = Annotated[
    bool,
    typer.Option(
        "--population",
        help="Judge the intervals of the population that the data was drawn from.",
        rich_help_panel=DECISION,
    ),
]
AllowIncomplete = Annotated[
    bool,
    typer.Option(
        "--allow-incomplete",
        help="Take a run that was stopped early, or a part of --units, as it is.",
        rich_help_panel=DECISION,
    ),
]
Step = Annotated[
    int | None,
    typer.Option(
        "--step",
        metavar="N",
        help="The training step to judge, where RUN holds several. Default: the latest.",
        show_default=False,
        rich_help_panel=DECISION,
    ),
]
Format = Annotated[
    CheckFormat | None,
    typer.Option(
        "--format",
        help="How to print: table (the default), json, junit, github, gitlab or markdown.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=OUTPUT)]
