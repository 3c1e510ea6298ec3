"""The memory m of Lion, from the state that another optimizer or Lion itself has left with a checkpoint.

    Lion, Lion-tanh    `exp_avg`: m itself
    Adam, AdamW        `exp_avg`: the same average of gradients, with Adam's β₁ for Lion's β₂, not bias-corrected
    SGD                `momentum_buffer` b ← μ b + (1 − d) g: m = b (1 − μ) / (1 − d) is an average, with μ for β₂

Weight decay that an optimizer puts inside the gradient (SGD, Adam) is part of what it averaged.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hessent.checkpoint.adam_files import StoredState
from hessent.optimizers.lion import MEMORY

_BUFFER = "momentum_buffer"


def memory_of(states: Mapping[str, StoredState]) -> tuple[dict[str, Tensor], str]:
    """Return m by parameter, in float64, and the name of the state it is from; empty where no state holds one.

    Parameters
    ----------
    states : mapping of str to StoredState
        By the module's names of parameters.
    """
    memory: dict[str, Tensor] = {}
    kinds: set[str] = set()
    for name, state in states.items():
        if MEMORY in state.tensors:
            memory[name] = state.tensors[MEMORY].to(torch.float64)
            kinds.add(MEMORY)
        elif _BUFFER in state.tensors:
            memory[name] = state.tensors[_BUFFER].to(torch.float64) * _share(state)
            kinds.add(_BUFFER)
    return memory, " and ".join(sorted(kinds))


def _share(state: StoredState) -> float:
    """What makes an average of SGD's buffer."""
    momentum, dampening = (state.settings.get(key, 0.0) for key in ("momentum", "dampening"))
    share = (1.0 - float(momentum)) / (1.0 - float(dampening)) if dampening != 1 else 1.0 - float(momentum)
    return share if share > 0.0 else 1.0
