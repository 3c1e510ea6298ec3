"""`hessent train`: small training runs that save checkpoints to measure."""

from __future__ import annotations

from hessent.cli import train_options as given
from hessent.cli.console import note
from hessent.cli.options import Debug, Format, Json, Quiet, choose_format


def command(
    arch: given.Arch,
    data: given.Data,
    optimizer: given.OptimizerName,
    out: given.Out,
    arch_option: given.ArchOption = None,
    samples: given.Samples = None,
    loss: given.LossName = None,
    label_smoothing: given.LabelSmoothing = None,
    lr: given.LearningRate = None,
    momentum: given.Momentum = None,
    weight_decay: given.WeightDecay = None,
    betas: given.Betas = None,
    epsilon: given.Epsilon = None,
    tanh_scale: given.TanhScale = None,
    levels: given.Levels = None,
    batch_size: given.BatchSize = "64",
    epochs: given.Epochs = None,
    steps: given.Steps = None,
    schedule: given.Schedule = "cosine",
    warmup_steps: given.WarmupSteps = 0,
    checkpoints: given.Checkpoints = "0,1,25,50,75,100",
    spectrum_samples: given.SpectrumSamples = None,
    seed: given.Seed = 0,
    force: given.Force = False,
    device: given.Device = "auto",
    dtype: given.Dtype = "float32",
    threads: given.Threads = None,
    output_format: Format = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network and save checkpoints at shares of the run, each with its losses and accuracies.

    Typed again, an interrupted run goes on from its last checkpoint; a finished one is only printed.
    """
    from hessent.cli.output import emit
    from hessent.cli.parsing import parse_options
    from hessent.cli.train_progress import TrainingDisplay
    from hessent.optimizers.tanh_scales import parse_scales
    from hessent.pipeline.resources import choose_device
    from hessent.training.plan import TrainingRequest, resolve_loss_name
    from hessent.training.result import training_document, training_table
    from hessent.training.trainer import train

    chosen = choose_format(output_format, as_json)
    request = TrainingRequest(
        arch=arch,
        data=data,
        out=out,
        optimizer=optimizer,
        arch_options=parse_options(arch_option or []),
        optimizer_settings={
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "betas": given.parse_betas(betas),
            "epsilon": epsilon,
            "tanh_scale": None if tanh_scale is None else parse_scales(tanh_scale),
            "levels": levels,
        },
        batch_size=given.parse_batch_size(batch_size),
        epochs=epochs,
        steps=steps,
        schedule=schedule,
        warmup_steps=warmup_steps,
        loss=resolve_loss_name(loss, label_smoothing),
        seed=seed,
        device=choose_device(device),
        dtype=dtype,
        samples=samples,
        percents=given.parse_percents(checkpoints),
        spectrum_samples=spectrum_samples,
        threads=threads,
        force=force,
    )
    with TrainingDisplay(out) as display:
        result = train(request, display)
    if result.resumed_from == result.total_steps:
        note(f"{out}: complete already, nothing was computed (--force trains again)")
    emit([training_table(result)], training_document(result), chosen)
