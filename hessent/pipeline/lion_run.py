"""`hessent lion` as one call: the updates of many mini-batches at a checkpoint's weights, and their signal.

Mini-batches are drawn one by one, each a random subset of the samples: given the samples they are independent, so
that averages over pairs of them are without bias.  The model is evaluated in eval mode, as everywhere in hessent.
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
from hessent.measures.lion_analysis import WHOLE, LionAnalysis
from hessent.measures.update_signal import update_signal
from hessent.measures.update_sums import UpdateSums, joined
from hessent.optimizers.lion_memory import memory_of
from hessent.optimizers.update_moments import TensorMoments, group_sizes
from hessent.pipeline.mini_batches import drawn_samples, gradient_of, mean_gradient, mini_batch_size
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.request import SpectrumRequest, first_known

MOST_SAMPLES = 16_384  # without --samples
LEAST_BATCHES = 16
DEFAULT_BATCHES = 128
MOMENTA = ("auto", "state", "gradient", "zero")
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
    size = mini_batch_size(request.batch_size, trained, prepared.stream)
    beta1 = _beta1(request, trained)
    memory, source, told = _memory(request.momentum, prepared)
    moments = {
        name: TensorMoments(name, value.numel(), group_sizes(request.batches), problem.device)
        for name, value in problem.parameters.items()
    }
    for number, drawn in enumerate(drawn_samples(prepared.stream, request.batches, size, prepared.seed)):
        for name, gradient in gradient_of(problem, prepared.stream, drawn).items():
            held = memory.get(name)
            update = (1 - beta1) * gradient
            moments[name].add(update if held is None else update + beta1 * held)
        advanced(number + 1, request.batches)
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
        whole=update_signal(whole),
        tensors=tuple(update_signal(one) for one in sums),
        sums={WHOLE: whole, **_by_name(sums)},
    )


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
        except NoStateError:
            if asked == "state":
                raise
        except CheckpointError as error:
            error.fix = "--momentum gradient or zero, or the state that was saved with this checkpoint"
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
                raise CheckpointError("the optimizer's state holds no average of gradients", where=path)
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
