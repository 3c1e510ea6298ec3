"""`cifar10:DIR`: the 50,000 + 10,000 colour images of 32 × 32 pixels, from the files as published.

The binary version is records of one label byte and 3,072 pixel bytes, 10,000 to a file.  The python version is
pickles, which can run code: a file of it is read only if its md5 is the published one, and then only arrays are
unpacked.

Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec
from hessent.data.request import DataRequest
from hessent.data.source_file import SourceFile
from hessent.data.tensors import Normalization, TensorDataset
from hessent.errors import DataError

_RECORDS = 10_000
_RECORD_BYTES = 1 + 3 * 32 * 32
_FILE_BYTES = _RECORDS * _RECORD_BYTES  # 30,730,000
_MOST_PICKLE_BYTES = 40_000_000  # the published files hold about 31 MB

_BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_PUBLISHED_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_GET_BINARY = "unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and give the folder it makes"


def open_cifar10(request: DataRequest) -> Dataset:
    """Return a split of CIFAR-10: inputs (B, 3, 32, 32) float32, labels 0 … 9.

    Raises
    ------
    DataError
        If a file is missing, of the wrong size, or a pickle that is not the published one.
    """
    folder = Path(request.path)
    names = _BATCHES[request.split]
    for inner, suffix, read in (
        ("cifar-10-batches-bin", ".bin", _read_binary),
        ("cifar-10-batches-py", "", _read_python),
    ):
        for place in (folder, folder / inner):
            if os.path.exists(place / (names[0] + suffix)):
                parts = [read(SourceFile.at(place / (name + suffix), request.name), request.name) for name in names]
                return _dataset(parts, request)
    raise DataError(
        f"no {names[0]}.bin in '{folder}' or '{folder / 'cifar-10-batches-bin'}'",
        where=request.name,
        expected="the binary version of CIFAR-10",
        fix=_GET_BINARY,
    )


def _dataset(parts: list[tuple[Tensor, Tensor]], request: DataRequest) -> Dataset:
    return TensorDataset(
        name=request.name,
        inputs=torch.cat([images for images, _ in parts]),
        targets=torch.cat([labels for _, labels in parts]),
        spec=DatasetSpec("images", (3, 32, 32), 10),
        split=request.split,
        splits=request.splits,
        normalization=Normalization(1 / 255, request.parameters["mean"], request.parameters["std"]),
    )


def _read_binary(source: SourceFile, where: str) -> tuple[Tensor, Tensor]:
    if source.size != _FILE_BYTES:
        raise DataError(
            f"'{source.path}' has {source.size:,} bytes",
            where=where,
            expected=f"{_FILE_BYTES:,} bytes",
            fix=_GET_BINARY,
        )
    with source.open(where) as file:
        content = bytearray(file.read(_FILE_BYTES))
    source.check_unchanged(where)
    records = torch.frombuffer(content, dtype=torch.uint8).reshape(_RECORDS, _RECORD_BYTES)
    return records[:, 1:].reshape(_RECORDS, 3, 32, 32), records[:, 0].to(torch.int64)


def _read_python(source: SourceFile, where: str) -> tuple[Tensor, Tensor]:
    content = b""
    if source.size <= _MOST_PICKLE_BYTES:
        with source.open(where) as file:
            content = file.read(_MOST_PICKLE_BYTES)
    # The bytes that are hashed are the bytes that are unpacked; the file is not read twice.
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != _PUBLISHED_MD5[source.path.name]:
        raise DataError(
            f"'{source.path}' is a pickle and not the published file; opening it could run code",
            where=where,
            expected=f"md5 {_PUBLISHED_MD5[source.path.name]}, or the binary version",
            fix=_GET_BINARY,
        )
    batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    images = torch.from_numpy(np.array(batch["data"], dtype=np.uint8)).reshape(-1, 3, 32, 32)
    return images, torch.tensor(batch["labels"], dtype=torch.int64)


class _ArraysOnly(pickle.Unpickler):
    """Unpacks numpy arrays and plain containers; every other class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the numpy class that a name in the pickle stands for (older numpy kept them in numpy.core)."""
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return np.zeros(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
