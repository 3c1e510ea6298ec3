"""Reading a multilayer perceptron: a chain of linear layers, `layers.0`, `layers.1`, … or a bare `nn.Sequential`.

Indices may have gaps, where a Sequential counts its activations; they are closed up in order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hessent.arch.activations import ACTIVATIONS
from hessent.arch.architecture import OptionSpec, Reading, Rename, Shapes
from hessent.arch.inputs import classes_problem
from hessent.arch.settings import Settings
from hessent.arch.shapes import MOST_BLOCKS, apply_rename, share_matching

OPTIONS: dict[str, OptionSpec] = {
    "sizes": OptionSpec("sizes", (64, 64, 64, 10), "widths from the inputs to the classes", follows=True),
    "bias": OptionSpec("bool", True, "biases in the layers", follows=True),
    "activation": OptionSpec("choice", "relu", "activation between layers", ACTIVATIONS),
}

_KEY = re.compile(r"(?:layers\.)?(\d{1,6})\.(weight|bias)")
_ANY_KEY = re.compile(r"(?P<prefix>.*?)(?:layers\.)?(?P<index>\d{1,6})\.(?P<kind>weight|bias)")


def read(shapes: Shapes | None, given: Mapping[str, Any], fixed: Mapping[str, Any]) -> Reading:
    """Settle every setting of a perceptron; see `Recipe.read`."""
    settings = Settings(given, fixed, reads_checkpoint=shapes is not None)
    seen: dict[str, Any] = {}
    rename = None
    closeness = 0.0
    if shapes is not None:
        closeness = share_matching(shapes, _KEY)
        closing_up = _closing_up(shapes)
        renamed = apply_rename(shapes, closing_up)
        rename = closing_up if set(renamed) != set(shapes) else None
        seen = _look(renamed, settings.problems)
        if not seen:
            return settings.reading(rename=rename, closeness=closeness)
    sizes = settings.settle("sizes", seen=seen.get("sizes"), default=OPTIONS["sizes"].default)
    if len(sizes) < 2:
        settings.problems.append(f"sizes={sizes[0]} is no layer; give at least inputs and outputs, such as 64-10")
    settings.settle("bias", seen=seen.get("bias"), default=True)
    settings.settle("activation", default="relu")
    return settings.reading(rename=rename, closeness=closeness)


def _closing_up(shapes: Shapes) -> Rename:
    """Return the renaming that numbers the layers 0, 1, 2, … in the order of their indices."""
    found = sorted({int(match[1]) for key in shapes if (match := _KEY.fullmatch(key))})
    place = {index: position for position, index in enumerate(found)}

    def rename(key: str) -> str:
        match = _ANY_KEY.fullmatch(key)
        if match is None or int(match["index"]) not in place:
            return key
        return f"{match['prefix']}layers.{place[int(match['index'])]}.{match['kind']}"

    return rename


def _look(shapes: Shapes, problems: list[str]) -> dict[str, Any]:
    """Return the settings that the shapes show; say in `problems` where they are no chain of linear layers."""
    weights: list[tuple[int, ...]] = []
    while (key := f"layers.{len(weights)}.weight") in shapes:
        weights.append(shapes[key])
    if not weights:
        problems.append("no linear layers (layers.0.weight, or 0.weight of a Sequential)")
        return {}
    if len(weights) > MOST_BLOCKS:
        problems.append(f"{len(weights)} layers, more than any perceptron has")
    odd = [f"layers.{i}.weight" for i, shape in enumerate(weights) if len(shape) != 2]
    if odd:
        problems.append(f"not a matrix: {', '.join(odd[:5])}")
        return {}
    for index, (before, after) in enumerate(pairwise(weights)):
        if before[0] != after[1]:
            problems.append(f"layer {index} gives {before[0]} numbers, layer {index + 1} takes {after[1]}")
    biases = {f"layers.{index}.bias" in shapes for index in range(len(weights))}
    if len(biases) > 1:
        problems.append("some layers have a bias and some have none")
    return {"sizes": (weights[0][1], *(shape[0] for shape in weights)), "bias": True in biases}


def data_problem(options: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int | None) -> str | None:
    """Return why a perceptron with these options cannot take this data, None if it can."""
    inputs = math.prod(input_shape)
    if inputs != options["sizes"][0]:
        return f"the network takes {options['sizes'][0]} numbers per input, the data has {inputs}"
    return classes_problem(num_classes, options["sizes"][-1])


def data_options(input_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Return sizes for inputs of any shape (flattened), with two hidden layers of 64; one output for regression."""
    return {"sizes": (math.prod(input_shape), 64, 64, num_classes or 1)}
