"""The per-tensor quantities of the source paper: one sign vector, one product, reduced tensor by tensor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.eigensolver.probes import generator_for
from hessent.spectra.model import TensorProbe


def probe_tensors(engine: HessianEngine, seed: int) -> TensorProbe:
    """Multiply the whole matrix by one vector of random signs and reduce v∘Hv per parameter tensor.

    Parameters
    ----------
    engine : HessianEngine
        Serves the product.
    seed : int
        Seed of the signs.
    """
    problem = engine.problem
    whole = Block(FULL, tuple(problem.parameters), problem.num_params)
    generator = generator_for(seed, "tensor probe")
    signs = torch.randint(0, 2, (whole.size, 1), generator=generator).double() * 2 - 1
    signs = signs.to(problem.device)
    product = engine.products([(whole, signs)])[0].total
    sizes = [parameter.numel() for parameter in problem.parameters.values()]
    parts = torch.split((signs * product)[:, 0].cpu(), sizes)
    return TensorProbe(
        names=tuple(problem.parameters),
        sizes=np.array(sizes, dtype=np.int64),
        sums=np.array([float(part.sum()) for part in parts]),
        gaps=np.array([_gap(part.numpy()) for part in parts]),
    )


def _gap(values: NDArray[np.float64]) -> float:
    """Log n + Σ q log q with q ∝ abs(values), in nats; zero for a tensor without curvature."""
    magnitudes = np.abs(values)
    total = magnitudes.sum()
    if total == 0.0:
        return 0.0
    shares = magnitudes[magnitudes > 0] / total
    return float(np.log(len(magnitudes)) + (shares * np.log(shares)).sum())
