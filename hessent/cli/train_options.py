"""The options of a training run: what, on which data, how, where, and which checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.errors import UsageError

_MODEL = "Model and data"
_STEPS = "Optimizer"
_LENGTH = "Length and learning rate"
_RUN = "Run"
_MACHINE = "Machine"


def _option(*names: str, panel: str, help: str, metavar: str | None = None) -> object:  # noqa: A002
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, show_default=False)


Arch = Annotated[
    str,
    _option(
        "--arch",
        panel=_MODEL,
        metavar="ARCH",
        help="Name (see `hessent archs`), provider:NAME, package.module:factory or path/to/file.py:factory.",
    ),
]
ArchOption = Annotated[
    list[str] | None,
    _option(
        "--arch-option",
        panel=_MODEL,
        metavar="KEY=VALUE",
        help="Setting of the architecture (repeatable). Default: what fits the data.",
    ),
]
Data = Annotated[
    str,
    _option("--data", panel=_MODEL, metavar="DATA", help="Name, FILE, FOLDER or factory (see `hessent data`)."),
]
Samples = Annotated[
    int | None,
    _option(
        "--samples",
        panel=_MODEL,
        metavar="N",
        help="Train on N of the samples: those whose loss `hessent spectrum` then measures. Default: all.",
    ),
]
LossName = Annotated[
    str | None,
    _option(
        "--loss",
        panel=_MODEL,
        metavar="LOSS",
        help="cross-entropy, mse, half-squared-error, next-token or package.module:function. "
        "Default: the architecture's.",
    ),
]
LabelSmoothing = Annotated[
    float | None,
    _option(
        "--label-smoothing", panel=_MODEL, metavar="SHARE", help="Of cross-entropy: mass spread over all classes."
    ),
]
OptimizerName = Annotated[
    str, _option("--optimizer", panel=_STEPS, metavar="NAME", help="sgd, adam, adamw, lion, lion-tanh or emc.")
]
LearningRate = Annotated[
    float | None,
    _option(
        "--lr",
        panel=_STEPS,
        metavar="RATE",
        help="Highest learning rate. Default: sgd 0.1, adam and adamw 0.001, lion 0.0001, emc 1.",
    ),
]
Momentum = Annotated[
    float | None, _option("--momentum", panel=_STEPS, metavar="SHARE", help="Of sgd. Default: 0.9.")
]
WeightDecay = Annotated[
    float | None,
    _option(
        "--weight-decay",
        panel=_STEPS,
        metavar="RATE",
        help="Inside the gradient for sgd and adam, beside it for adamw and lion. Default: 0, adamw 0.01.",
    ),
]
Betas = Annotated[
    str | None,
    _option(
        "--betas", panel=_STEPS, metavar="B1,B2", help="Of adam, adamw and lion. Default: 0.9,0.999; lion 0.9,0.99."
    ),
]
Epsilon = Annotated[
    float | None, _option("--epsilon", panel=_STEPS, metavar="SIZE", help="Of adam and adamw. Default: 1e-8.")
]
TanhScale = Annotated[
    str | None,
    _option(
        "--tanh-scale",
        panel=_STEPS,
        metavar="C|FILE",
        help="Of lion-tanh, which takes tanh(C·U) for the sign: a number, or a file that `hessent lion` wrote.",
    ),
]
Levels = Annotated[
    int | None,
    _option(
        "--levels",
        panel=_STEPS,
        metavar="K",
        help="Of emc: averages of gradients over 2, 4 … 2^K steps. Default: 5.",
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size", metavar="N|full", help="Samples of one update; full takes all.", rich_help_panel=_LENGTH
    ),
]
Epochs = Annotated[
    int | None, _option("--epochs", panel=_LENGTH, metavar="N", help="Passes over the data. Default: 30.")
]
Steps = Annotated[int | None, _option("--steps", panel=_LENGTH, metavar="N", help="Updates, instead of --epochs.")]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Of the learning rate: cosine (to zero at the end) or constant.",
        rich_help_panel=_LENGTH,
    ),
]
WarmupSteps = Annotated[
    int,
    typer.Option(
        "--warmup-steps", metavar="N", help="Updates of linear rise at the start.", rich_help_panel=_LENGTH
    ),
]
Out = Annotated[str, _option("--out", "-o", panel=_RUN, metavar="RUN", help="Folder for the checkpoints.")]
Checkpoints = Annotated[
    str,
    typer.Option(
        "--checkpoints",
        metavar="PERCENTS",
        help="Shares of the run at which a checkpoint is saved; its end always is.",
        rich_help_panel=_RUN,
    ),
]
SpectrumSamples = Annotated[
    int | None,
    _option(
        "--spectrum-samples",
        panel=_RUN,
        metavar="N",
        help="Written into the checkpoints: samples that `hessent spectrum` takes by default. "
        "Default: as --samples.",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of start values and shuffling.", rich_help_panel=_RUN)
]
Force = Annotated[
    bool, typer.Option("--force", help="Discard the checkpoints in RUN and begin anew.", rich_help_panel=_RUN)
]
Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.", rich_help_panel=_MACHINE)
]
Dtype = Annotated[
    str, typer.Option("--dtype", metavar="DTYPE", help="float32 or float64.", rich_help_panel=_MACHINE)
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="CPU threads; their number decides the rounding. Default: torch's choice.",
        show_default=False,
        rich_help_panel=_MACHINE,
    ),
]


def parse_batch_size(text: str) -> int | None:
    """Return the samples of one update; None for `full`.

    Raises
    ------
    UsageError
        If it is neither a whole number nor `full`.
    """
    if text == "full":
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"'{text}' is not a batch size", where="--batch-size", expected="a whole number, or full")
    return int(text)


def parse_betas(text: str | None) -> tuple[float, float] | None:
    """Return the two numbers that `0.9,0.999` stands for; None stays None.

    Raises
    ------
    UsageError
        If they are not exactly two numbers.
    """
    if text is None:
        return None
    numbers = _parse_numbers(text)
    if numbers is None or len(numbers) != 2:
        raise UsageError(f"'{text}' is not two numbers", where="--betas", expected="for example 0.9,0.999")
    return numbers[0], numbers[1]


def parse_percents(text: str) -> tuple[float, ...]:
    """Return the percentages of a list such as `0,1,25,50,75,100`.

    Raises
    ------
    UsageError
        If one of them is not a number.
    """
    numbers = _parse_numbers(text)
    if numbers is None:
        raise UsageError(f"'{text}' is not a list of percentages", where="--checkpoints", expected="as in 0,50,100")
    return numbers


def _parse_numbers(text: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(piece) for piece in text.split(","))
    except ValueError:
        return None
