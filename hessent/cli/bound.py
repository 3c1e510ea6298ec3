"""`hessent bound`: a PAC-Bayes bound from the spectrum."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli import bound_options as bound
from hessent.cli import measure_options as given
from hessent.cli.options import Debug, Format, Json, Quiet, choose_format


def command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, an index or a folder.")],
    delta: bound.Delta = 0.05,
    draws: bound.Draws = None,
    spectrum: bound.SpectrumFile = None,
    arch: given.Arch = None,
    arch_option: given.ArchOption = None,
    data: given.Data = None,
    loss: given.Loss = None,
    samples: given.Samples = None,
    batch_size: given.BatchSize = None,
    method: given.Method = "auto",
    rtol: given.Rtol = None,
    max_matvecs: given.MaxMatvecs = None,
    max_time: given.MaxTime = None,
    seed: given.Seed = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    memory: given.Memory = None,
    engine: given.Engine = None,
    no_verify: given.NoVerify = False,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bound the test error of the classifier that draws its weights around a checkpoint (PAC-Bayes).

    The KL comes from the spectrum of the whole Hessian; the measured test error stands beside the bound.  For large
    nets the bound is mostly vacuous, and the table says so.
    """
    from hessent.cli.console import warn_of_synthetic_data
    from hessent.cli.output import emit
    from hessent.cli.parsing import parse_options, parse_seconds, parse_size
    from hessent.cli.progress import SpectrumDisplay
    from hessent.errors import HessentError
    from hessent.pipeline.accuracy import Accuracy
    from hessent.pipeline.bound.run import run_bound
    from hessent.pipeline.request import SpectrumRequest
    from hessent.report.bound_table import bound_document, bound_table

    chosen = choose_format(output_format, as_json)
    request = SpectrumRequest(
        checkpoint=checkpoint,
        arch=arch,
        arch_options=parse_options(arch_option or []),
        data=data,
        loss=loss,
        accuracy=Accuracy(method=method, max_matvecs=max_matvecs),
        rtol=rtol,
        max_time=parse_seconds(max_time),
        samples=samples,
        batch_size=batch_size,
        seed=seed,
        device=device,
        dtype=dtype,
        engine=engine,
        memory=parse_size(memory),
        verify=not no_verify,
    )
    with SpectrumDisplay() as display:
        found = run_bound(request, display, delta=delta, draws=draws, spectrum=spectrum)
    if found is None:
        error = HessentError("stopped: nothing was written", fix="hessent spectrum first; its work is kept")
        error.exit_code = 130 if display.stop.by_user else 75
        raise error
    if found.synthetic:
        warn_of_synthetic_data()
    emit([bound_table(found)], bound_document(found), chosen)
