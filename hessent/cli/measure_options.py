"""The options of a measurement: what, on which data, how hard, where, and into which file."""

from __future__ import annotations

from typing import Annotated

import typer

_MODEL = "Model and data"
_BLOCKS = "Blocks and accuracy"
_MACHINE = "Machine"
_FILE = "File"


def _option(*names: str, panel: str, help: str, metavar: str | None = None) -> object:  # noqa: A002
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, show_default=False)


Arch = Annotated[
    str | None,
    _option(
        "--arch",
        panel=_MODEL,
        metavar="ARCH",
        help="Name (see `hessent archs`), auto, provider:NAME, package.module:factory or path/to/file.py:factory.",
    ),
]
ArchOption = Annotated[
    list[str] | None,
    _option(
        "--arch-option",
        panel=_MODEL,
        metavar="KEY=VALUE",
        help="What the tensors' shapes do not tell (repeatable).",
    ),
]
Data = Annotated[
    str | None,
    _option("--data", panel=_MODEL, metavar="DATA", help="Name, FILE, FOLDER or factory (see `hessent data`)."),
]
Loss = Annotated[
    str | None,
    _option(
        "--loss",
        panel=_MODEL,
        metavar="LOSS",
        help="cross-entropy, mse, half-squared-error, next-token or package.module:function.",
    ),
]
Curvature = Annotated[
    str,
    typer.Option(
        "--curvature",
        metavar="MATRIX",
        help="hessian, ggn (generalised Gauss-Newton), fisher (expectation over the model's own predictions), "
        "empirical-fisher (gradients at the data's targets) or kfac (a Kronecker product for each layer).",
        rich_help_panel=_MODEL,
    ),
]
FisherSamples = Annotated[
    int | None,
    _option(
        "--fisher-samples",
        panel=_MODEL,
        metavar="S",
        help="Of fisher: S targets drawn per item instead of the exact expectation. Of kfac: S random backward "
        "passes per sample. Default of kfac: exact up to 1,024 outputs of a sample, else 1.",
    ),
]
KfacApprox = Annotated[
    str | None,
    _option(
        "--kfac-approx",
        panel=_MODEL,
        metavar="KIND",
        help="Of kfac: positions that share a weight are terms of their own (expand), or averaged first (reduce). "
        "Default: reduce, but expand for next-token.",
    ),
]
Precondition = Annotated[
    str,
    typer.Option(
        "--precondition",
        metavar="P",
        help="none; adam: the matrix as Adam's steps see it, from the optimizer's state with the checkpoint; or "
        "FILE.safetensors with a positive diagonal P, named as the parameters: P^-1/2 C P^-1/2.",
        rich_help_panel=_MODEL,
    ),
]
Normalization = Annotated[
    str,
    typer.Option(
        "--normalization",
        metavar="KIND",
        help="trace: the matrix C as it is; diagonal: D^-1/2 C D^-1/2 with D its diagonal, of all but the Hessian.",
        rich_help_panel=_MODEL,
    ),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help="Of hessian: beside it its Gauss-Newton part and the rest, trace and norm of each, by block.",
        rich_help_panel=_BLOCKS,
    ),
]
SplitProbes = Annotated[
    int | None,
    _option(
        "--split-probes",
        panel=_BLOCKS,
        metavar="N",
        help="Random vectors per block for --split, two products each; blocks of up to 4 N parameters are exact. "
        "Default: 12.",
    ),
]
Samples = Annotated[
    int | None,
    _option(
        "--samples",
        panel=_MODEL,
        metavar="N",
        help="Samples to average over: a seeded subset. Default: as the checkpoint says, else at most 2048.",
    ),
]
DataError = Annotated[
    bool,
    typer.Option(
        "--data-error/--no-data-error",
        help="Tell the error of having just these samples, at no further product. Default: yes.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
DataGroups = Annotated[
    int,
    typer.Option(
        "--data-groups",
        metavar="G",
        help="Groups of the samples that this error is told from.",
        rich_help_panel=_MODEL,
    ),
]
Population = Annotated[
    int | None,
    _option(
        "--population",
        panel=_MODEL,
        metavar="N",
        help="Size of the finite population the samples were drawn from. Default: unlimited.",
    ),
]
BatchSize = Annotated[
    int | None,
    _option(
        "--batch-size",
        panel=_MACHINE,
        metavar="N",
        help="Samples per micro-batch; changes results by rounding only. Default: what fits.",
    ),
]
Blocks = Annotated[
    list[str] | None,
    _option(
        "--blocks",
        panel=_BLOCKS,
        metavar="BLOCKS",
        help="full, layer, module, parameter or GLOB=NAME (repeatable). Default: layer.",
    ),
]
NoFull = Annotated[bool, typer.Option("--no-full", help="Leave out the whole matrix.", rich_help_panel=_BLOCKS)]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="auto (exact where a block is small), exact or lanczos.",
        rich_help_panel=_BLOCKS,
    ),
]
Rtol = Annotated[
    float | None,
    _option(
        "--rtol",
        panel=_BLOCKS,
        metavar="R",
        help="Target relative 95 % half-width of entropy gap and absolute trace; 0 spends the whole budget. "
        "Default: 0.05; with --max-matvecs alone: 0.",
    ),
]
Only = Annotated[
    str | None,
    _option("--only", panel=_BLOCKS, metavar="MEASURE", help="trace: nothing else, for far fewer products."),
]
Probes = Annotated[
    int | None, _option("--probes", panel=_BLOCKS, metavar="N", help="Fix the number of random probes.")
]
Steps = Annotated[
    int | None, _option("--steps", panel=_BLOCKS, metavar="M", help="Fix the number of Lanczos steps.")
]
MaxMatvecs = Annotated[
    int | None,
    _option("--max-matvecs", panel=_BLOCKS, metavar="N", help="Budget of products per block, everything counted."),
]
MaxTime = Annotated[
    str | None,
    _option("--max-time", panel=_BLOCKS, metavar="TIME", help="Stop refining after this time: 120s, 10m, 2h."),
]
Seed = Annotated[
    int | None,
    _option("--seed", panel=_BLOCKS, metavar="N", help="Seed of probes and of the choice of samples. Default: 0."),
]
Device = Annotated[
    str | None, _option("--device", panel=_MACHINE, metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")
]
Dtype = Annotated[
    str | None,
    _option("--dtype", panel=_MACHINE, metavar="DTYPE", help="float32 or float64. Default: float32."),
]
Memory = Annotated[
    str | None,
    _option(
        "--memory",
        panel=_MACHINE,
        metavar="SIZE",
        help="For graphs and vectors: 8G, 512M; vectors beyond go to a file. Default: half of what is free.",
    ),
]
Engine = Annotated[
    str | None,
    _option(
        "--engine",
        panel=_MACHINE,
        metavar="ENGINE",
        help="How products are computed: auto, retained, lockstep, batched, forward, linearized, replayed. "
        "Default: auto, which times them.",
    ),
]
NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", help="Measure even if the operator's check fails.", rich_help_panel=_MACHINE),
]
Units = Annotated[
    str | None,
    _option(
        "--units",
        panel=_FILE,
        metavar="I/N",
        help="Measure the I-th of N equal parts of the blocks: for jobs that share nothing but files; see merge.",
    ),
]
Out = Annotated[
    str | None,
    _option("--out", "-o", panel=_FILE, metavar="FILE", help="Spectrum file. Default: beside the checkpoint."),
]
JsonOut = Annotated[
    str | None,
    _option("--json-out", panel=_FILE, metavar="FILE", help="Write the summary as JSON to a file (not -), too."),
]
Force = Annotated[bool, typer.Option("--force", help="Measure again, replacing the file.", rich_help_panel=_FILE)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be done: blocks, products, memory, time.",
        rich_help_panel=_FILE,
    ),
]
