"""The quantities behind the source paper's tables, under their own names.

They come from ONE sign vector v and one product Hv, not from eigenvalues: per parameter tensor b the sum of v∘Hv
and the gap log n_b − H(q), q ∝ abs(v∘Hv).  They are never mixed with the spectral measures, with which they may
disagree even in order.  For independent Gaussian entries the gap is 0.2838 nats: the noise floor.
"""

from __future__ import annotations

import numpy as np

from hessent.spectra.model import TensorProbe

# nats: E[|x| log |x|]/E|x| − log E|x| = (ψ(1) + ln 2)/2 − ln √(2/π) for a standard Gaussian x
NOISE_FLOOR = 0.2838


def tensor_measures(probe: TensorProbe) -> dict[str, float]:
    """Return the four per-tensor figures of one sign-vector product.

    Parameters
    ----------
    probe : TensorProbe
        Sums and gaps per parameter tensor.

    Returns
    -------
    dict of str to float
        `tensor_positive_ratio` (share of tensors with a positive sum), `tensor_abs_trace` (Σ abs of the sums),
        `tensor_gap_mean` and `tensor_gap_std` (nats, over tensors).  Single random draws, without interval.
    """
    return {
        "tensor_positive_ratio": float((probe.sums > 0).mean()),
        "tensor_abs_trace": float(np.abs(probe.sums).sum()),
        "tensor_gap_mean": float(probe.gaps.mean()),
        "tensor_gap_std": float(probe.gaps.std()),
    }
