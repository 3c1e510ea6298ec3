"""The options of an export: where to, and what."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import OUTPUT, SHOWN
from hessent.report.exports.targets import Content, Target

Paths = Annotated[
    list[str], typer.Argument(metavar="FILE|RUN…", help="Spectra files (*.spectrum.h5), and folders of them.")
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="OUT",
        help="File: .csv, .json or .parquet; - for standard output. For trackers a folder; for MLflow also an "
        "address of its own (http://…, sqlite:///…).",
        rich_help_panel=OUTPUT,
    ),
]
To = Annotated[
    Target | None,
    typer.Option(
        "--to", help="What to write, where the name does not say it.", show_default=False, rich_help_panel=OUTPUT
    ),
]
Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="NAME",
        help="MLflow experiment or W&B project. Default: hessent.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
What = Annotated[
    Content,
    typer.Option(
        "--what",
        help="measures; or eigenvalues, with the nodes and weights of the sampled ones (files only).",
        rich_help_panel=SHOWN,
    ),
]
