"""The options of `hessent step` alone."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli.options import OUTPUT, SHOWN

_STEPS = "Steps"
_WORK = "Accuracy"


def _option(*names: str, panel: str, help: str, metavar: str | None = None) -> object:  # noqa: A002
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, show_default=False)


Optimizers = Annotated[
    list[str] | None,
    _option(
        "--optimizer",
        panel=_STEPS,
        metavar="NAME",
        help="Analyse this optimizer alone (repeatable): newton, gd, adam, … Default: all 18.",
    ),
]
Rates = Annotated[
    list[str] | None,
    _option(
        "--lr",
        panel=_STEPS,
        metavar="NAME=RATE",
        help="Step size of an optimizer (repeatable). Default: the training's; 1 for newton and ngd; else that of "
        "the largest decrease along the step; where none is largest (curvature not positive) a customary one, told "
        "as default.",
    ),
]
Clip = Annotated[
    float | None,
    _option(
        "--clip",
        panel=_STEPS,
        metavar="C",
        help="Clip at C in place of normalising: the length in H, in the root of the loss's unit, of "
        "normalized-ngd as a whole, of gradient-norm-ngd relative to the gradient and of eigenbasis-ngd along each "
        "eigendirection; and every coordinate of sophia, which is not clipped otherwise. The step size comes after "
        "it (--lr).",
    ),
]
Damping = Annotated[
    float,
    typer.Option(
        "--damping",
        metavar="R",
        help="δ = R·max|λ|: negative and tiny λ count as |λ| + δ in functions of the Hessian.",
        rich_help_panel=_STEPS,
    ),
]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup",
        metavar="N",
        help="Mini-batches from which an optimizer's state is rebuilt that the checkpoint does not hold.",
        rich_help_panel=_STEPS,
    ),
]
BatchSize = Annotated[
    int | None,
    _option(
        "--batch-size",
        panel=_STEPS,
        metavar="N",
        help="Samples of a mini-batch: noise depends on it. Default: that of the training, else 64.",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        metavar="M",
        help="Products of the Lanczos run from the gradient; up to 2,048 parameters the matrix is formed instead.",
        rich_help_panel=_WORK,
    ),
]
NoiseBatches = Annotated[
    int,
    typer.Option(
        "--noise-batches",
        metavar="K",
        help="Mini-batches from which the noise is measured, a product each for every optimizer; 0 for none.",
        rich_help_panel=_WORK,
    ),
]
Measure = Annotated[
    bool,
    typer.Option(
        "--measure",
        help="Evaluate the loss after steps of other sizes too: a quarter, half, twice and four times.",
        rich_help_panel=_STEPS,
    ),
]
Directions = Annotated[
    int,
    typer.Option(
        "--directions",
        metavar="K",
        help="Eigendirections shown one by one, those of largest |λ|.",
        rich_help_panel=SHOWN,
    ),
]
Sort = Annotated[
    str,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="Largest first: measured_decrease, decrease (predicted), best_decrease or noise; or table, the order "
        "of the unified view.",
        rich_help_panel=SHOWN,
    ),
]
Plot = Annotated[
    str | None,
    _option(
        "--plot",
        panel=OUTPUT,
        metavar="FILE",
        help="Draw the decrease along each eigendirection: .png, .svg or .pdf; needs the extra `plot`.",
    ),
]
