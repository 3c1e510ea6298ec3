"""The form of made-up data for `--data synthetic`, which is for dry runs and says so everywhere."""

from __future__ import annotations

from hessent.arch.architecture import BuiltModel
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.data.dataset import DatasetSpec
from hessent.data.registry import open_dataset
from hessent.data.synthetic import synthetic_name
from hessent.errors import DataError

SYNTHETIC = "synthetic"
_IMAGE_SIDE = {"cifar": 32, "imagenet": 224}  # by a ResNet's stem, whose weights say nothing about the image size


def made_up_like(built: BuiltModel, metadata: CheckpointMetadata) -> str:
    """Return the full name of synthetic data that fits a model.

    The form is that of the data the checkpoint names, else what the architecture's options tell.

    Raises
    ------
    DataError
        If neither tells the form.
    """
    if metadata.data == "digits":
        return synthetic_name(open_dataset("digits").spec)
    spec = _spec_of(built)
    if spec is None:
        raise DataError(
            f"the form of the data cannot be told from the architecture '{built.name}'",
            where="--data synthetic",
            fix="--data 'synthetic:images?shape=3x32x32&classes=10' (see `hessent data synthetic`)",
        )
    return synthetic_name(spec)


def _spec_of(built: BuiltModel) -> DatasetSpec | None:
    options = built.options
    if {"vocab", "context"} <= options.keys():
        return DatasetSpec("tokens", (int(options["context"]),), int(options["vocab"]))
    if "channels" in options and "classes" in options:
        side = options.get("image_size") or _IMAGE_SIDE.get(str(options.get("stem")), 224)
        sides = tuple(side) if isinstance(side, list | tuple) else (int(side), int(side))
        return DatasetSpec("images", (int(options["channels"]), *sides), int(options["classes"]))
    if "sizes" in options:
        sizes = list(options["sizes"])
        return DatasetSpec("vectors", (int(sizes[0]),), int(sizes[-1]))
    return None
