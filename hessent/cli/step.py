"""`hessent step`: one step of every optimizer."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli import measure_options as given
from hessent.cli import step_options as own
from hessent.cli.options import Debug, Format, Json, Quiet, choose_format


def command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, an index or a folder.")],
    arch: given.Arch = None,
    arch_option: given.ArchOption = None,
    data: given.Data = None,
    loss: given.Loss = None,
    samples: given.Samples = None,
    optimizer: own.Optimizers = None,
    lr: own.Rates = None,
    clip: own.Clip = None,
    damping: own.Damping = 1e-3,
    measure: own.Measure = False,
    warmup: own.Warmup = 16,
    batch_size: own.BatchSize = None,
    steps: own.Steps = 60,
    noise_batches: own.NoiseBatches = 16,
    seed: given.Seed = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    memory: given.Memory = None,
    no_verify: given.NoVerify = False,
    directions: own.Directions = 10,
    sort: own.Sort = "measured_decrease",
    plot: own.Plot = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare one step of 18 optimizers in the measured curvature of a checkpoint.

    How much each lowers the loss, by the quadratic model and in truth; its best step size and its limit; what it
    pays to the curvature, what mini-batch noise adds, and along which eigendirections it gains.
    """
    from hessent.cli.console import note, warn_of_synthetic_data
    from hessent.cli.output import emit
    from hessent.cli.output_files import OutputFile, check_outputs, read_for
    from hessent.cli.parsing import parse_options, parse_rates, parse_size
    from hessent.cli.progress import SpectrumDisplay
    from hessent.errors import HessentError
    from hessent.pipeline.request import SpectrumRequest
    from hessent.pipeline.step.request import StepRequest
    from hessent.pipeline.step.run import run_step
    from hessent.report.analysis_picture import check_picture, write_picture
    from hessent.report.step_document import step_document
    from hessent.report.step_order import check_sort
    from hessent.report.step_table import step_tables

    chosen = choose_format(output_format, as_json)
    check_sort(sort)
    model = SpectrumRequest(
        checkpoint=checkpoint,
        arch=arch,
        arch_options=parse_options(arch_option or []),
        data=data,
        loss=loss,
        samples=samples,
        seed=seed,
        device=device,
        dtype=dtype,
        memory=parse_size(memory),
        verify=not no_verify,
    )
    request = StepRequest(
        model,
        optimizers=tuple(optimizer or ()),
        rates=parse_rates(lr or []),
        clip=clip,
        damping=damping,
        steps=steps,
        directions=directions,
        warmup=warmup,
        noise_batches=noise_batches,
        batch_size=batch_size,
        measure=measure,
    )
    check_outputs([OutputFile("--plot", plot)], read_for(model))
    if plot is not None:
        check_picture(plot)
    with SpectrumDisplay() as display:
        found = run_step(request, display)
    if found is None:
        error = HessentError("interrupted: nothing was written")
        error.exit_code = 130 if display.stop.by_user else 75
        raise error
    if found.data.synthetic:
        warn_of_synthetic_data()
    if plot is not None:
        from hessent.report.plots.step_plot import step_figure
        from hessent.report.step_order import sorted_rows

        order = sorted_rows(found.rows, sort)
        write_picture(plot, lambda look: step_figure(found, order, look))
        note(f"{plot}: written")
    emit(step_tables(found, sort), step_document(found, sort), chosen)
