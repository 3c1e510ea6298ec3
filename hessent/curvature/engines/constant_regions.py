"""What reverse mode holds constant, held constant in forward mode too.

`no_grad`, the padding row of an embedding and `.data` cut a gradient, and torch's tangents pass through all three.
Forward over reverse would then give another matrix than double backward, one that is not even symmetric, without a
warning.  `detach` cuts both by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


class ConstantRegions(TorchFunctionMode):
    """While entered, tangents end where gradients end; it must surround the forward pass and nothing more.

    Raises
    ------
    NotImplementedError
        Where a gradient is no derivative: `max_norm` or `scale_grad_by_freq` of an embedding, a hook on a tensor.
    """

    def __enter__(self) -> ConstantRegions:
        """Start watching."""
        self._outside = torch._C._is_fwd_grad_enabled()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, or its equal whose tangents end."""
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:
            torch._C._set_fwd_grad_enabled(self._outside and args[0])
        if func == _DATA:
            return args[0].detach()
        if func is torch.Tensor.register_hook:
            raise NotImplementedError("a hook on a tensor's gradient has no forward derivative")
        if func is functional.embedding:
            return _embedding(*args, **kwargs)
        return func(*args, **kwargs)


def _embedding(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    if max_norm is not None or scale_grad_by_freq:
        raise NotImplementedError("max_norm and scale_grad_by_freq of an embedding have no forward derivative")
    if padding_idx is not None:
        is_padding = torch.arange(len(weight), device=weight.device) == padding_idx % len(weight)
        weight = torch.where(is_padding[:, None], weight.detach(), weight)
    return functional.embedding(tokens, weight)
