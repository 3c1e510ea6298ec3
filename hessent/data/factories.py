"""`package.module:factory` and `path/to/file.py:factory`: samples from a function of the user's.

The factory is called with the parameters after the `?` (whole numbers and decimals as numbers, the rest as text),
and with `split="train"` or `"test"` if it takes a parameter of that name.  It returns one of

- a pair of tensors or arrays (x, y), understood as in `array_pair.py`;
- a list or tuple of samples (x, y);
- a map-style `torch.utils.data.Dataset` of samples (x, y);
- a `hessent.data.dataset.Dataset`.

Sample i must be the same whenever it is asked for; where it is not, that is noticed (`sequence.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.data.array_pair import dataset_of_arrays
from hessent.data.dataset import Dataset
from hessent.data.parameters import read_query
from hessent.data.sequence import SampleSequence
from hessent.data.user_code import load_attribute
from hessent.errors import DataError, memory_ran_out, suggest


def open_factory(reference: str, query: str, *, name: str, split: str) -> Dataset:
    """Call a factory and return its samples.

    Parameters
    ----------
    reference : str
        ``package.module:factory`` or ``path/to/file.py:factory``.
    query : str
        What stands after the ``?``.
    name : str
        The whole name as typed.
    split : str
        The split wanted.

    Returns
    -------
    Dataset
        Of whatever the factory returned.

    Raises
    ------
    DataError
        If it cannot be imported or called, has no such split, or returns something else.
    """
    factory = load_attribute(reference, where=name)
    arguments = _arguments(query, name)
    takes_split = _check_signature(factory, arguments, name)
    fixed = arguments.pop("split", None)
    split = split if fixed is None else str(fixed)
    splits = (split,) if fixed is not None else ("train", "test") if takes_split else ("train",)
    if split not in splits:
        raise DataError(f"the factory has no split '{split}'", where=name, fix="give it a parameter `split`")
    if takes_split:
        arguments["split"] = split
    try:
        made = factory(**arguments)
    except DataError:
        raise
    except Exception as failure:
        if memory_ran_out(failure):
            raise
        raise DataError(f"the factory failed: {type(failure).__name__}: {failure}", where=name) from failure
    return dataset_of(made, name=name, split=split, splits=splits)


def dataset_of(made: Any, *, name: str, split: str = "train", splits: tuple[str, ...] = ("train",)) -> Dataset:
    """Return the dataset that a Python object stands for.

    Parameters
    ----------
    made : object
        See the top of this file.
    name, split, splits : str, str, tuple of str
        See `Dataset`.

    Returns
    -------
    Dataset
        In memory for pairs, lists and `TensorDataset`s; read sample by sample otherwise.

    Raises
    ------
    DataError
        If it is none of the forms, empty, or its samples do not fit together.
    """
    if isinstance(made, Dataset):
        return made
    if isinstance(made, torch.utils.data.TensorDataset) and len(made.tensors) == 2:
        made = made.tensors
    if isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(a, Tensor | np.ndarray) for a in made):
        return dataset_of_arrays(made[0], made[1], name=name, split=split, splits=splits)
    if not hasattr(made, "__getitem__") or not hasattr(made, "__len__") or isinstance(made, str | bytes | Mapping):
        hint = (
            "return its .dataset" if isinstance(made, torch.utils.data.DataLoader) else "return (x, y) as tensors"
        )
        raise DataError(
            f"the factory returned a {type(made).__name__}",
            where=name,
            expected="a pair of tensors, a list of (x, y), or a torch Dataset with a length",
            fix=hint,
        )
    if len(made) == 0:
        raise DataError("there is not a single sample", where=name)
    samples = SampleSequence(made, name=name, split=split, splits=splits)
    if isinstance(made, tuple | list):  # already in memory: stacked once, and its classes counted
        inputs, targets = samples.fetch(torch.arange(len(samples)))
        return dataset_of_arrays(inputs, targets, name=name, split=split, splits=splits)
    return samples


def _arguments(query: str, name: str) -> dict[str, Any]:
    raw, problems = read_query(query)
    if problems:
        raise DataError("the parameters are wrong", where=name, problems=problems, expected="?key=value&key=value")
    return {key: _number_or_text(text) for key, text in raw.items()}


def _number_or_text(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _check_signature(factory: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> bool:
    """Refuse parameters that the factory does not take; return whether it takes `split`."""
    if not callable(factory):
        raise DataError(f"it is a {type(factory).__name__}", where=name, expected="a function that returns samples")
    try:
        taken = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some built-in callables have no signature
        return False
    kinds = inspect.Parameter
    by_name = [key for key, p in taken.items() if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in taken.values())
    problems = []
    for key in arguments:
        if key not in by_name and not takes_any:
            near = suggest(key, by_name)
            problems.append(f"the factory takes no '{key}'" + (f"; {near}" if near else ""))
    for key, p in taken.items():
        if key in by_name and p.default is p.empty and key not in arguments and key != "split":
            problems.append(f"the factory needs '{key}'")
    if problems:
        raise DataError("the parameters do not fit the factory", where=name, problems=problems)
    return "split" in by_name
