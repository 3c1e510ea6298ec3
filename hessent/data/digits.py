"""`digits`: the 1,797 real handwritten digits of 8 × 8 pixels that ship inside the package.

The split is a rule, not a draw: within each class, in the file's order, every fifth image (positions 4, 9, 14, …
counted from 0) belongs to "test" (355 images), the others to "train" (1,442); "all" is both, in the file's
order.  Pixels 0 … 16 are divided by 16 and normalised with the mean and deviation of the training images.

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

LICENCE = "CC BY 4.0; E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998)"
SPLITS = ("train", "test", "all")

# Mean and deviation of the training images after division by 16; constants, so that no split changes the inputs.
_NORMALIZATION = Normalization(scale=1 / 16, mean=(0.3051,), std=(0.3762,))


def open_digits(request: DataRequest) -> Dataset:
    """Return a split of the digits: inputs (B, 1, 8, 8) float32, labels 0 … 9."""
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
        normalization=_NORMALIZATION,
        licence=LICENCE,
    )


def belongs_to_test(labels: Tensor) -> Tensor:
    """Return the mask (N,) of the test images: every fifth of its class, in the file's order."""
    one_hot = torch.nn.functional.one_hot(labels)  # (N, 10)
    place_in_class = (one_hot.cumsum(dim=0) - 1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return place_in_class % 5 == 4
