"""Going on with smaller micro-batches where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch

from hessent.curvature.containers import num_samples, pairs, samples
from hessent.errors import ComputationError, memory_ran_out

Result = TypeVar("Result")


class ShrinkableBatches:
    """The same samples in micro-batches that can be made smaller: products change by rounding only.

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        A re-iterable.

    Attributes
    ----------
    limit : int or None
        Most samples of a micro-batch; None leaves them as they come.
    """

    def __init__(self, batches: Iterable[tuple[Any, Any]]) -> None:
        self._batches = batches
        self.limit: int | None = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets), cut to at most `limit` samples."""
        for inputs, targets in pairs(self._batches):
            count = num_samples(inputs)
            step = self.limit or count
            if count <= step:
                yield inputs, targets
                continue
            for start in range(0, count, step):
                yield samples(inputs, start, start + step), samples(targets, start, start + step)

    @property
    def largest(self) -> int:
        """Samples of the largest micro-batch, or a limit that it keeps to."""
        return self.limit or max((num_samples(inputs) for inputs, _ in self), default=1)

    def halve(self) -> int:
        """Halve the largest micro-batch and return its new size.

        Raises
        ------
        ComputationError
            If it holds one sample already.
        """
        largest = self.largest
        if largest <= 1:
            raise ComputationError(
                "memory ran out with a single sample at a time",
                expected="room for the gradient graph of one sample and its second backward pass",
                fix="a machine with more memory, --no-full, or --dtype float32",
            )
        self.limit = (largest + 1) // 2
        return self.limit


class HeldNotes:
    """Sentences that wait until somebody listens.

    Parameters
    ----------
    notes : iterable of str
        Those that wait already.
    """

    def __init__(self, notes: Iterable[str] = ()) -> None:
        self._waiting = list(notes)
        self._listener: Callable[[str], None] = self._waiting.append

    def tell(self, note: str) -> None:
        """Pass a sentence on, or keep it."""
        self._listener(note)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Pass on what has waited, and from now on everything."""
        self._listener = listener
        for note in self._waiting:
            listener(note)
        self._waiting.clear()


def retried(attempt: Callable[[], Result], make_room: Callable[[], Any]) -> Result:
    """Return what `attempt` returns; each time memory runs out, make room and try again.

    Parameters
    ----------
    attempt : callable
        The work, from its start.
    make_room : callable
        Frees something, or raises ComputationError where nothing is left to free.
    """
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not memory_ran_out(error):
                raise
        # Outside the handler: the traceback held the tensors that did not fit.
        make_room()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
