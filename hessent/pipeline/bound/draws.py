"""Weights drawn from the posterior of a bound: by the formed Hessian where it is small, else by Lanczos."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hessent.eigensolver.inverse_square_root import FormedRoot, PosteriorDraws
from hessent.errors import UsageError
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer

EXACT_UP_TO = 2048  # parameters, up to which the Hessian is formed
DRAW_ERROR = 0.01  # relative, at which no further step is taken
_PILOT_STEPS, _LEAST_STEPS, _MOST_STEPS = 20, 10, 40
_FORMED_AT_ONCE = 16  # draws
_SEED_OF_DRAWS = 0x9AC  # so that they are not the probes of the spectrum


class StoppedError(Exception):
    """The observer asked for the end."""


class PosteriorSampler:
    """Draws of θ' − θ, with θ' from N(θ, (N·H⁺ + I/s²)^-1).

    Parameters
    ----------
    measurement : Measurement
        Whose engine multiplies.
    items : int
        N.
    seed : int
        Of the draws.
    memory : int
        Bytes for vectors.
    observer : Observer
        Told of progress; may stop the work, which raises StoppedError.

    Attributes
    ----------
    steps : int
        Lanczos steps taken for a draw; 0 where the matrix is formed.
    error : float
        Largest relative error told of a draw; 0 where the matrix is formed.
    """

    def __init__(self, measurement: Measurement, items: int, *, seed: int, memory: int, observer: Observer) -> None:
        self._operator = measurement.engine.operator(measurement.whole)
        self._items, self._memory, self._observer = items, memory, observer
        self._generator = torch.Generator().manual_seed((seed + _SEED_OF_DRAWS) % 2**63)
        self._formed = FormedRoot(self._operator, items) if self._operator.size <= EXACT_UP_TO else None
        self.steps, self.error = 0, 0.0

    def pilot(self) -> Callable[[float], Tensor]:
        """Return one draw (n,) as a function of s²: close enough to choose by, not to be counted."""
        starts = self._starts(1)
        formed = self._formed
        if formed is not None:
            return lambda s2: formed.draws(starts, s2)[:, 0]
        self._observer.started("choice of the prior's variance", _PILOT_STEPS)
        lanczos = PosteriorDraws(self._operator, starts, self._items)
        for _ in range(_PILOT_STEPS):
            self._step(lanczos, 1)
        return lambda s2: lanczos.draws(s2)[:, 0]

    def draws(self, s2: float, count: int) -> Iterator[Tensor]:
        """Yield draws (n,), float64.

        Raises
        ------
        StoppedError
            If the observer asked for the end.
        UsageError
            If memory does not take the vectors of one draw.
        """
        self._observer.started("draws from the posterior", 0 if self._formed else count * _MOST_STEPS)
        for together in self._groups(count):
            starts = self._starts(together)
            for column in (self._by_lanczos(starts, s2) if self._formed is None else self._by_root(starts, s2)).T:
                if self._observer.should_stop():
                    raise StoppedError
                yield column

    def _by_root(self, starts: Tensor, s2: float) -> Tensor:
        assert self._formed is not None
        return self._formed.draws(starts, s2)

    def _by_lanczos(self, starts: Tensor, s2: float) -> Tensor:
        lanczos = PosteriorDraws(self._operator, starts, self._items)
        while not _is_exact_enough(lanczos, s2):
            self._step(lanczos, starts.shape[1])
        self.steps, self.error = max(self.steps, lanczos.num_steps), max(self.error, lanczos.error(s2))
        return lanczos.draws(s2)

    def _step(self, lanczos: PosteriorDraws, count: int) -> None:
        if self._observer.should_stop():
            raise StoppedError
        lanczos.step()
        self._observer.advanced(self._operator.name, count)

    def _starts(self, count: int) -> Tensor:
        return torch.randn(self._operator.size, count, generator=self._generator, dtype=torch.float64)

    def _groups(self, count: int) -> Iterator[int]:
        """How many draws are made at a time: as many as the memory for vectors takes."""
        if self._formed is not None:
            most = _FORMED_AT_ONCE
        else:
            each = 8 * self._operator.size * (_MOST_STEPS + 3)
            most = self._memory // each
            if most < 1:
                raise UsageError(
                    f"the vectors of a draw take {each / 2**20:,.0f} MiB",
                    where="--memory",
                    expected=f"at most {self._memory / 2**20:,.0f} MiB, the part of it that is for vectors",
                    fix="a larger --memory",
                )
        for first in range(0, count, most):
            yield min(most, count - first)


def _is_exact_enough(lanczos: PosteriorDraws, s2: float) -> bool:
    steps = lanczos.num_steps
    if lanczos.closed or steps >= _MOST_STEPS:
        return True
    return steps >= _LEAST_STEPS and steps % 5 == 0 and lanczos.error(s2) <= DRAW_ERROR
