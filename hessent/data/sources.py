"""The table of built-in data sources: name, form, needs and parameters, readable without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hessent.data.parameters import Parameter


@dataclass(frozen=True)
class DataSource:
    """One way to give data.

    Attributes
    ----------
    name : str
        The word before the colon.
    form : str
        How the whole name is written.
    summary : str
        What it reads, as a clause.
    opener : str
        ``"module:function"``, imported on first use; it takes a `DataRequest` and returns a `Dataset`.
    needs : str
        What has to be there: files, keys, packages.
    path : str or None
        What stands after the colon ("FILE", "DIR", …); None where nothing does.
    parameters : mapping of str to Parameter
        What may follow the ``?``; `split` is added to every source.
    splits : tuple of str
        The splits a source of this kind can have.
    """

    name: str
    form: str
    summary: str
    opener: str
    needs: str = "nothing"
    path: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    splits: tuple[str, ...] = ("train",)


_CLASSES = Parameter("count", "number of classes; by default the largest label + 1")
_NORMALIZE = Parameter("numbers", "MEAN,STD of all inputs, after uint8 was divided by 255")
_LAYOUT = Parameter("choice", "where the channels of 4-D x stand", "auto", choices=("auto", "nchw", "nhwc"))
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

BUILT_IN = (
    DataSource(
        name="digits",
        form="digits",
        summary="the 1,797 real handwritten digits, 8 × 8 pixels, 10 classes, shipped inside the package",
        opener="hessent.data.digits:open_digits",
        parameters={"normalize": Parameter("numbers", "MEAN,STD of the pixels, after 0 … 16 was divided by 16")},
        splits=("train", "test", "all"),
    ),
    DataSource(
        name="arrays",
        form="arrays:FILE.safetensors|npz|h5",
        summary="inputs x and targets y in one file",
        opener="hessent.data.arrays:open_arrays",
        needs="keys x and y (x_test and y_test for the split test); float or uint8 inputs, integer labels",
        path="FILE",
        parameters={
            "x": Parameter("text", "key of the inputs", "x"),
            "y": Parameter("text", "key of the targets", "y"),
            "classes": _CLASSES,
            "normalize": _NORMALIZE,
            "layout": _LAYOUT,
        },
        splits=("train", "test"),
    ),
    DataSource(
        name="cifar10",
        form="cifar10:DIR",
        summary="CIFAR-10 as published, binary version",
        opener="hessent.data.cifar10:open_cifar10",
        needs="data_batch_1.bin … data_batch_5.bin and test_batch.bin",
        path="DIR",
        parameters={
            "mean": Parameter("numbers", "per channel, of pixels in 0 … 1", _CIFAR_MEAN),
            "std": Parameter("numbers", "per channel, of pixels in 0 … 1", _CIFAR_STD),
        },
        splits=("train", "test"),
    ),
    DataSource(
        name="images",
        form="images:DIR?size=224",
        summary="photographs in one folder per class",
        opener="hessent.data.images:open_images",
        needs="DIR/<class>/*.png|jpg or DIR/train/<class>/… and DIR/test/<class>/…; pip install pillow",
        path="DIR",
        parameters={
            "size": Parameter("count", "side of the square cut out, in pixels; by default images stay as they are"),
            "resize": Parameter("count", "shorter side before cutting; by default size"),
            "interpolation": Parameter("choice", "for scaling", "bilinear", choices=("bilinear", "bicubic")),
            "channels": Parameter("choice", "3 for colour, 1 for grey", "3", choices=("1", "3")),
            "mean": Parameter("numbers", "per channel, of pixels in 0 … 1", (0.0,)),
            "std": Parameter("numbers", "per channel, of pixels in 0 … 1", (1.0,)),
        },
        splits=("train", "test"),
    ),
    DataSource(
        name="tokens",
        form="tokens:FILE.bin?dtype=uint16&block=256",
        summary="a flat file of token numbers, cut into windows for next-token prediction",
        opener="hessent.data.tokens:open_tokens",
        needs="a file, or a folder with train.bin and val.bin",
        path="FILE",
        parameters={
            "dtype": Parameter(
                "choice", "of the tokens, little-endian", "uint16", ("uint8", "uint16", "uint32", "int32", "int64")
            ),
            "block": Parameter("count", "tokens per window", 256),
            "vocab": Parameter("count", "size of the vocabulary; by default the largest token + 1"),
        },
        splits=("train", "test"),
    ),
    DataSource(
        name="hf",
        form="hf:DIR?x=COLUMN&y=COLUMN",
        summary="a folder written by datasets.Dataset.save_to_disk",
        opener="hessent.data.huggingface:open_huggingface",
        needs="pip install 'hessent[hf]'",
        path="DIR",
        parameters={
            "x": Parameter("text", "column of the inputs", "image"),
            "y": Parameter("text", "column of the targets", "label"),
            "classes": _CLASSES,
            "normalize": _NORMALIZE,
            "layout": _LAYOUT,
        },
        splits=("train", "test"),
    ),
    DataSource(
        name="synthetic",
        form="synthetic:images|vectors|tokens?shape=3x32x32&classes=10",
        summary="made-up samples for a dry run; every result says so",
        opener="hessent.data.synthetic:open_synthetic",
        needs="the shape of one sample",
        path="KIND",
        parameters={
            "shape": Parameter("shape", "of one sample"),
            "classes": Parameter("count", "number of classes, or size of the vocabulary", 10),
            "samples": Parameter("count", "how many", 512),
            "seed": Parameter("integer", "of the random generator", 0),
        },
        splits=("train", "test"),
    ),
)
