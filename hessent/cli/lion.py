"""`hessent lion`: sign or tanh."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli import lion_options as lion
from hessent.cli import measure_options as given
from hessent.cli.options import Debug, Format, Json, Quiet, choose_format


def command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, an index or a folder.")],
    arch: given.Arch = None,
    arch_option: given.ArchOption = None,
    data: given.Data = None,
    loss: given.Loss = None,
    samples: lion.Samples = None,
    batches: lion.NumBatches = 128,
    batch_size: lion.BatchSize = None,
    beta1: lion.Beta1 = None,
    momentum: lion.Momentum = "auto",
    seed: given.Seed = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    memory: given.Memory = None,
    sort: lion.Sort = "differs",
    out: lion.Scales = None,
    plot: lion.Plot = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask of each tensor whether Lion should take the sign of its update, or tanh, and with which scale.

    Signal and noise of the update over mini-batches, how often its sign is wrong, how much of the direction the
    sign keeps, and where sign and tanh differ.
    """
    from hessent.cli.console import note, warn_of_synthetic_data
    from hessent.cli.lion_progress import LionDisplay
    from hessent.cli.output import emit
    from hessent.cli.output_files import OutputFile, check_outputs, read_for
    from hessent.cli.parsing import parse_options, parse_size
    from hessent.errors import ComputationError
    from hessent.optimizers.tanh_scales import scales_text
    from hessent.pipeline.lion_run import LionRequest, run_lion
    from hessent.pipeline.request import SpectrumRequest
    from hessent.report.analysis_picture import check_picture, write_picture
    from hessent.report.lion_table import check_sort, lion_document, lion_table, scales_told
    from hessent.storage.whole_file import write_whole

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
    )
    request = LionRequest(model, batches, batch_size, beta1, momentum)
    check_outputs([OutputFile("--out", out), OutputFile("--plot", plot)], read_for(model))
    if plot is not None:
        check_picture(plot)
    with LionDisplay() as display:
        found = run_lion(request, display.noted, display.advanced)
    if found.data.synthetic:
        warn_of_synthetic_data()
    scales = found.scales()
    if out is not None and scales:
        write_whole(out, scales_text(scales, scales_told(found)).encode())
        note(f"{out}: written")
    if plot is not None:
        from hessent.report.lion_table import sorted_tensors
        from hessent.report.plots.lion_plot import lion_figure

        order = sorted_tensors(found.tensors, sort)
        write_picture(plot, lambda look: lion_figure(found, order, look))
        note(f"{plot}: written")
    emit([lion_table(found, sort)], lion_document(found, sort), chosen)
    if out is not None and not scales:
        raise ComputationError(
            "not written: no tensor has a scale of tanh",
            where=f"--out {out}",
            fix="more or smaller mini-batches (--batches, --batch-size); the table says what each tensor lacks",
        )
