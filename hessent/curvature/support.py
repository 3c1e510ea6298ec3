"""Layers whose second derivative torch does not have, or gets wrong without a warning.

They are named up front, all at once, before any time is spent.
"""

from __future__ import annotations

from torch import nn

from hessent.errors import ArchitectureError

_WITHOUT_SECOND_DERIVATIVE: dict[type[nn.Module], str] = {
    nn.EmbeddingBag: "has no second derivative in torch; use Embedding and a mean",
    nn.Hardsigmoid: "has no second derivative in torch; use Sigmoid",
    nn.CTCLoss: "has no second derivative in torch",
}


def refuse_unsupported(model: nn.Module) -> None:
    """Refuse a model with layers for which no exact product exists.

    `weight_norm` is refused because torch's double backward through it is wrong by 5–17 % without a warning.

    Raises
    ------
    ArchitectureError
        Listing every such layer by name.
    """
    problems = [
        f"{name or '(model)'}: {type(module).__name__} {reason}"
        for name, module in model.named_modules()
        for kind, reason in _WITHOUT_SECOND_DERIVATIVE.items()
        if isinstance(module, kind)
    ]
    problems += [
        f"{name or '(model)'}: weight_norm is differentiated twice wrongly (5–17 %) by torch; "
        "remove the reparametrisation before saving (remove_weight_norm, remove_parametrizations)"
        for name, module in model.named_modules()
        if _has_weight_norm(module)
    ]
    if problems:
        raise ArchitectureError("exact curvature products are not possible for this model", problems=problems)


def _has_weight_norm(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()
    kinds = {type(hook).__name__ for hook in hooks}
    parametrizations = getattr(module, "parametrizations", {})
    kinds |= {type(part).__name__ for entries in parametrizations.values() for part in entries}
    return bool(kinds & {"WeightNorm", "_WeightNorm"})
