"""Square roots of the output Hessians: cotangents u whose second moment Σ u uᵀ is that of the loss by the outputs.

    softmax, row by row     Σ_c u_c u_cᵀ = diag(p) − p pᵀ     with  u_c = √p_c (e_c − p)
    squared error c z²      Σ_j u_j u_jᵀ = 2c I               with  u_j = √(2c) e_j

Exactly, they are as many as a sample has outputs.  Where these are many (a vocabulary at every token), random ones
serve: with independent signs z, E[u uᵀ] is the same for u = Σ_c z_c u_c, of all rows at once.  (To draw a label
and take e_label − p has the same expectation; of a sample that is fitted well it is almost always nothing, and
rarely a lot.)  The signs belong to the sample, by its place in the data, however the data is cut.

1 − p of the likeliest class is taken as the sum of the others: of a sample that is fitted well it keeps its digits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hessent.curvature.losses.loss import Loss
from hessent.curvature.matrices.gaussian_forms import GaussianForms
from hessent.curvature.matrices.softmax_forms import SoftmaxForms
from hessent.errors import UsageError

MOST_EXACT = 1024  # outputs of a sample up to which each gets a backward pass


class OutputRoots(ABC):
    """The square roots of one loss."""

    @abstractmethod
    def column(self, outputs: Tensor, targets: Any, number: int) -> Tensor:
        """Return u of output `number` of every sample; outputs of a sample are counted as they lie in memory."""

    @abstractmethod
    def mixed(self, outputs: Tensor, targets: Any, signs: Tensor) -> Tensor:
        """Return Σ signs · u over all outputs; `signs` and result have the outputs' shape."""

    def exact(self, outputs: Tensor, targets: Any) -> Iterator[Tensor]:
        """Yield the u of every output in turn, in the outputs' shape."""
        for number in range(outputs.shape[1:].numel()):
            yield self.column(outputs, targets, number)

    def drawn(self, outputs: Tensor, targets: Any, *, draws: int, seed: int, first: int) -> Iterator[Tensor]:
        """Yield `draws` random u, scaled so that their second moments add up to the mean.

        Parameters
        ----------
        outputs, targets
            Of a micro-batch, detached.
        draws : int
            How many.
        seed : int
            Of the signs.
        first : int
            Place of the micro-batch's first sample in the data.

        Yields
        ------
        Tensor
            In the outputs' shape.
        """
        shape = outputs.shape[1:]
        signs = np.stack([_signs(seed, first + row, draws, shape.numel()) for row in range(len(outputs))])
        for draw in range(draws):
            own = torch.from_numpy(signs[:, draw]).to(outputs.device, outputs.dtype).reshape(outputs.shape)
            yield self.mixed(outputs, targets, own * (1 / math.sqrt(draws)))


class _Softmax(OutputRoots):
    def __init__(self, ignore_index: int | None) -> None:
        self._ignore_index = ignore_index

    def column(self, outputs: Tensor, targets: Any, number: int) -> Tensor:
        place, label = divmod(number, outputs.shape[-1])
        signs = torch.zeros_like(outputs)
        signs.reshape(len(outputs), -1, outputs.shape[-1])[:, place, label] = 1.0
        return self.mixed(outputs, targets, signs)

    def mixed(self, outputs: Tensor, targets: Any, signs: Tensor) -> Tensor:
        p = outputs.softmax(-1)
        likeliest = p.argmax(-1, keepdim=True)
        others = p.scatter(-1, likeliest, 0.0).sum(-1, keepdim=True)
        rest = (1.0 - p).scatter(-1, likeliest, others)  # 1 − p
        pulls = signs * p.sqrt()
        # u_c = pull_c (1 − p_c) − p_c Σ_{j ≠ c} pull_j, and nothing cancels where p_c is nearly 1.
        largest = pulls.gather(-1, likeliest)
        others_of_likeliest = pulls.scatter(-1, likeliest, 0.0).sum(-1, keepdim=True)
        elsewhere = (others_of_likeliest + largest - pulls).scatter(-1, likeliest, others_of_likeliest)
        roots: Tensor = pulls * rest - p * elsewhere
        if self._ignore_index is not None:
            roots = roots * (targets != self._ignore_index)[..., None]
        return roots


class _Squared(OutputRoots):
    def __init__(self, forms: GaussianForms) -> None:
        self._forms = forms

    def column(self, outputs: Tensor, targets: Any, number: int) -> Tensor:
        signs = torch.zeros_like(outputs)
        signs.reshape(len(outputs), -1)[:, number] = 1.0
        return self.mixed(outputs, targets, signs)

    def mixed(self, outputs: Tensor, targets: Any, signs: Tensor) -> Tensor:
        # The form is c Σ z², so ones tell c.
        weight = float(self._forms.gauss_newton(outputs, targets, torch.ones_like(outputs))) / outputs.numel()
        return signs * math.sqrt(2.0 * weight)


def output_roots(loss: Loss) -> OutputRoots:
    """Return the square roots of a loss.

    Raises
    ------
    UsageError
        If it is a function of the user's.
    """
    if isinstance(loss.forms, SoftmaxForms):
        return _Softmax(getattr(loss, "ignore_index", None))
    if isinstance(loss.forms, GaussianForms):
        return _Squared(loss.forms)
    raise UsageError(
        f"K-FAC needs a square root of the loss's second derivative, which '{loss.name}' does not tell",
        where="--curvature kfac",
        expected="--loss cross-entropy, next-token, mse or half-squared-error",
        fix="--curvature ggn, which takes any loss",
    )


def _signs(seed: int, sample: int, draws: int, count: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Return random signs of one sample, shape (draws, count)."""
    stream = np.random.Philox(key=np.array([seed, sample], dtype=np.uint64))
    words = stream.random_raw(-(-draws * count // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8))[: draws * count]
    return (2 * bits.astype(np.int8) - 1).reshape(draws, count)
