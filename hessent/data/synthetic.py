"""`synthetic:KIND`: made-up samples for dry runs and speed tests; every result says that they are.

Inputs are standard normal (tokens: uniform) and labels uniform and independent of them, so nothing can be learned
and no measure of such a run says anything about a model's use.  A seed fixes the samples; the split "test" has
others.
"""

from __future__ import annotations

from typing import cast

import torch

from hessent.data.dataset import Dataset, DatasetSpec, Kind
from hessent.data.request import DataRequest
from hessent.data.tensors import TensorDataset
from hessent.errors import DataError

_DIMENSIONS = {"images": 3, "vectors": 1, "tokens": 1}
_EXAMPLE = {"images": "3x32x32", "vectors": "64", "tokens": "256"}
_MOST_BYTES = 16 * 2**30


def open_synthetic(request: DataRequest) -> Dataset:
    """Return made-up samples.

    Raises
    ------
    DataError
        If the kind or shape is missing or wrong, or the samples would not fit into memory.
    """
    if request.path not in _DIMENSIONS:
        raise DataError(
            f"'{request.path}' is no kind of synthetic data",
            where=request.name,
            expected="images, vectors or tokens",
        )
    kind, shape = cast(Kind, request.path), request.parameters["shape"]
    if shape is None or len(shape) != _DIMENSIONS[kind]:
        raise DataError(
            "the shape of a sample is not given" if shape is None else f"the shape {shape} does not fit {kind}",
            where=request.name,
            fix=f"synthetic:{kind}?shape={_EXAMPLE[kind]}&classes={request.parameters['classes']}",
        )
    samples, classes = request.parameters["samples"], request.parameters["classes"]
    num_bytes = 4 * samples * torch.Size(shape).numel()
    if num_bytes > _MOST_BYTES:
        raise DataError(
            f"{num_bytes:,} bytes of made-up data", where=request.name, expected=f"up to {_MOST_BYTES:,}"
        )
    # Test samples come from another stream of the same seed, so both are fixed by one number.
    seed = 2 * request.parameters["seed"] + (request.split == "test")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    if kind == "tokens":
        windows = torch.randint(classes, (samples, shape[0] + 1), generator=generator)
        inputs, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    else:
        inputs = torch.randn(samples, *shape, generator=generator)
        targets = torch.randint(classes, (samples,), generator=generator)
    return TensorDataset(
        name=request.name,
        inputs=inputs,
        targets=targets,
        spec=DatasetSpec(kind, shape, classes),
        split=request.split,
        splits=request.splits,
        synthetic=True,
    )


def synthetic_name(spec: DatasetSpec, *, samples: int | None = None) -> str:
    """Return the name of made-up data of a given form, for `--data synthetic` where the model tells the form."""
    shape = "x".join(str(length) for length in spec.input_shape)
    name = f"synthetic:{spec.kind}?shape={shape}"
    if spec.num_classes is not None:
        name += f"&classes={spec.num_classes}"
    return name if samples is None else f"{name}&samples={samples}"
