"""Reading a ResNet from key names and shapes: everything but strides, norm eps, activation and max-pool follows.

torchvision and timm name their tensors alike; the common CIFAR variant says `shortcut` for `downsample` and
`linear` for `fc`, which `rename_key` translates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hessent.arch.activations import ACTIVATIONS
from hessent.arch.architecture import OptionSpec, Reading, Shapes
from hessent.arch.inputs import classes_problem, shape_problem
from hessent.arch.settings import Settings
from hessent.arch.shapes import MOST_BLOCKS, apply_rename, count_from, share_matching

OPTIONS: dict[str, OptionSpec] = {
    "block": OptionSpec("choice", "basic", "residual block", ("basic", "bottleneck"), follows=True),
    "depths": OptionSpec("sizes", (2, 2, 2, 2), "blocks in each stage", follows=True),
    "width": OptionSpec("int", 64, "channels of the first stage; doubled at each further one", follows=True),
    "groups": OptionSpec("int", 1, "groups of the 3x3 convolutions in bottlenecks", follows=True),
    "width_per_group": OptionSpec("int", 64, "bottleneck width per group, 64 = plain, 128 = wide", follows=True),
    "channels": OptionSpec("int", 3, "channels of the input images", follows=True),
    "classes": OptionSpec("int", 1000, "number of classes", follows=True),
    "stem": OptionSpec("choice", "imagenet", "7x7 (imagenet) or 3x3 (cifar)", ("imagenet", "cifar"), follows=True),
    "stem_stride": OptionSpec("int", None, "stride of the stem; 2 for imagenet, 1 for cifar"),
    "max_pool": OptionSpec("bool", None, "3x3 max-pool after the stem; yes for imagenet, no for cifar"),
    "strides": OptionSpec("sizes", None, "stride of each stage; 1, then 2 at each further one"),
    "bottleneck_stride": OptionSpec(
        "choice", "conv2", "convolution of a bottleneck that carries the stride", ("conv1", "conv2")
    ),
    "norm_eps": OptionSpec("float", 1e-5, "epsilon of the batch norms"),
    "activation": OptionSpec("choice", "relu", "activation function", ACTIVATIONS),
}

_KEY = re.compile(
    r"(conv1\.weight|(bn1|layer\d+\.\d+\.(bn\d|downsample\.1))\.(weight|bias|running_mean|running_var"
    r"|num_batches_tracked)|layer\d+\.\d+\.(conv\d|downsample\.0)\.weight|fc\.(weight|bias))"
)
_BLOCK = re.compile(r"layer(\d{1,4})\.(\d{1,6})\.")
_MOST_STAGES = 8  # each doubles the width
_VARIANT_SHORTCUT = re.compile(r"(?:(?<=\.)|^)(layer\d+\.\d+)\.shortcut\.([01])\.")
_VARIANT_HEAD = re.compile(r"(?:(?<=\.)|^)linear\.(weight|bias)$")


def rename_key(key: str) -> str:
    """Translate the common CIFAR variant's names; every other key is returned as it is.

    Examples
    --------
    >>> rename_key("layer2.0.shortcut.0.weight"), rename_key("linear.bias")
    ('layer2.0.downsample.0.weight', 'fc.bias')
    """
    return _VARIANT_HEAD.sub(r"fc.\1", _VARIANT_SHORTCUT.sub(r"\1.downsample.\2.", key))


def read(shapes: Shapes | None, given: Mapping[str, Any], fixed: Mapping[str, Any]) -> Reading:
    """Settle every setting of a ResNet; see `Recipe.read`."""
    settings = Settings(given, fixed, reads_checkpoint=shapes is not None)
    seen: dict[str, Any] = {}
    rename = None
    closeness = 0.0
    if shapes is not None:
        renamed = apply_rename(shapes, rename_key)
        rename = rename_key if set(renamed) != set(shapes) else None
        closeness = share_matching(renamed, _KEY)
        seen = _look(renamed, settings.problems)
        if not seen:
            return settings.reading(rename=rename, closeness=closeness)
        if len(renamed) < len(shapes):
            settings.problems.append("the checkpoint has both fc and linear, or both downsample and shortcut")
    for name in ("block", "depths", "width", "groups", "width_per_group", "channels", "classes", "stem"):
        settings.settle(name, seen=seen.get(name), default=OPTIONS[name].default)
    _settle_unseen(settings)
    return settings.reading(rename=rename, closeness=closeness)


def _settle_unseen(settings: Settings) -> None:
    """Settle what leaves no trace in the shapes."""
    stages = len(settings.values["depths"])
    stem = settings.values["stem"]
    imagenet = stem == "imagenet"
    settings.settle("stem_stride", default=2 if imagenet else 1, why=f"usual for the {stem} stem")
    settings.settle("max_pool", default=imagenet, why=f"usual for the {stem} stem")
    strides = settings.settle("strides", default=(1,) + (2,) * (stages - 1))
    if len(strides) != stages:
        settings.problems.append(f"strides has {len(strides)} number(s) for {stages} stage(s)")
    if settings.values["block"] == "bottleneck":
        settings.settle("bottleneck_stride", default="conv2", why="torchvision's and timm's choice")
    else:
        settings.values["bottleneck_stride"] = settings.given.get("bottleneck_stride", "conv2")
        if (settings.values["groups"], settings.values["width_per_group"]) != (1, 64):
            settings.problems.append("basic blocks take no groups and no width_per_group")
    settings.settle("norm_eps", default=1e-5, why="torch's default")
    settings.settle("activation", default="relu")


def _look(shapes: Shapes, problems: list[str]) -> dict[str, Any]:
    """Return the settings that the shapes show; say in `problems` what a ResNet would have and this has not."""
    stem = shapes.get("conv1.weight", ())
    depths = _stage_depths(shapes)
    head = shapes.get("fc.weight", ())
    if len(stem) != 4:
        problems.append("no 4-dimensional conv1.weight (the stem)")
    if not depths:
        problems.append("no residual blocks (layer1.0, layer1.1, …)")
    if sum(depths) > MOST_BLOCKS or len(depths) > _MOST_STAGES:
        problems.append(f"{sum(depths)} blocks in {len(depths)} stages, more than any ResNet has")
    if len(head) != 2:
        problems.append("no 2-dimensional fc.weight (the head)")
    if problems:
        return {}
    if "bn1.weight" not in shapes or "layer1.0.bn1.weight" not in shapes:
        problems.append("no batch norms (bn1, layer1.0.bn1, …); a norm-less ResNet needs a factory of your own")
    seen = {
        "depths": depths,
        "width": stem[0],
        "channels": stem[1],
        "classes": head[0],
        "stem": {7: "imagenet", 3: "cifar"}.get(stem[2]),
    }
    if seen["stem"] is None:
        problems.append(f"the stem's kernel is {stem[2]}x{stem[3]}; 7x7 and 3x3 are known")
    return seen | _look_block(shapes, stem[0], len(depths), problems)


def _stage_depths(shapes: Shapes) -> tuple[int, ...]:
    """Return the number of consecutive blocks in each of layer1, layer2 and so on."""
    stages: dict[int, set[int]] = {}
    for key in shapes:
        if match := _BLOCK.match(key):
            stages.setdefault(int(match[1]), set()).add(int(match[2]))
    return tuple(count_from(stages[stage], 0) for stage in range(1, 1 + count_from(stages, 1)))


def _look_block(shapes: Shapes, width: int, stages: int, problems: list[str]) -> dict[str, Any]:
    """Read block type, groups and width per group off the last stage, where rounding has hidden the least."""
    if "layer1.0.conv3.weight" not in shapes:
        return {"block": "basic", "groups": 1, "width_per_group": 64}
    key = f"layer{stages}.0.conv2.weight"
    middle = shapes.get(key, ())
    if len(middle) != 4 or middle[0] % middle[1]:
        problems.append(f"{key} is not a grouped convolution of a bottleneck")
        return {"block": "bottleneck"}
    groups = middle[0] // middle[1]
    # inner width = floor(planes · width_per_group / 64) · groups; the smallest width per group that gives it
    planes = width * 2 ** (stages - 1)
    width_per_group = -(-middle[1] * 64 // planes)
    return {"block": "bottleneck", "groups": groups, "width_per_group": width_per_group}


def data_problem(options: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int | None) -> str | None:
    """Return why a ResNet with these options cannot take this data, None if it can."""
    axes = ("channels", "height", "width")
    sizes = (options["channels"], None, None)
    problem = shape_problem(input_shape, axes, sizes, what="images")
    return problem or classes_problem(num_classes, options["classes"])


def data_options(input_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Return channels, classes and the stem that suit images of shape (channels, height, width)."""
    if len(input_shape) != 3:
        return {}
    options: dict[str, Any] = {"channels": input_shape[0], "stem": "cifar" if input_shape[-1] <= 64 else "imagenet"}
    return options if num_classes is None else options | {"classes": num_classes}
