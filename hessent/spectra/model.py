"""What a spectrum file holds, as frozen dataclasses with the shape beside each field.

The raw coefficients (eigenvalues of exact blocks; outliers and Lanczos coefficients of sampled ones) are the
truth.  Every measure, at any Rényi order or threshold, is derived from them without another product.
This room knows numpy alone: it is the waist between measuring and reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hessent.spectra.gradients import BlockGradient
from hessent.spectra.probe_space import ProbeSpace
from hessent.spectra.provenance import CheckpointInfo, DataInfo, LossInfo
from hessent.spectra.recurrences import DataGroups, Outliers, ProbeRuns, ShorterSpectrum
from hessent.spectra.split import BlockSplit

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class BlockSpectrum:
    """The spectrum of one block of the curvature matrix.

    Exactly one of `eigenvalues` (method "exact"), `probes` (method "lanczos") and `trace_estimates` (method
    "hutch++") is present.  A block of K-FAC (method "kronecker", `hessent.spectra.kronecker`) forms its
    `eigenvalues` from factors.

    Attributes
    ----------
    name : str
        Name of the block; "full" for the whole model.
    size : int
        Number of parameters n of the block.
    parameters : tuple of str
        Names of the parameter tensors in the block, in the model's order.
    method : str
        "exact" (all n eigenvalues), "lanczos" (outliers and probes), "hutch++" (the trace alone) or "kronecker".
    num_matvecs : int
        Products with the block spent on it, checks included.
    converged : bool
        Whether the requested tolerance was met; an exact block always is.
    status : str
        Why the computation of this block stopped, as a clause ("exact", "tolerance met", "budget spent").
    noise : float
        Measured noise of the products relative to max abs eigenvalue (dimensionless).
    eigenvalues : Float64Array or None
        All eigenvalues, ascending. Shape (n,).
    outliers : Outliers or None
        Deflated eigenpairs of a sampled block.
    probes : ProbeRuns or None
        Recurrences of a sampled block.
    lambda_max, lambda_min : tuple of float or None
        (Ritz value, residual norm) of the largest and smallest Ritz value of a sampled block.
    trace_estimates : Float64Array or None
        Independent estimates of the trace (Hutch++), one per test vector. Shape (p,).
    noise_floor : float
        Root mean square eigenvalue of the products' noise, in the unit of the eigenvalues: what a direction without
        curvature would show.
    multiplicity : str
        "whole" where every eigenvalue found has all its copies; "lower bound" where further copies may be missing.
    semidefinite : bool
        Whether the matrix has no negative eigenvalue, by what it is.
    groups : DataGroups or None
        What each group of the data contributes; None where it was not kept.
    shorter : tuple of ShorterSpectrum
        The block after about 0.7 and 0.5 of the steps, where its probes share a Krylov space; empty where they do
        not (each recurrence can then be cut by itself).
    gradient : BlockGradient or None
        The gradient by the block's parameters, reduced; None where it was not kept.
    space : ProbeSpace or None
        Where the probes lie in the Krylov space that they share; None where they share none, or it was not kept.
    """

    name: str
    size: int
    parameters: tuple[str, ...]
    method: str
    num_matvecs: int
    converged: bool
    status: str
    noise: float
    eigenvalues: Float64Array | None = None  # (n,)
    outliers: Outliers | None = None
    probes: ProbeRuns | None = None
    lambda_max: tuple[float, float] | None = None
    lambda_min: tuple[float, float] | None = None
    trace_estimates: Float64Array | None = None  # (p,)
    noise_floor: float = 0.0
    multiplicity: str = "whole"
    semidefinite: bool = False
    groups: DataGroups | None = None
    shorter: tuple[ShorterSpectrum, ...] = ()
    gradient: BlockGradient | None = None
    space: ProbeSpace | None = None


@dataclass(frozen=True)
class TensorProbe:
    """One Rademacher probe of the whole Hessian, reduced per parameter tensor.

    The quantities of the source paper's tables: with one sign vector v over all parameters and one product Hv,
    each parameter tensor b gives the sum of v∘Hv over its entries and the gap log n_b − H(q), q ∝ abs(v∘Hv).

    Attributes
    ----------
    names : tuple of str
        Parameter tensors, in the model's order.
    sizes : NDArray[np.int64]
        Entries per tensor. Shape (t,).
    sums : Float64Array
        Sum of v∘Hv over each tensor (unbiased for the trace of its block). Shape (t,).
    gaps : Float64Array
        log n_b + Σ q log q in nats. Shape (t,).
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]  # (t,)
    sums: Float64Array  # (t,)
    gaps: Float64Array  # (t,)


@dataclass(frozen=True)
class Spectrum:
    """Spectra of all blocks of one checkpoint, with their provenance.

    Attributes
    ----------
    checkpoint, data, loss
        What was measured, on what, for which loss.
    curvature : str
        Which matrix: "hessian".
    seed : int
        Seed of probes and of the choice of samples.
    complete : bool
        False for a snapshot of a run that has not finished.
    settings : mapping
        Every setting that can change a number (blocks, tolerances, budgets, dtype, device, batch size, engine).
    versions : mapping of str to str
        Versions of hessent and of the libraries that computed.
    checks : mapping of str to float
        Results of the start-up check of the operator.
    blocks : tuple of BlockSpectrum
        In the model's order; "full", where present, last.
    tensor_probe : TensorProbe or None
        The per-tensor quantities of the source paper.
    split : tuple of BlockSplit
        The Hessian beside its Gauss-Newton part, by block; empty where that was not asked for.
    """

    checkpoint: CheckpointInfo
    data: DataInfo
    loss: LossInfo
    curvature: str
    seed: int
    complete: bool
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    checks: Mapping[str, float]
    blocks: tuple[BlockSpectrum, ...]
    tensor_probe: TensorProbe | None = None
    split: tuple[BlockSplit, ...] = ()

    @property
    def preconditioner(self) -> str:
        """By what the matrix is multiplied from both sides: none, adam, its own diagonal, or the name of a file."""
        if self.settings.get("normalization") == "diagonal":
            return "diagonal"
        return str(self.settings.get("precondition", "none"))

    def block(self, name: str) -> BlockSpectrum:
        """Return the block called `name`.

        Raises
        ------
        KeyError
            If there is no such block.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise KeyError(name)
