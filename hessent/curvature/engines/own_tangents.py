"""Where a gradient is differentiated forwards: layers whose tangents are worked out by hand instead of torch's."""

from __future__ import annotations

from typing import Any

from torch._C._functorch import TransformType, get_interpreter_stack
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hessent.curvature.engines import attention_tangents
from hessent.curvature.engines.norm_tangents import layer_norm

_torchs_attention = functional.scaled_dot_product_attention


class OwnTangents(TorchFunctionMode):
    """While entered, LayerNorm and attention are the package's own under jvp of grad, and torch's elsewhere."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, or the one that stands in for it."""
        kwargs = kwargs or {}
        if func is functional.layer_norm and _is_forward_over_reverse():
            return layer_norm(*args, **kwargs)
        if func is _torchs_attention and _is_forward_over_reverse() and attention_tangents.serves(*args, **kwargs):
            return attention_tangents.attention(*args, **kwargs)
        return func(*args, **kwargs)


def _is_forward_over_reverse() -> bool:
    """Whether a gradient is being taken inside one forward derivative, batched or not, and nothing inside that.

    A model that takes derivatives of its own needs higher ones, which torch's functions have.
    """
    kinds = [level.key() for level in get_interpreter_stack() or () if level.key() != TransformType.Vmap]
    return kinds == [TransformType.Jvp, TransformType.Grad]
