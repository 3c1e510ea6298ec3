"""`tokens:FILE.bin`: a flat file of token numbers, cut into windows for next-token prediction.

Sample i is the window of tokens i·block … i·block + block - 1; its targets are the same window one token later.
Windows do not overlap and every target is valid.  Only the windows asked for are read, so the file may be larger
than memory; nothing stays mapped, because a file that shrinks under a memory map ends the process.  A folder with
train.bin and, for the split "test", val.bin or test.bin works too (the layout of nanoGPT); its meta.pkl is never
read, being a pickle.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec, digest_of_samples
from hessent.data.request import DataRequest
from hessent.data.source_file import SourceFile
from hessent.errors import DataError

_SCAN_TOKENS = 2**22  # tokens looked at in one go while the largest is searched


def open_tokens(request: DataRequest) -> Dataset:
    """Return the windows of a token file: inputs and targets (B, block) int64.

    Raises
    ------
    DataError
        If the file is missing, too short, of the wrong dtype, or holds a negative token.
    """
    dtype = np.dtype(request.parameters["dtype"]).newbyteorder("<")
    files = _files(request)
    there = tuple(split for split in request.splits if split in files)
    if request.split not in files:
        raise DataError(
            f"there is no split '{request.split}'",
            where=request.name,
            expected="a folder with train.bin and val.bin (or test.bin) for both splits",
        )
    vocabulary = request.parameters["vocab"]
    if vocabulary is None:  # over both splits, so that they fit the same model
        vocabulary = 1 + max(_largest_token(source, dtype, request.name) for source in files.values())
    return TokenFile(
        files[request.split],
        dtype,
        name=request.name,
        block=request.parameters["block"],
        vocabulary=vocabulary,
        split=request.split,
        splits=there,
    )


class TokenFile(Dataset):
    """Windows of a token file, read when they are asked for.

    Parameters
    ----------
    source : SourceFile
        The file.
    dtype : np.dtype
        Of the tokens in it.
    name, split, splits : str, str, tuple of str
        See `Dataset`.
    block : int
        Tokens per window.
    vocabulary : int
        Tokens are 0 … vocabulary - 1.

    Raises
    ------
    DataError
        If the file does not hold a whole number of tokens, or less than one window.
    """

    def __init__(
        self,
        source: SourceFile,
        dtype: np.dtype[np.integer],
        *,
        name: str,
        block: int,
        vocabulary: int,
        split: str,
        splits: tuple[str, ...],
    ) -> None:
        _check_whole(source, dtype, name)
        num_tokens = source.size // dtype.itemsize
        self._num_windows = (num_tokens - 1) // block
        if self._num_windows < 1:
            raise DataError(
                f"'{source.path}' holds {num_tokens:,} tokens",
                where=name,
                expected=f"at least block + 1 = {block + 1:,}",
                fix="a smaller block",
            )
        self._source, self._dtype, self._block = source, dtype, block
        self.name, self.split, self.splits = name, split, splits
        self.spec = DatasetSpec("tokens", (block,), vocabulary)
        self.synthetic, self.licence = False, None

    def __len__(self) -> int:
        return self._num_windows

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows at `indices` and their targets, (B, block) int64 each.

        Raises
        ------
        DataError
            If the file changed, or a token lies outside the vocabulary.
        """
        windows = np.empty((len(indices), self._block + 1), dtype=np.int64)
        with self._source.open(self.name) as file:
            for row, index in enumerate(indices.tolist()):
                file.seek(index * self._block * self._dtype.itemsize)
                content = file.read((self._block + 1) * self._dtype.itemsize)
                if len(content) < (self._block + 1) * self._dtype.itemsize:
                    self._source.check_unchanged(self.name)
                    raise IndexError(f"window {index} of {self._num_windows}")
                windows[row] = np.frombuffer(content, dtype=self._dtype)
        outside = (windows < 0) | (windows >= (self.spec.num_classes or 0))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise DataError(
                f"token {column} of sample {int(indices[row])} is {windows[row, column]}",
                where=self.name,
                expected=f"0 to {(self.spec.num_classes or 0) - 1}",
                fix="the right vocab and dtype",
            )
        whole = torch.from_numpy(windows)
        return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()

    def digest(self, indices: Tensor | None = None) -> str:
        """Return the sha256 (hex) of the windows' tokens."""
        return digest_of_samples(self.fetch, torch.arange(len(self)) if indices is None else indices)


def _files(request: DataRequest) -> dict[str, SourceFile]:
    path = Path(request.path)
    if not os.path.isdir(path):
        return {"train": SourceFile.at(path, request.name)}
    files = {"train": SourceFile.at(path / "train.bin", request.name)}
    for name in ("test.bin", "val.bin"):
        if os.path.exists(path / name):
            files.setdefault("test", SourceFile.at(path / name, request.name))
    return files


def _check_whole(source: SourceFile, dtype: np.dtype[np.integer], where: str) -> None:
    if source.size == 0 or source.size % dtype.itemsize:
        raise DataError(
            f"'{source.path}' has {source.size:,} bytes",
            where=where,
            expected=f"a whole number of {dtype.name} tokens of {dtype.itemsize} bytes",
            fix="the right dtype parameter",
        )


def _largest_token(source: SourceFile, dtype: np.dtype[np.integer], where: str) -> int:
    _check_whole(source, dtype, where)
    largest = 0
    with source.open(where) as file:
        while content := file.read(_SCAN_TOKENS * dtype.itemsize):
            tokens = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype=dtype)
            if tokens.min() < 0:
                raise DataError(
                    f"'{source.path}' holds the token {tokens.min()}",
                    where=where,
                    expected="no negative token",
                    fix="the right dtype parameter",
                )
            largest = max(largest, int(tokens.max()))
    source.check_unchanged(where)
    return largest
