"""Micro-batches in whatever container a model takes them: a tensor, or dicts, lists and tuples of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor

from hessent.errors import DataError


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to every tensor in it; anything else is passed through."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def samples(value: Any, start: int, stop: int) -> Any:
    """Return the samples `start` … `stop` - 1 of a container of tensors (B, …)."""
    return map_tensors(value, lambda tensor: tensor[start:stop] if tensor.ndim > 0 else tensor)


def num_samples(value: Any) -> int:
    """Return B of the first tensor (B, …) found; 1 where there is none."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim > 0 else 1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((num_samples(item) for item in items), 1)


def pairs(batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield every micro-batch as (inputs, targets).

    Raises
    ------
    DataError
        If one is no pair; two keys of a dict would be taken for one.
    """
    for index, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(f"micro-batch {index} is a {type(batch).__name__}", expected="a pair (inputs, targets)")
        yield batch[0], batch[1]


def shapes(value: Any) -> list[list[int]]:
    """Return the shapes of all tensors of a container, in order."""
    found: list[list[int]] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(list(tensor.shape))
        return tensor

    map_tensors(value, note)
    return found


class HalvedBatches:
    """The same samples, each micro-batch cut in two (unevenly, so that no part repeats a size).

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        A re-iterable.
    """

    def __init__(self, batches: Iterable[tuple[Any, Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield (inputs, targets) parts in the order of the samples."""
        for inputs, targets in pairs(self._batches):
            count = num_samples(inputs)
            cut = count // 2 + (1 if count > 2 and count % 2 == 0 else 0)
            for start, stop in ((0, cut), (cut, count)):
                if stop > start:
                    yield samples(inputs, start, stop), samples(targets, start, stop)
