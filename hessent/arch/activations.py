"""Names of activation functions, one list for all families."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "softplus")


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """Return the elementwise function for one of `ACTIVATIONS`."""
    import torch
    from torch.nn import functional

    table: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": torch.relu,
        "gelu": _gelu,
        "gelu_tanh": partial(_gelu, approximate="tanh"),
        "silu": functional.silu,
        "tanh": torch.tanh,
        "softplus": functional.softplus,
    }
    return table[name]


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Look the function up at each call: it is another where second derivatives are wanted."""
    from torch.nn import functional

    return functional.gelu(x, approximate=approximate)
