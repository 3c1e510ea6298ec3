"""The options of the PAC-Bayes bound."""

from __future__ import annotations

from typing import Annotated

import typer

_BOUND = "Bound"

Delta = Annotated[
    float,
    typer.Option("--delta", metavar="D", help="Probability that a bound may fail.", rich_help_panel=_BOUND),
]
Draws = Annotated[
    int | None,
    typer.Option(
        "--draws",
        metavar="N",
        help="Weights drawn from the posterior; more make the bound tighter, at up to 40 products each. "
        "Default: 8, but 100 up to 2,048 parameters, where a draw takes no product.",
        show_default=False,
        rich_help_panel=_BOUND,
    ),
]
SpectrumFile = Annotated[
    str | None,
    typer.Option(
        "--spectrum",
        metavar="FILE",
        help="Spectrum file with the block full; how to measure (--rtol, --max-matvecs, --max-time, --method) is "
        "then refused. Default: the one beside the checkpoint, if it fits.",
        show_default=False,
        rich_help_panel=_BOUND,
    ),
]
