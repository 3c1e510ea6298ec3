"""`hf:DIR`: a folder written by `datasets.Dataset.save_to_disk` (extra package `hessent[hf]`).

Nothing is downloaded and no loading script is run.  Two columns are used, named by the parameters x and y; numbers
and lists of numbers become arrays as in `array_pair.py`, images become uint8 pixels of one size.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hessent.data.array_pair import dataset_of_arrays
from hessent.data.dataset import Dataset
from hessent.data.image_decoding import EIGHT_BIT_MODES
from hessent.data.request import DataRequest
from hessent.errors import DataError, suggest


def open_huggingface(request: DataRequest) -> Dataset:
    """Return two columns of a saved dataset, in memory.

    Raises
    ------
    DataError
        If the package or the folder is missing, or a split or column is not there.
    """
    if not os.path.isdir(request.path):
        raise DataError(f"'{request.path}' is no folder", where=request.name, expected="a folder of save_to_disk")
    try:
        import datasets
    except ImportError as failure:
        raise DataError(
            "reading it needs the package datasets", where=request.name, fix="pip install 'hessent[hf]'"
        ) from failure
    try:
        loaded = datasets.load_from_disk(request.path)
    except Exception as failure:
        raise DataError(
            f"datasets cannot read it: {failure}", where=request.name, expected="a folder of save_to_disk"
        ) from failure
    table, splits = _choose_split(loaded, request)
    columns = [request.parameters[key] for key in ("x", "y")]
    known = list(table.column_names)
    problems = [f"no column '{c}'; {suggest(c, known) or ''}".rstrip("; ") for c in columns if c not in known]
    if problems:
        raise DataError(
            f"the columns are {', '.join(map(repr, known))}",
            where=request.name,
            problems=problems,
            fix="?x=COLUMN&y=COLUMN",
        )
    return dataset_of_arrays(
        _column(table[columns[0]], columns[0], request.name),
        _column(table[columns[1]], columns[1], request.name),
        name=request.name,
        split=request.split,
        splits=splits,
        classes=request.parameters["classes"] or _declared_classes(table, columns[1]),
        normalize=request.parameters["normalize"],
        layout=request.parameters["layout"],
    )


def _choose_split(loaded: Any, request: DataRequest) -> tuple[Any, tuple[str, ...]]:
    if not isinstance(loaded, dict):  # one table; a DatasetDict is a dict of tables
        there = {"train": loaded}
    else:
        there = dict(loaded)
        if "test" not in there and "validation" in there:
            there["test"] = there["validation"]
    if request.split not in there:
        raise DataError(f"there is no split '{request.split}'", where=request.name, expected=" or ".join(there))
    return there[request.split], tuple(split for split in request.splits if split in there)


def _column(values: Any, column: str, where: str) -> np.ndarray[Any, Any]:
    rows = [_row(value, column, where) for value in values]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes)[:3])
        raise DataError(
            f"the values of '{column}' differ in shape: {listed}",
            where=where,
            fix="make them one shape (map, pad, resize)",
        )
    return np.stack(rows) if rows else np.zeros((0,), dtype=np.float32)


def _row(value: Any, column: str, where: str) -> np.ndarray[Any, Any]:
    """Return one value as an array; an image of Pillow's as (H, W) when it is grey, else (3, H, W)."""
    if not hasattr(value, "getbands"):
        return np.asarray(value)
    if value.mode not in EIGHT_BIT_MODES:
        raise DataError(
            f"'{column}' holds images of mode {value.mode}", where=where, expected="eight bits per channel"
        )
    if value.mode in ("1", "L"):
        return np.asarray(value.convert("L"))
    return np.asarray(value.convert("RGB")).transpose(2, 0, 1)


def _declared_classes(table: Any, column: str) -> int | None:
    """Return the number of classes that a label column declares: a split may lack some of them."""
    count = getattr(table.features[column], "num_classes", None)
    return count if isinstance(count, int) else None
