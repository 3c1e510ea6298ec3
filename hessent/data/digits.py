"""`digits`: the 1,797 real handwritten digits of 8 × 8 pixels that ship inside the package.

The split is a rule, not a draw: within each class, in the file's order, every fifth image (positions 4, 9, 14, …
counted from 0) belongs to "test" (355 images), the others to "train" (1,442); "all" is both, in the file's
order.  Pixels 0 … 16 are divided by 16 and normalised with the mean and deviation of the training images, constants
so that no split changes the inputs; `digits?normalize=0,1` leaves them at 0 … 1.

Reference: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from hessent.data.dataset import Dataset, DatasetSpec
from hessent.data.request import DataRequest
from hessent.data.tensors import Normalization, TensorDataset
from hessent.errors import DataError

LICENCE = "CC BY 4.0; E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998)"
SPLITS = ("train", "test", "all")

_MEAN_AND_STD = (0.3051, 0.3762)  # of the training images


def open_digits(request: DataRequest) -> Dataset:
    """Return a split of the digits: inputs (B, 1, 8, 8) float32, labels 0 … 9.

    Raises
    ------
    DataError
        If the normalisation is not a mean and a positive deviation.
    """
    stored = load_file(Path(__file__).with_name("digits.safetensors"))
    labels = stored["labels"].to(torch.int64)
    chosen = torch.ones(len(labels), dtype=torch.bool)
    if request.split != "all":
        chosen = belongs_to_test(labels) == (request.split == "test")
    return TensorDataset(
        name=request.name,
        inputs=stored["images"][chosen].unsqueeze(1),
        targets=labels[chosen],
        spec=DatasetSpec("images", (1, 8, 8), 10),
        split=request.split,
        splits=request.splits,
        normalization=_normalization(request),
        licence=LICENCE,
    )


def _normalization(request: DataRequest) -> Normalization:
    numbers = request.parameters.get("normalize") or _MEAN_AND_STD
    if len(numbers) != 2:
        raise DataError(f"normalize has {len(numbers)} numbers", where=request.name, expected="normalize=MEAN,STD")
    return Normalization(scale=1 / 16, mean=numbers[:1], std=numbers[1:])


def belongs_to_test(labels: Tensor) -> Tensor:
    """Return the mask (N,) of the test images: every fifth of its class, in the file's order."""
    one_hot = torch.nn.functional.one_hot(labels)  # (N, 10)
    place_in_class = (one_hot.cumsum(dim=0) - 1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return place_in_class % 5 == 4
