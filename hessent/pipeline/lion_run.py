"""`hessent lion` as one call: the updates of many mini-batches at a checkpoint's weights, and their signal.

Mini-batches are drawn one by one, each a random subset of the samples, as a training draws the first of a pass:
given the samples they are independent, so that averages over pairs of them are without bias.  Of fewer samples than
the data has, noise and signal are made those of mini-batches of all (`hessent.measures.finite_draw`).  The model is
evaluated in eval mode, as everywhere in hessent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from hessent.checkpoint.adam_files import NoStateError, read_states
from hessent.checkpoint.listing import printable
from hessent.curvature.problem import Problem
from hessent.errors import CheckpointError, UsageError
from hessent.measures.finite_draw import finite_draw
from hessent.measures.lion_analysis import WHOLE, LionAnalysis
from hessent.measures.update_signal import update_signal
from hessent.measures.update_sums import UpdateSums, joined
from hessent.optimizers.lion_memory import memory_of
from hessent.optimizers.update_moments import TensorMoments, group_sizes
from hessent.pipeline.gradient_rounding import gradient_rounding
from hessent.pipeline.mini_batches import (
    DEFAULT_BATCH_SIZE,
    drawn_samples,
    gradient_of,
    mean_gradient,
    mini_batch_size,
)
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.request import SpectrumRequest, first_known

MOST_SAMPLES = 16_384  # without --samples
LEAST_BATCHES = 16
DEFAULT_BATCHES = 128
MOMENTA = ("auto", "state", "gradient", "zero")
_OTHER_MEMORY = "--momentum gradient or zero"
_LIONS = ("lion", "lion-tanh")
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class LionRequest:
    """What is asked.

    Attributes
    ----------
    model : SpectrumRequest
        Checkpoint, architecture, data, loss, seed and device; its batch size is of no account.
    batches : int
        Mini-batches.
    batch_size : int or None
        Samples of each; None for that of the training, else 64.
    beta1 : float or None
        None for that of the training with Lion, else 0.9.
    momentum : str
        One of `MOMENTA`.
    """

    model: SpectrumRequest
    batches: int = DEFAULT_BATCHES
    batch_size: int | None = None
    beta1: float | None = None
    momentum: str = "auto"

    def __post_init__(self) -> None:
        """Check every value at once.

        Raises
        ------
        UsageError
            Listing all values that are out of range.
        """
        problems = []
        if self.batches < LEAST_BATCHES:
            problems.append(f"--batches {self.batches}: must be at least {LEAST_BATCHES}, for intervals")
        if self.batch_size is not None and self.batch_size < 1:
            problems.append(f"--batch-size {self.batch_size}: must be at least 1")
        if self.beta1 is not None and not 0 <= self.beta1 < 1:
            problems.append(f"--beta1 {self.beta1:g}: must be at least 0 and below 1")
        if self.momentum not in MOMENTA:
            problems.append(f"--momentum {self.momentum}: must be one of {', '.join(MOMENTA)}")
        if problems:
            raise UsageError("some options are out of range", problems=problems)


def run_lion(request: LionRequest, noted: Callable[[str], None], advanced: Advance) -> LionAnalysis:
    """Measure the updates of a checkpoint.

    Parameters
    ----------
    request : LionRequest
        What is asked.
    noted : callable
        Takes sentences about what was assumed.
    advanced : callable
        Takes the mini-batches done, and their number.

    Raises
    ------
    InputError
        If checkpoint, data and options do not fit together.
    NonFiniteError
        If a gradient is not finite.
    """
    # Metadata name few samples for a spectrum; these many cost nothing here, for each mini-batch draws its own.
    model = replace(request.model, samples=first_known(request.model.samples, MOST_SAMPLES), batch_size=None)
    prepared = prepare(model)
    for note in prepared.notes:
        noted(note)
    problem, trained = prepared.problem, prepared.checkpoint.optimizer
    size = _noisy_size(request, prepared)
    beta1 = _beta1(request, trained)
    memory, source, told = _memory(request.momentum, prepared)
    draws = drawn_samples(prepared.stream, request.batches, size, prepared.seed)
    moments = _empty(request, prepared, 1 - beta1, size)
    for number, drawn in enumerate(draws):
        for name, gradient in gradient_of(problem, prepared.stream, drawn).items():
            held = memory.get(name)
            update = (1 - beta1) * gradient
            moments[name].add(update if held is None else update + beta1 * held)
        advanced(number + 1, request.batches)
    of_mean = beta1 if source == "gradient" else 0.0
    draw = finite_draw(size, prepared.stream.num_samples, prepared.stream.available, beta1_of_mean=of_mean)
    sums = [one.sums() for one in moments.values()]
    whole = joined(WHOLE, sums)
    return LionAnalysis(
        checkpoint=prepared.checkpoint,
        data=prepared.data,
        loss=problem.loss.name,
        seed=prepared.seed,
        beta1=beta1,
        momentum=source,
        momentum_told=told,
        batches=request.batches,
        batch_size=size,
        draw=draw,
        whole=update_signal(whole, draw),
        tensors=tuple(update_signal(one, draw) for one in sums),
        sums={WHOLE: whole, **_by_name(sums)},
    )


def _noisy_size(request: LionRequest, prepared: Prepared) -> int:
    """Return the samples of a mini-batch, fewer than there are: all of them are the same mini-batch each time."""
    stream = prepared.stream
    size = mini_batch_size(request.batch_size, prepared.checkpoint.optimizer, stream)
    if size < stream.num_samples:
        return size
    all_of_them = "the one sample" if size == 1 else f"all {size:,} samples"
    fixes = [f"--batch-size {min(DEFAULT_BATCH_SIZE, size // 2)}"] if size > 1 else []
    if stream.num_samples < stream.available:
        fixes.append(f"--samples {stream.available}, of which mini-batches are drawn")
    raise UsageError(
        f"a mini-batch of {size:,} is {all_of_them}: from one to the next there is no noise, so there is no scale",
        where="--batch-size" if request.batch_size is not None else prepared.checkpoint.path,
        expected="fewer samples in a mini-batch than there are",
        fix=", or ".join(fixes) or "data with more than one sample",
    )


def _empty(request: LionRequest, prepared: Prepared, share: float, size: int) -> dict[str, TensorMoments]:
    """Return what takes the updates in, with the rounding of the share that the gradient has in them."""
    problem, stream = prepared.problem, prepared.stream
    first = next(drawn_samples(stream, 1, size, prepared.seed))
    rounding = gradient_rounding(problem, stream, first)
    groups = group_sizes(request.batches)
    return {
        name: TensorMoments(name, value.numel(), groups, problem.device, rounding=share**2 * rounding[name])
        for name, value in problem.parameters.items()
    }


def _by_name(sums: list[UpdateSums]) -> dict[str, UpdateSums]:
    return {one.name: one for one in sums}


def _beta1(request: LionRequest, trained: Any) -> float:
    betas = trained.get("betas") if trained.get("name") in _LIONS else None
    first = betas[0] if isinstance(betas, list) and betas else None
    told = first if isinstance(first, int | float) and 0 <= first < 1 else 0.9
    return float(first_known(request.beta1, told))


def _memory(asked: str, prepared: Prepared) -> tuple[dict[str, Tensor], str, str]:
    """Return m by parameter, where it is from, and a sentence about it."""
    checkpoint, step = prepared.weights.checkpoint, prepared.checkpoint.step
    if asked in ("auto", "state"):
        try:
            path, states = read_states(checkpoint, prepared.weights.built.model, prepared.weights.sources)
        except NoStateError as error:
            if asked == "state":
                error.fix = f"{_OTHER_MEMORY}, or a checkpoint with its optimizer's state"
                raise
        except CheckpointError as error:
            error.fix = f"{_OTHER_MEMORY}, or the state that was saved with this checkpoint"
            raise
        else:
            memory, kind = memory_of(states)
            if memory:
                named = prepared.checkpoint.optimizer.get("name", "an optimizer")
                told = f"m = {kind} of {printable(str(named))} in {printable(path)}"
                if kind == "momentum_buffer":
                    told += " × (1 − momentum)"
                return _fitted(memory, prepared.problem, path), "state", told
            if asked == "state":
                raise CheckpointError(
                    "the optimizer's state holds no average of gradients", where=path, fix=_OTHER_MEMORY
                )
    if asked == "zero" or (asked == "auto" and step == 0):
        return {}, "zero", "m = 0, as before the first step"
    told = "m = the mean gradient over the samples"
    why = "" if asked == "gradient" else ": there is no optimizer's state with the checkpoint"
    return mean_gradient(prepared.problem), "gradient", told + why


def _fitted(memory: dict[str, Tensor], problem: Problem, path: str) -> dict[str, Tensor]:
    shapes = {name: tuple(value.shape) for name, value in problem.parameters.items()}
    wrong = [
        f"{printable(name)} is {tuple(value.shape)}, the parameter is {shapes[name]}"
        for name, value in memory.items()
        if name in shapes and tuple(value.shape) != shapes[name]
    ]
    wrong += [f"{printable(name)} is not finite" for name, value in memory.items() if not value.isfinite().all()]
    if wrong:
        raise CheckpointError("the optimizer's state does not fit", where=path, problems=wrong[:8])
    return {name: value.to(problem.device) for name, value in memory.items() if name in shapes}
