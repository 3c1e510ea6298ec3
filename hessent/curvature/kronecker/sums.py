"""Second moments of a layer's inputs and output gradients, summed in float64 over micro-batches, by data group.

    expand      A = Σ_nt a_nt a_ntᵀ / (number of rows)      G = Σ_ntc b_ntc b_ntcᵀ / (number of items)
    reduce      A = Σ_n ā_n ā_nᵀ / (number of samples)      G = Σ_nc (Σ_t b_ntc) (Σ_t b_ntc)ᵀ / (number of items)

with t the positions that share the weight, over all calls of the layer; ā the mean over them; c the columns of the
square root of the output Hessian.  Both are exact where a sample has one position and the two moments do not vary
together.  (Eschenhagen et al., "Kronecker-factored approximate curvature for modern neural network architectures",
NeurIPS 2023; `expand` is also that of Grosse & Martens, 2016, up to a factor moved from A to G.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hessent.curvature.kronecker.capture import Calls
from hessent.curvature.kronecker.layers import FactorLayer, second_moments

_PIECE = 2**23  # entries of the rows worked on at once: 64 MiB


class LayerSums:
    """The sums of one layer.

    Parameters
    ----------
    layer : FactorLayer
        Whose.
    reduce : bool
        Whether positions are averaged and summed first.
    num_groups : int
        Groups of the data, at least 1.
    device : torch.device
        Where they are kept.
    """

    def __init__(self, layer: FactorLayer, *, reduce: bool, num_groups: int, device: torch.device) -> None:
        self.layer = layer
        self._reduce = reduce
        inputs, outputs, pairs = layer.input_size, layer.output_size, layer.num_pairs
        self._inputs = torch.zeros(num_groups, pairs, inputs, inputs, dtype=torch.float64, device=device)
        self._outputs = torch.zeros(num_groups, pairs, outputs, outputs, dtype=torch.float64, device=device)
        self._rows: NDArray[np.int64] = np.zeros(num_groups, dtype=np.int64)

    def add_inputs(self, group: int, calls: Calls) -> None:
        """Add what a forward pass gave the layer."""
        totals: Tensor | None = None  # (samples, pairs, a): sums over the positions of all calls
        positions = 0
        for inputs in calls.inputs:
            pieces = []
            for piece in _pieces(inputs, self.layer):
                rows = self.layer.input_rows(piece)
                positions_here = rows.shape[1]
                if self._reduce:
                    pieces.append(rows.to(torch.float64).sum(1))
                else:
                    self._inputs[group] += second_moments(rows.flatten(0, 1))
                    self._rows[group] += rows.shape[:2].numel()
            if self._reduce:
                own = torch.cat(pieces)
                totals = own if totals is None else totals + own
                positions += positions_here
        if totals is not None:
            self._inputs[group] += second_moments(totals / positions)
            self._rows[group] += len(totals)

    def add_outputs(self, group: int, gradients: Sequence[Tensor | None]) -> None:
        """Add what one column, pulled back to the calls of the layer, gave."""
        totals: Tensor | None = None  # (samples, pairs, o)
        for gradient in gradients:
            if gradient is None:
                continue
            rows = self.layer.output_rows(gradient)
            if self._reduce:
                own = rows.to(torch.float64).sum(1)
                totals = own if totals is None else totals + own
            else:
                self._outputs[group] += second_moments(rows.flatten(0, 1))
        if totals is not None:
            self._outputs[group] += second_moments(totals)

    def factors(self, items: NDArray[np.int64], *, without: int | None = None) -> tuple[Tensor, Tensor]:
        """Return A (pairs, a, a) and G (pairs, o, o) of all data, or of all but one group.

        Parameters
        ----------
        items : NDArray[np.int64]
            Items of each group.
        without : int, optional
            The group to leave out.
        """
        kept = [group for group in range(len(self._rows)) if group != without]
        rows = max(int(self._rows[kept].sum()), 1)
        return self._inputs[kept].sum(0) / rows, self._outputs[kept].sum(0) / max(int(items[kept].sum()), 1)


def bytes_of_sums(layer: FactorLayer, num_groups: int) -> int:
    """Return what the sums of a layer take."""
    return 8 * num_groups * layer.num_pairs * (layer.input_size**2 + layer.output_size**2)


def _pieces(inputs: Tensor, layer: FactorLayer) -> list[Tensor]:
    """Cut the samples of inputs so that their patches do not fill the memory."""
    if not layer.is_batched(inputs):
        return [inputs]
    # A patch repeats an input at most as often as the kernel has places.
    weight = layer.module.weight
    assert isinstance(weight, Tensor)
    each = inputs[:1].numel() * weight.shape[2:].numel()
    step = max(1, _PIECE // max(each, 1))
    return [inputs[start : start + step] for start in range(0, len(inputs), step)]
