"""Reading a vision transformer from timm's key names and shapes.

Depth, width, MLP ratio, patch, channels, classes, biases, class token and the number of patches follow; the
number of heads, the norm eps and the activation do not, and the image is taken as square.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hessent.arch.activations import ACTIVATIONS
from hessent.arch.architecture import OptionSpec, Reading, Shapes
from hessent.arch.inputs import classes_problem, shape_problem
from hessent.arch.settings import Settings, show
from hessent.arch.shapes import MOST_BLOCKS, count_indices, default_heads, integer_root, share_matching

OPTIONS: dict[str, OptionSpec] = {
    "width": OptionSpec("int", 192, "channels of a token", follows=True),
    "depth": OptionSpec("int", 12, "number of blocks", follows=True),
    "heads": OptionSpec("int", None, "attention heads; width / 64 where that divides"),
    "hidden": OptionSpec("int", None, "width inside the MLP; mlp_ratio x width", follows=True),
    "mlp_ratio": OptionSpec("float", 4.0, "another way to give hidden: hidden / width", follows=True),
    "patch": OptionSpec("int", 16, "side of a square patch in pixels", follows=True),
    "image_size": OptionSpec("sizes", (224, 224), "side of the image in pixels, or HEIGHTxWIDTH"),
    "channels": OptionSpec("int", 3, "channels of the input images", follows=True),
    "classes": OptionSpec("int", 1000, "number of classes", follows=True),
    "class_token": OptionSpec("bool", True, "a learned token in front of the patches", follows=True),
    "pool": OptionSpec("choice", None, "token where there is a class token, else avg", ("token", "avg")),
    "norm_last": OptionSpec("bool", None, "final norm after pooling (timm's fc_norm)", follows=True),
    "qkv_bias": OptionSpec("bool", True, "bias of the queries, keys and values", follows=True),
    "head_bias": OptionSpec("bool", True, "bias of the head", follows=True),
    "norm_eps": OptionSpec("float", 1e-6, "epsilon of the layer norms"),
    "activation": OptionSpec("choice", "gelu", "activation function", ACTIVATIONS),
}

_KEY = re.compile(
    r"(cls_token|pos_embed|(patch_embed\.proj|norm|fc_norm|head"
    r"|blocks\.\d+\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12]))\.(weight|bias))"
)


def read(shapes: Shapes | None, given: Mapping[str, Any], fixed: Mapping[str, Any]) -> Reading:
    """Settle every setting of a vision transformer; see `Recipe.read`."""
    settings = Settings(given, fixed, reads_checkpoint=shapes is not None)
    seen: dict[str, Any] = {}
    closeness = 0.0
    if shapes is not None:
        closeness = share_matching(shapes, _KEY)
        seen = _look(shapes, settings.problems)
        if not seen:
            return settings.reading(closeness=closeness)
    for name in ("width", "depth", "patch", "channels", "classes", "class_token", "qkv_bias", "head_bias"):
        settings.settle(name, seen=seen.get(name), default=OPTIONS[name].default)
    width = settings.values["width"]
    ratio = settings.given.pop("mlp_ratio", None)
    if ratio is not None:
        settings.given.setdefault("hidden", round(ratio * width))
    settings.settle("hidden", seen=seen.get("hidden"), default=4 * width)
    _settle_image_size(settings, seen.get("patches"))
    heads, rule = default_heads(width)
    heads = settings.settle("heads", default=heads, why=rule)
    if width % heads:
        settings.problems.append(f"{heads} heads do not divide the width {width}")
    _settle_pooling(settings, seen.get("norm_last"))
    settings.settle("norm_eps", default=1e-6, why="timm's default")
    settings.settle("activation", default="gelu")
    return settings.reading(closeness=closeness)


def _settle_image_size(settings: Settings, patches: int | None) -> None:
    """Settle height and width of the image; patches = (height / patch) · (width / patch)."""
    patch = settings.values["patch"]
    given = settings.given.get("image_size")
    if given is not None and len(given) == 1:
        settings.given["image_size"] = given * 2
    side = integer_root(patches or 0)
    if patches is not None and side is None and given is None:
        settings.problems.append(
            f"pos_embed has places for {patches} patches, which make no square image; say image_size=HEIGHTxWIDTH"
        )
        return
    default = (side * patch, side * patch) if side else (224, 224)
    size = settings.settle("image_size", default=default, why="the square that the patches make")
    if len(size) != 2 or size[0] % patch or size[1] % patch:
        settings.problems.append(f"image_size {show(size)} is not made of {patch}x{patch} patches")
        return
    places = (size[0] // patch) * (size[1] // patch)
    if patches is not None and places != patches:
        settings.problems.append(
            f"image_size {show(size)} makes {places} patches, pos_embed has places for {patches}"
        )


def _settle_pooling(settings: Settings, norm_last: bool | None) -> None:
    """Settle how tokens become one vector, and on which side of that the final norm stands."""
    with_token = settings.values["class_token"]
    usual = "token" if with_token and not norm_last else "avg"
    pool = settings.settle("pool", default=usual, why="usual for these tensors")
    if pool == "token" and not with_token:
        settings.problems.append("pool=token needs a class token, and there is no cls_token")
    settings.settle("norm_last", seen=norm_last, default=False)


def _look(shapes: Shapes, problems: list[str]) -> dict[str, Any]:
    """Return the settings that the shapes show; say in `problems` what a ViT would have and this has not."""
    depth = count_indices(shapes, "blocks.")
    patches = shapes.get("patch_embed.proj.weight", ())
    positions = shapes.get("pos_embed", ())
    hidden = shapes.get("blocks.0.mlp.fc1.weight", ())
    head = shapes.get("head.weight", ())
    if len(patches) != 4 or patches[2] != patches[3]:
        problems.append("no patch_embed.proj.weight of shape (width, channels, patch, patch)")
    if len(positions) != 3 or positions[0] != 1:
        problems.append("no pos_embed of shape (1, tokens, width)")
    if not depth or len(hidden) != 2:
        problems.append("no transformer blocks (blocks.0.mlp.fc1, …)")
    if depth > MOST_BLOCKS:
        problems.append(f"{depth} blocks, more than any ViT has")
    if len(head) != 2:
        problems.append("no 2-dimensional head.weight")
    if problems:
        return {}
    class_token = "cls_token" in shapes
    return {
        "width": patches[0],
        "depth": depth,
        "hidden": hidden[0],
        "patch": patches[2],
        "channels": patches[1],
        "classes": head[0],
        "class_token": class_token,
        "patches": positions[1] - class_token,
        "norm_last": "fc_norm.weight" in shapes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "head_bias": "head.bias" in shapes,
    }


def data_problem(options: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int | None) -> str | None:
    """Return why a ViT with these options cannot take this data, None if it can."""
    axes = ("channels", "height", "width")
    sizes = (options["channels"], *options["image_size"])
    problem = shape_problem(input_shape, axes, sizes, what="images")
    return problem or classes_problem(num_classes, options["classes"])


def data_options(input_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Return sizes for images of shape (channels, height, width): patches of at most an eighth of a side, or 2."""
    if len(input_shape) != 3:
        return {}
    channels, height, width = input_shape
    most = min(16, max(min(height, width) // 8, 2))
    patch = next(side for side in range(most, 0, -1) if height % side == 0 and width % side == 0)
    options: dict[str, Any] = {"channels": channels, "image_size": (height, width), "patch": patch}
    return options if num_classes is None else options | {"classes": num_classes}
