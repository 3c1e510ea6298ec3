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
        "gelu": functional.gelu,
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "silu": functional.silu,
        "tanh": torch.tanh,
        "softplus": functional.softplus,
    }
    return table[name]
