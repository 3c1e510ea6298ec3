"""Lion, and Lion with tanh in place of the sign.

    U = β₁ m + (1 − β₁) g,    θ ← θ − η (f(U) + w θ),    m ← β₂ m + (1 − β₂) g,

with f = sign for Lion and f(U) = tanh(c U) for Lion-tanh, c a scale for each tensor; weight decay w is decoupled,
and m begins at 0.  A weight without a gradient is left alone.

β₁ and β₂ are those of the paper that found Lion, (0.9, 0.99) by default: β₁ mixes the step, β₂ the memory.  The
source paper on the entropy gap swaps the two.

With c → ∞ tanh is the sign; with c → 0 the update is c·U, that of gradient descent with momentum at the rate η·c.

References
----------
Chen, Liang, Huang, Real, Wang, Pham, Dong, Luong, Hsieh, Lu, Le (2023), Symbolic discovery of optimization
algorithms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MEMORY = "exp_avg"  # m, under the name that Lion's authors and torch's Adam give it


class Lion(torch.optim.Optimizer):
    """Lion, or Lion-tanh where a group of parameters has a scale.

    Parameters
    ----------
    parameters : iterable
        Parameters, or groups as every torch optimizer takes them; a group's `tanh_scale` is c, None for the sign.
    lr : float
        Rate η.
    betas : tuple of float
        β₁ and β₂.
    weight_decay : float
        w.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "tanh_scale": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state[MEMORY] = torch.zeros_like(parameter)
        memory, (beta1, beta2), scale = state[MEMORY], group["betas"], group["tanh_scale"]
        update = beta1 * memory + (1 - beta1) * gradient
        update = update.sign_() if scale is None else update.mul_(scale).tanh_()
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
        memory.mul_(beta2).add_(gradient, alpha=1 - beta2)
