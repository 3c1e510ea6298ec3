"""What a user asks of `hessent step`, checked at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hessent.errors import UsageError, below_least, suggest
from hessent.measures.skewed_mean import LEAST_DRAWS
from hessent.measures.step_analysis import OPTIMIZERS
from hessent.pipeline.request import SpectrumRequest

DEFAULT_DAMPING = 1e-3
DEFAULT_STEPS = 60
DEFAULT_DIRECTIONS = 10
DEFAULT_WARMUP = 16
DEFAULT_NOISE_BATCHES = 16
_LEAST_STEPS = 10
CLIPPED = ("normalized-ngd", "gradient-norm-ngd", "eigenbasis-ngd", "sophia")


@dataclass(frozen=True)
class StepRequest:
    """What is asked.

    Attributes
    ----------
    model : SpectrumRequest
        Checkpoint, architecture, data, loss, seed and device; its batch size is of no account.
    optimizers : tuple of str
        Those wanted, of `OPTIMIZERS`; empty for all.
    rates : mapping of str to float
        Step sizes by optimizer, as given.
    clip : float or None
        C of the clipped variants; None for the plain steps.
    damping : float
        δ relative to the largest abs(θ).
    steps : int
        Products of the Lanczos run from the gradient.
    directions : int
        Eigendirections shown, at most.
    warmup : int
        Mini-batches from which a state is rebuilt.
    noise_batches : int
        Mini-batches from which the noise is measured; 0 for none.
    batch_size : int or None
        Samples of a mini-batch; None for that of the training, else 64.
    measure : bool
        Whether the loss is evaluated at other step sizes too.
    """

    model: SpectrumRequest
    optimizers: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    clip: float | None = None
    damping: float = DEFAULT_DAMPING
    steps: int = DEFAULT_STEPS
    directions: int = DEFAULT_DIRECTIONS
    warmup: int = DEFAULT_WARMUP
    noise_batches: int = DEFAULT_NOISE_BATCHES
    batch_size: int | None = None
    measure: bool = False

    def __post_init__(self) -> None:
        """Check every value at once.

        Raises
        ------
        UsageError
            Listing all values that are out of range.
        """
        problems = below_least(
            (
                ("steps", self.steps, _LEAST_STEPS),
                ("directions", self.directions, 0),
                ("warmup", self.warmup, 1),
                ("batch-size", self.batch_size, 1),
            )
        )
        if self.noise_batches != 0 and self.noise_batches < LEAST_DRAWS:
            problems.append(f"--noise-batches {self.noise_batches}: must be at least {LEAST_DRAWS}, or 0 for none")
        if not (math.isfinite(self.damping) and self.damping > 0.0):
            problems.append(f"--damping {self.damping:g}: must be a number above 0")
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip > 0.0):
            problems.append(f"--clip {self.clip:g}: must be a number above 0")
        problems += self._problems_of_names()
        if problems:
            raise UsageError("some options are out of range", problems=problems)

    def _problems_of_names(self) -> list[str]:
        problems = [_unknown("--optimizer", name) for name in self.optimizers if name not in OPTIMIZERS]
        for name, rate in self.rates.items():
            if name not in OPTIMIZERS:
                problems.append(_unknown("--lr", name))
            elif name not in self.names:
                problems.append(f"--lr {name}: is not among the --optimizer that are asked for")
            elif not (math.isfinite(rate) and rate > 0.0):
                problems.append(f"--lr {name}={rate:g}: must be a number above 0")
        if self.clip is not None and not problems and not set(CLIPPED) & set(self.names):
            problems.append(f"--clip {self.clip:g}: is of {', '.join(CLIPPED)} alone")
        return problems

    @property
    def names(self) -> tuple[str, ...]:
        """The optimizers wanted, in the order of the unified view."""
        return tuple(name for name in OPTIMIZERS if not self.optimizers or name in self.optimizers)


def _unknown(option: str, name: str) -> str:
    hint = suggest(name, OPTIMIZERS)
    return f"{option} {name}: there is no such optimizer, {hint or 'but ' + ', '.join(OPTIMIZERS)}"
