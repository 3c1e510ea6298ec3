"""EMC, the entropic momentum cascade: averages of gradients over several times, weighed by the gradient's entropy.

    p_i = abs(g_i) / Σ abs(g_j),    H = −Σ p log p,    h = H / log d          (over all d entries of the gradient)
    m_k ← β_k m_k + (1 − β_k) g,    β_k = 1 − 2^−k,    k = 1 … K
    m̃ = Σ α_k m_k,    α_k ∝ exp(h k / K),    Σ α_k = 1
    θ ← θ − η sign(m̃) abs(m̃)^γ,    γ = 2 − h

The m_k begin at 0 and are not corrected for it.  A weight without a gradient is left alone and counts nowhere.
Where every gradient is 0, or there is a single entry, h is taken as 1: then γ = 1.

The source document leaves these formulas out and contradicts itself: its Proposition 2 calls larger k the shorter
memory, but with its own β_k = 1 − 2^−k that of m_k is about 2^k steps, the longer the larger k is.  Read by its
formulas, a gradient spread over many entries (h near 1) leans towards LONGER memory, and one of few entries (h near
0) weighs all alike: so says the proof of its Proposition 1, and the statement does not.  The largest weight is less
than e times the smallest, so no average ever has the word alone.  As γ > 1 shortens steps where the average is
small, rates are larger than those of SGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DEFAULT_RATE, DEFAULT_LEVELS = 1.0, 5


def memory_name(level: int) -> str:
    """Return the name of m_k in the optimizer's state, k from 1."""
    return f"exp_avg_{level}"


def gradient_entropy(gradients: Iterable[Tensor]) -> tuple[float, float]:
    """Return the entropy H of a gradient and its largest value log d, in nats.

    Parameters
    ----------
    gradients : iterable of Tensor
        Its parts, in any shapes.

    Returns
    -------
    tuple of (float, float)
        H, and log d; H = log d where every entry is 0.
    """
    total = weighed = 0.0
    count = 0
    for gradient in gradients:
        sizes = gradient.detach().abs().to(torch.float64)
        total += float(sizes.sum())
        weighed += float(torch.special.xlogy(sizes, sizes).sum())
        count += sizes.numel()
    largest = math.log(max(count, 1))
    return (largest if total == 0.0 else math.log(total) - weighed / total), largest


def spread(gradients: Iterable[Tensor]) -> float:
    """Return h = H / log d, from 0 for a single entry that is not 0 to 1 for entries of one size."""
    entropy, largest = gradient_entropy(gradients)
    return 1.0 if largest == 0.0 else min(max(entropy / largest, 0.0), 1.0)


def follow(memories: Sequence[Tensor], gradient: Tensor) -> None:
    """Take a gradient into m_1 … m_K, in place."""
    for level, memory in enumerate(memories, start=1):
        share = 2.0**-level
        memory.mul_(1.0 - share).add_(gradient, alpha=share)


def cascade_update(memories: Sequence[Tensor], spread_of_gradient: float) -> Tensor:
    """Return sign(m̃) abs(m̃)^γ of m_1 … m_K."""
    levels = len(memories)
    weights = [math.exp(spread_of_gradient * level / levels) for level in range(1, levels + 1)]
    mixed = torch.zeros_like(memories[0])
    for weight, memory in zip(weights, memories, strict=True):
        mixed.add_(memory, alpha=weight / sum(weights))
    return mixed.sign() * mixed.abs().pow(2.0 - spread_of_gradient)


class Emc(torch.optim.Optimizer):
    """The entropic momentum cascade.

    Parameters
    ----------
    parameters : iterable
        Parameters, or groups as every torch optimizer takes them.
    lr : float
        Rate η.
    levels : int
        K, at least 1.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float = DEFAULT_RATE,
        levels: int = DEFAULT_LEVELS,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "levels": levels})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [(group, p, p.grad) for group in self.param_groups for p in group["params"] if p.grad is not None]
        found = spread(gradient for _, _, gradient in moving)
        for group, parameter, gradient in moving:
            memories = self._memories(parameter, group["levels"])
            follow(memories, gradient)
            parameter.add_(cascade_update(memories, found), alpha=-group["lr"])
        return loss

    def _memories(self, parameter: Tensor, levels: int) -> list[Tensor]:
        state = self.state[parameter]
        for level in range(1, levels + 1):
            if memory_name(level) not in state:
                state[memory_name(level)] = torch.zeros_like(parameter)
        return [state[memory_name(level)] for level in range(1, levels + 1)]
