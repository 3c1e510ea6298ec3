"""Reading a GPT-2 style language model from nanoGPT's key names and shapes.

Vocabulary, context, width, depth, the MLP's width and whether there are biases follow; the number of heads, the
norm eps, the activation and whether the head is tied to the embedding do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hessent.arch.activations import ACTIVATIONS
from hessent.arch.architecture import OptionSpec, Reading, Shapes
from hessent.arch.inputs import classes_problem, shape_problem
from hessent.arch.settings import Settings
from hessent.arch.shapes import MOST_BLOCKS, apply_rename, count_indices, default_heads, share_matching

OPTIONS: dict[str, OptionSpec] = {
    "vocab": OptionSpec("int", 50257, "number of tokens known", follows=True),
    "context": OptionSpec("int", 1024, "longest sequence", follows=True),
    "width": OptionSpec("int", 768, "channels of a token", follows=True),
    "depth": OptionSpec("int", 12, "number of blocks", follows=True),
    "heads": OptionSpec("int", None, "attention heads; width / 64 where that divides"),
    "hidden": OptionSpec("int", None, "width inside the MLP; 4 x width", follows=True),
    "bias": OptionSpec("bool", True, "biases in linear layers and norms", follows=True),
    "tied": OptionSpec("bool", True, "the head shares the embedding's weight"),
    "norm_eps": OptionSpec("float", 1e-5, "epsilon of the layer norms"),
    "activation": OptionSpec("choice", "gelu", "activation; OpenAI's weights want gelu_tanh", ACTIVATIONS),
}

_KEY = re.compile(
    r"(transformer\.(wte|wpe)\.weight|lm_head\.weight|transformer\.ln_f\.(weight|bias)"
    r"|transformer\.h\.\d+\.(ln_[12]|attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.(weight|bias))"
)
_STORED_MASK = re.compile(r"(.*\.)?h\.\d+\.attn\.(bias|masked_bias)")


def rename_key(key: str) -> str | None:
    """Drop the causal masks that old files store among the weights; keep every other key.

    Examples
    --------
    >>> rename_key("transformer.h.0.attn.bias"), rename_key("transformer.h.0.attn.c_attn.bias")
    (None, 'transformer.h.0.attn.c_attn.bias')
    """
    return None if _STORED_MASK.fullmatch(key) else key


def read(shapes: Shapes | None, given: Mapping[str, Any], fixed: Mapping[str, Any]) -> Reading:
    """Settle every setting of a GPT; see `Recipe.read`."""
    settings = Settings(given, fixed, reads_checkpoint=shapes is not None)
    seen: dict[str, Any] = {}
    rename = None
    closeness = 0.0
    if shapes is not None:
        kept = apply_rename(shapes, rename_key)
        rename = rename_key if len(kept) < len(shapes) else None
        closeness = share_matching(kept, _KEY)
        seen = _look(kept, settings.problems)
        if not seen:
            return settings.reading(rename=rename, closeness=closeness)
    for name in ("vocab", "context", "width", "depth", "bias"):
        settings.settle(name, seen=seen.get(name), default=OPTIONS[name].default)
    width = settings.values["width"]
    settings.settle("hidden", seen=seen.get("hidden"), default=4 * width)
    heads, rule = default_heads(width)
    heads = settings.settle("heads", default=heads, why=rule)
    if width % heads:
        settings.problems.append(f"{heads} heads do not divide the width {width}")
    settings.settle("tied", seen=seen.get("tied"), default=True, why="as in GPT-2")
    settings.settle("norm_eps", default=1e-5, why="torch's default")
    settings.settle("activation", default="gelu", why="nanoGPT's choice")
    return settings.reading(rename=rename, closeness=closeness)


def _look(shapes: Shapes, problems: list[str]) -> dict[str, Any]:
    """Return the settings that the shapes show; say in `problems` what a GPT would have and this has not."""
    if "wte.weight" in shapes and "h.0.attn.c_attn.weight" in shapes:
        problems.append("keys lack 'transformer.', as in a bare transformers GPT2Model without its head")
        return {}
    tokens = shapes.get("transformer.wte.weight", ())
    places = shapes.get("transformer.wpe.weight", ())
    joined = shapes.get("transformer.h.0.attn.c_attn.weight", ())
    expand = shapes.get("transformer.h.0.mlp.c_fc.weight", ())
    if len(tokens) != 2 or len(places) != 2:
        problems.append("no 2-dimensional transformer.wte.weight and transformer.wpe.weight (the embeddings)")
    if len(joined) != 2 or len(expand) != 2:
        problems.append("no transformer blocks (transformer.h.0.attn.c_attn, transformer.h.0.mlp.c_fc, …)")
    if problems:
        return {}
    depth = count_indices(shapes, "transformer.h.")
    if depth > MOST_BLOCKS:
        problems.append(f"{depth} blocks, more than any GPT has")
    width = tokens[1]
    if joined == (width, 3 * width):
        problems.append(
            f"transformer.h.0.attn.c_attn.weight is {width}x{3 * width}: transposed, as transformers' GPT-2 stores "
            "it (Conv1D); load the model's folder with --arch hf:DIR, or transpose c_attn, c_proj and c_fc"
        )
        return {}
    return {
        "vocab": tokens[0],
        "context": places[0],
        "width": width,
        "depth": depth,
        "hidden": expand[0],
        "bias": "transformer.h.0.ln_1.bias" in shapes,
        # A head of the embedding's shape may be its own or a stored copy; the shapes cannot say which.
        "tied": {None: True, tokens: None}.get(shapes.get("lm_head.weight"), False),
    }


def data_problem(options: Mapping[str, Any], input_shape: tuple[int, ...], num_classes: int | None) -> str | None:
    """Return why a GPT with these options cannot take this data, None if it can."""
    problem = shape_problem(input_shape, ("length",), (None,), what="token sequences")
    if problem is None and input_shape[0] > options["context"]:
        problem = (
            f"the data's sequences have {input_shape[0]} tokens, the network's context is {options['context']}"
        )
    return problem or classes_problem(num_classes, options["vocab"], what="tokens in its vocabulary")


def data_options(input_shape: tuple[int, ...], num_classes: int | None) -> dict[str, Any]:
    """Return context and vocabulary for token sequences of shape (length,)."""
    if len(input_shape) != 1:
        return {}
    options: dict[str, Any] = {"context": input_shape[0]}
    return options if num_classes is None else options | {"vocab": num_classes}
