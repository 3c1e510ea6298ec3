"""The options of the Lion analysis: which mini-batches, which update, and what is written."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import OUTPUT, SHOWN

_MODEL, _UPDATE = "Model and data", "Update"

Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="N",
        help="Samples that mini-batches are drawn from. Default: all, at most 16,384.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
NumBatches = Annotated[
    int, typer.Option("--batches", metavar="B", help="Mini-batches drawn; at least 16.", rich_help_panel=_UPDATE)
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        help="Samples of a mini-batch: noise depends on it. Default: that of the training, else 64.",
        show_default=False,
        rich_help_panel=_UPDATE,
    ),
]
Beta1 = Annotated[
    float | None,
    typer.Option(
        "--beta1",
        metavar="B1",
        help="Of U = B1·m + (1 − B1)·g. Default: that of the training with Lion, else 0.9.",
        show_default=False,
        rich_help_panel=_UPDATE,
    ),
]
Momentum = Annotated[
    str,
    typer.Option(
        "--momentum",
        metavar="M",
        help="m: state (the optimizer's), gradient (the mean one over the samples), zero, or auto: state where "
        "there is one, zero at step 0, else gradient.",
        rich_help_panel=_UPDATE,
    ),
]
Sort = Annotated[
    str,
    typer.Option(
        "--sort", metavar="KEY", help="Largest first: a key of the JSON, or model.", rich_help_panel=SHOWN
    ),
]
Scales = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE.toml",
        help="Write the scales to a file (not -): `hessent train --optimizer lion-tanh --tanh-scale FILE.toml`.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the updates and the two Gaussians: .png, .svg or .pdf; needs the extra `plot`.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
