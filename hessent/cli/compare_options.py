"""The options of a comparison: which view, how strict, and what becomes of checkpoints without a spectrum."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import SHOWN

MISSING = "Missing spectra"

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN RUN…",
        help="Folders of checkpoints or spectra, spectra files, or their `summary --json`. The first is the "
        "reference.",
    ),
]
ByBlock = Annotated[
    bool,
    typer.Option(
        "--blocks",
        help="Block by block at the last common checkpoint, those that differ most first.",
        rich_help_panel=SHOWN,
    ),
]
Paper = Annotated[
    bool,
    typer.Option("--paper", help="The quantities of the source paper's Tables 2 to 5.", rich_help_panel=SHOWN),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse runs whose data, seeds or settings differ (exit code 2).", rich_help_panel=SHOWN
    ),
]
Curvatures = Annotated[
    list[str] | None,
    typer.Option(
        "--curvature",
        metavar="KIND",
        help="Compare spectra of this matrix (repeatable: then every run is compared in each, and one run is "
        "enough): hessian, ggn, fisher, empirical-fisher, kfac. Default: the Hessian's, or the only ones.",
        show_default=False,
        rich_help_panel=SHOWN,
    ),
]
NoMeasure = Annotated[
    bool,
    typer.Option(
        "--no-measure",
        help="Compare the spectra that are there; measure no checkpoint.",
        rich_help_panel=MISSING,
    ),
]
