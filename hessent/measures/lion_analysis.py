"""What `hessent lion` found: the signal of every tensor's update, and of what they are updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hessent.measures.finite_draw import FiniteDraw
from hessent.measures.update_signal import UpdateSignal
from hessent.measures.update_sums import UpdateSums
from hessent.spectra.provenance import CheckpointInfo, DataInfo

WHOLE = "whole"


@dataclass(frozen=True, eq=False)
class LionAnalysis:
    """The analysis of one checkpoint.

    Attributes
    ----------
    checkpoint : CheckpointInfo
    data : DataInfo
    loss : str
        Its name.
    seed : int
        Of the samples and of the mini-batches.
    beta1 : float
        U = β₁ m + (1 − β₁) g.
    momentum : str
        Where m is from: ``state``, ``gradient`` or ``zero``.
    momentum_told : str
        The same as a sentence.
    batches, batch_size : int
        Mini-batches, and samples of each.
    draw : FiniteDraw
        What turned the numbers of the samples at hand into those of the training.
    whole : UpdateSignal
        All tensors as one.
    tensors : tuple of UpdateSignal
        In the model's order.
    sums : mapping of str to UpdateSums
        What the numbers were formed from, by name; that of all tensors under `WHOLE`.
    """

    checkpoint: CheckpointInfo
    data: DataInfo
    loss: str
    seed: int
    beta1: float
    momentum: str
    momentum_told: str
    batches: int
    batch_size: int
    draw: FiniteDraw
    whole: UpdateSignal
    tensors: tuple[UpdateSignal, ...]
    sums: Mapping[str, UpdateSums]

    def scales(self) -> dict[str, float]:
        """Return the scale of tanh of every tensor that has one above 0, and of the others under ``*``."""
        chosen = {"*": self.whole.tanh_scale.value} | {one.name: one.tanh_scale.value for one in self.tensors}
        return {name: value for name, value in chosen.items() if value}
