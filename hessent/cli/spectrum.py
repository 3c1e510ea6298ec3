"""`hessent spectrum`: the main job."""

from __future__ import annotations

from typing import Annotated

import typer

from hessent.cli import measure_options as given
from hessent.cli.options import Debug, Format, Json, OutputFormat, Quiet, choose_format, choose_selection


def command(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A file, an index or a folder.")],
    arch: given.Arch = None,
    arch_option: given.ArchOption = None,
    data: given.Data = None,
    loss: given.Loss = None,
    samples: given.Samples = None,
    curvature: given.Curvature = "hessian",
    fisher_samples: given.FisherSamples = None,
    kfac_approx: given.KfacApprox = None,
    precondition: given.Precondition = "none",
    normalization: given.Normalization = "trace",
    data_error: given.DataError = True,
    data_groups: given.DataGroups = 4,
    population: given.Population = None,
    batch_size: given.BatchSize = None,
    blocks: given.Blocks = None,
    no_full: given.NoFull = False,
    method: given.Method = "auto",
    rtol: given.Rtol = None,
    only: given.Only = None,
    probes: given.Probes = None,
    steps: given.Steps = None,
    max_matvecs: given.MaxMatvecs = None,
    split: given.Split = False,
    split_probes: given.SplitProbes = None,
    max_time: given.MaxTime = None,
    seed: given.Seed = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    memory: given.Memory = None,
    engine: given.Engine = None,
    no_verify: given.NoVerify = False,
    units: given.Units = None,
    out: given.Out = None,
    json_out: given.JsonOut = None,
    force: given.Force = False,
    dry_run: given.DryRun = False,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure the curvature spectrum of a checkpoint, block by block, into a file, and print its summary.

    Typed again, a finished measurement is only printed, and one that was stopped or killed goes on from where it
    was.  Typed in several terminals or jobs at once, it is shared among them.
    """
    from hessent.cli.measuring import print_preflight, run_and_print
    from hessent.cli.output_files import OutputFile, check_outputs, read_for
    from hessent.cli.parsing import parse_options, parse_seconds, parse_size
    from hessent.pipeline.accuracy import Accuracy
    from hessent.pipeline.parts import Part
    from hessent.pipeline.request import SpectrumRequest
    from hessent.pipeline.residual_split import DEFAULT_PROBES

    chosen = choose_format(output_format, as_json)
    selection = choose_selection(None, None, None, 1.0, every_measure=chosen is OutputFormat.CSV)
    request = SpectrumRequest(
        checkpoint=checkpoint,
        arch=arch,
        arch_options=parse_options(arch_option or []),
        data=data,
        loss=loss,
        blocks=tuple(blocks or ()),
        full=not no_full,
        accuracy=Accuracy(
            method=method,
            max_matvecs=max_matvecs,
            num_probes=probes,
            num_steps=steps,
            only=only,
            data_error=data_error,
            data_groups=data_groups,
            population=population,
        ),
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
        out=out,
        part=None if units is None else Part.parse(units),
        curvature=curvature,
        fisher_samples=fisher_samples,
        kfac_approx=kfac_approx,
        precondition=precondition,
        normalization=normalization,
        split_probes=DEFAULT_PROBES if split and split_probes is None else split_probes,
    )
    target = OutputFile("--out", str(request.output), is_spectrum=True, is_default=out is None)
    check_outputs([target, OutputFile("--json-out", json_out)], read_for(request))
    if dry_run:
        print_preflight(request, chosen)
    else:
        run_and_print(request, selection, chosen, force=force, json_out=json_out)
