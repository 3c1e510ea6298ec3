"""The built-in names, in one look; `fixed` is what a name decides by itself."""

from __future__ import annotations

from functools import partial

from hessent.arch import gpt_reading, mlp_reading, resnet_reading, vit_reading
from hessent.arch.architecture import Recipe

_resnet = partial(
    Recipe,
    family="resnet",
    options=resnet_reading.OPTIONS,
    read=resnet_reading.read,
    network="hessent.arch.resnet:ResNet",
    data_options=resnet_reading.data_options,
    data_problem=resnet_reading.data_problem,
)
_vit = partial(
    Recipe,
    family="vit",
    options=vit_reading.OPTIONS,
    read=vit_reading.read,
    network="hessent.arch.vit:VisionTransformer",
    data_options=vit_reading.data_options,
    data_problem=vit_reading.data_problem,
)
_gpt = partial(
    Recipe,
    family="gpt",
    options=gpt_reading.OPTIONS,
    read=gpt_reading.read,
    network="hessent.arch.gpt:Gpt",
    data_options=gpt_reading.data_options,
    data_problem=gpt_reading.data_problem,
    default_loss="next-token",
)
_mlp = partial(
    Recipe,
    family="mlp",
    options=mlp_reading.OPTIONS,
    read=mlp_reading.read,
    network="hessent.arch.mlp:Perceptron",
    data_options=mlp_reading.data_options,
    data_problem=mlp_reading.data_problem,
)


def _vit_224(name: str, width: int, depth: int, heads: int) -> Recipe:
    """Return a ViT of timm's table: patches of 16, images of 224x224, four times the width inside the MLP."""
    fixed = {"width": width, "depth": depth, "heads": heads, "hidden": 4 * width, "patch": 16}
    summary = f"ViT-{name}/16 for 224x224 images"
    return _vit(summary=summary, fixed=fixed | {"image_size": (224, 224)})


def _gpt2(size: str, width: int, depth: int, heads: int) -> Recipe:
    """Return a GPT-2 of OpenAI's table."""
    fixed = {"width": width, "depth": depth, "heads": heads, "hidden": 4 * width}
    return _gpt(summary=f"GPT-2 with {size} parameters", fixed=fixed)


_BASIC = {"block": "basic"}
_BOTTLENECK = {"block": "bottleneck"}
_WIDE = {"block": "bottleneck", "groups": 1, "width_per_group": 128}

BUILT_IN: dict[str, Recipe] = {
    "resnet18": _resnet(summary="ResNet-18", fixed=_BASIC | {"depths": (2, 2, 2, 2)}),
    "resnet34": _resnet(summary="ResNet-34", fixed=_BASIC | {"depths": (3, 4, 6, 3)}),
    "resnet50": _resnet(summary="ResNet-50", fixed=_BOTTLENECK | {"depths": (3, 4, 6, 3)}),
    "resnet101": _resnet(summary="ResNet-101", fixed=_BOTTLENECK | {"depths": (3, 4, 23, 3)}),
    "resnet152": _resnet(summary="ResNet-152", fixed=_BOTTLENECK | {"depths": (3, 8, 36, 3)}),
    "wide_resnet50_2": _resnet(summary="ResNet-50, twice as wide inside", fixed=_WIDE | {"depths": (3, 4, 6, 3)}),
    "wide_resnet101_2": _resnet(
        summary="ResNet-101, twice as wide inside", fixed=_WIDE | {"depths": (3, 4, 23, 3)}
    ),
    "resnet": _resnet(summary="any ResNet of basic or bottleneck blocks"),
    "vit_tiny_patch16_224": _vit_224("Tiny", 192, 12, 3),
    "vit_small_patch16_224": _vit_224("Small", 384, 12, 6),
    "vit_base_patch16_224": _vit_224("Base", 768, 12, 12),
    "vit_large_patch16_224": _vit_224("Large", 1024, 24, 16),
    "vit": _vit(summary="any vision transformer"),
    "gpt2": _gpt2("124M", 768, 12, 12),
    "gpt2-medium": _gpt2("350M", 1024, 24, 16),
    "gpt2-large": _gpt2("774M", 1280, 36, 20),
    "gpt2-xl": _gpt2("1558M", 1600, 48, 25),
    "gpt": _gpt(summary="any GPT-2 style language model"),
    "mlp": _mlp(summary="multilayer perceptron on flattened inputs"),
}
