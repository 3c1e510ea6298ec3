"""From names to things: data opened, the network built to fit it, the loss chosen, and one trial before the start.

Options of the architecture come from three voices, the first of which wins: the user, the architecture's name
(resnet18 fixes its depths), the data (channels, classes, a stem or patch that suits the image size).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hessent.arch.architecture import BuiltModel
from hessent.arch.registry import architectures, build, data_options, data_problem
from hessent.arch.settings import show
from hessent.curvature.losses.loss import Loss
from hessent.curvature.losses.registry import resolve_loss
from hessent.data.dataset import Dataset
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.data.subset import Subset
from hessent.errors import ArchitectureError, DataError, UsageError, memory_ran_out
from hessent.training.evaluation import place
from hessent.training.plan import DTYPES, TrainingRequest

_TRIAL_SAMPLES = 2  # the fewest that a batch norm over 1x1 maps can be trained on


@dataclass(frozen=True)
class Preparation:
    """All that a run needs but its numbers.

    Attributes
    ----------
    built : BuiltModel
        Its network is on the device, in the run's dtype.
    train, test : Dataset
        `train` holds the samples that are used; `test` is None where the data has no such split.
    loss : Loss
    chosen : mapping of str to str
        Options of the architecture that the data decided, as they would be typed.
    """

    built: BuiltModel
    train: Dataset
    test: Dataset | None
    loss: Loss
    chosen: Mapping[str, str]


def prepare(request: TrainingRequest) -> Preparation:
    """Open the data, build the network from the request's seed, and resolve the loss.

    Raises
    ------
    UsageError
        If the dtype or the loss is unknown, or there are fewer samples than were asked for.
    DataError
        If the data cannot be read, or has no samples to train on.
    ArchitectureError
        If the architecture is unknown, an option is wrong, or the network cannot take the data.
    """
    if request.dtype not in DTYPES:
        raise UsageError(f"no dtype '{request.dtype}'", where="--dtype", expected=" or ".join(DTYPES))
    train = open_dataset(request.data, split="train")
    if train.split == "test":
        raise DataError("this is the test split", where=request.data, fix="name the data without split=test")
    test = open_dataset(request.data, split="test") if "test" in train.splits else None
    if request.samples is not None:
        train = _chosen(train, request.samples)
    # The start values are those of torch.manual_seed(seed): on the CPU and in float32, whatever the run's device.
    torch.manual_seed(request.seed)
    built, chosen = _build(request, train)
    built.model.to(request.device, DTYPES[request.dtype])
    loss = resolve_loss(request.loss or built.default_loss)
    return Preparation(built, train, test, loss, chosen)


def _chosen(train: Dataset, samples: int) -> Dataset:
    """Return the samples that an analysis takes by default of so many, so that both are of one loss."""
    if not 1 <= samples <= len(train):
        raise UsageError(
            f"--samples is {samples}, the data has {len(train)} training samples",
            expected=f"1 to {len(train)}, or not given for all of them",
        )
    return Subset(train, BatchStream(train, samples=samples, batch_size=1).indices)


def _build(request: TrainingRequest, train: Dataset) -> tuple[BuiltModel, dict[str, str]]:
    """Build the network with options that suit the data, and return which of them the data decided."""
    spec = train.spec
    fitting = data_options(request.arch, input_shape=spec.input_shape, num_classes=spec.num_classes)
    fixed = next((entry.fixed for entry in architectures() if entry.name == request.arch), {})
    suited = {key: value for key, value in fitting.items() if key not in request.arch_options and key not in fixed}
    built = build(request.arch, options={**suited, **request.arch_options}, where=f"--arch {request.arch}")
    problem = data_problem(built, input_shape=spec.input_shape, num_classes=spec.num_classes)
    if problem is not None:
        raise ArchitectureError(
            problem,
            where=f"--arch {request.arch} with --data {request.data}",
            fix="another --arch, or --arch-option (see: hessent archs)",
        )
    return built, {key: show(value) for key, value in suited.items()}


def require_trainable(preparation: Preparation, request: TrainingRequest, batch_size: int) -> None:
    """Send a sample or two through a copy of the network in training mode, so that a misfit shows before the start.

    Raises
    ------
    ArchitectureError
        If the network cannot take the data, or not in batches of this size.
    DataError
        If the targets do not fit the outputs.
    """
    model = copy.deepcopy(preparation.built.model).train()
    batch = preparation.train.fetch(torch.arange(min(batch_size, _TRIAL_SAMPLES)))
    inputs, targets = place(batch, request.device, DTYPES[request.dtype])
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if memory_ran_out(error):
            raise
        raise ArchitectureError(
            f"the network cannot be trained on inputs of shape {tuple(inputs.shape)}: {error}",
            where=f"--arch {request.arch} with --data {request.data}",
            fix="a larger --batch-size" if batch_size < _TRIAL_SAMPLES else "another --arch, or --arch-option",
        ) from error
    preparation.loss.check(outputs, targets, request.data)
