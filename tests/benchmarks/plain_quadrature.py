"""Stochastic Lanczos quadrature as it is commonly done: the yardstick beside every estimate.

Ten Gaussian probes, a tenth of the products each, full reorthogonalisation, no deflation, no interval.  Shares no
code with the package.
"""

from __future__ import annotations

import math

import numpy as np
from benchmarks.spectra_generator import KnownSpectrum
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

Float64Array = NDArray[np.float64]

PROBES = 10
_REORTHOGONALISED = 20_000  # longer vectors: as everybody does, without


def plain_quadrature(spectrum: KnownSpectrum, budget: int, seed: int) -> dict[str, float]:
    """Estimate trace, absolute trace, gap and extreme eigenvalues with `budget` products.

    A reduced spectrum takes one coordinate for all copies of an eigenvalue, with a χ variate of as many degrees of
    freedom in it: exact for probes that share nothing, as here.
    """
    generator = np.random.default_rng([seed, budget])
    nodes, weights = [], []
    for _ in range(PROBES):
        start = generator.standard_normal(len(spectrum.values))
        if not spectrum.listed:
            start = np.sqrt(generator.chisquare(spectrum.copies))
        alphas, betas = _lanczos(spectrum.values, start, budget // PROBES)
        theta, vectors = eigh_tridiagonal(alphas, betas)
        nodes.append(theta)
        weights.append(vectors[0] ** 2 * spectrum.size / PROBES)
    theta, weight = np.concatenate(nodes), np.concatenate(weights)
    return functionals(theta, weight, spectrum.size)


def recurrences(diagonal: Float64Array, starts: Float64Array, steps: int) -> tuple[Float64Array, Float64Array]:
    """Return coefficients (p, steps) and (p, steps − 1) of p recurrences on diag(λ) that share their passes.

    Parameters
    ----------
    diagonal : Float64Array
        Shape (n,).
    starts : Float64Array
        Start vectors as columns, shape (n, p).
    steps : int
    """
    size, count = starts.shape
    q = starts / np.linalg.norm(starts, axis=0)
    basis = np.zeros((count, steps, size))  # per recurrence: a stack of small products is one call
    alphas, betas = np.zeros((count, steps)), np.zeros((count, steps))
    for step in range(steps):
        basis[:, step] = q.T
        w = diagonal[:, None] * q
        alphas[:, step] = (q * w).sum(axis=0)
        done = basis[:, : step + 1]
        w -= (done.transpose(0, 2, 1) @ (done @ w.T[:, :, None]))[:, :, 0].T
        betas[:, step] = np.linalg.norm(w, axis=0)
        q = w / betas[:, step]
    return alphas, betas[:, :-1]


def gauss_rules(alphas: Float64Array, betas: Float64Array, steps: int) -> tuple[Float64Array, Float64Array]:
    """Return nodes and weights (p, steps) of the first steps of p recurrences; weights sum to 1 for each."""
    tridiagonal = np.zeros((len(alphas), steps, steps))
    inner, before = np.arange(steps), np.arange(steps - 1)
    tridiagonal[:, inner, inner] = alphas[:, :steps]
    tridiagonal[:, before, before + 1] = tridiagonal[:, before + 1, before] = betas[:, : steps - 1]
    nodes, vectors = np.linalg.eigh(tridiagonal)
    return nodes, vectors[:, 0] ** 2


def functionals(nodes: Float64Array, weights: Float64Array, size: int) -> dict[str, float]:
    """Return the measures of the spectrum that `weights` (summing to about n) at `nodes` stand for."""
    mass = float((weights * np.abs(nodes)).sum())
    shares = np.abs(nodes) / mass
    logarithms = np.log(np.where(shares > 0, shares, 1.0))
    return {
        "trace": float((weights * nodes).sum()),
        "abs_trace": mass,
        "entropy_gap": math.log(size) + float((weights * shares * logarithms).sum()),
        "lambda_max": float(nodes.max()),
        "lambda_min": float(nodes.min()),
    }


def _lanczos(diagonal: Float64Array, start: Float64Array, steps: int) -> tuple[Float64Array, Float64Array]:
    """Return the coefficients (m,) and (m − 1,) of a recurrence on diag(λ)."""
    q, before = start / np.linalg.norm(start), np.zeros_like(start)
    alphas, betas = np.zeros(steps), np.zeros(steps)
    basis = np.zeros((steps, len(start))) if len(start) <= _REORTHOGONALISED else None
    for step in range(steps):
        w = diagonal * q - (betas[step - 1] * before if step else 0.0)
        alphas[step] = q @ w
        w -= alphas[step] * q
        if basis is not None:
            basis[step] = q
            w -= basis[: step + 1].T @ (basis[: step + 1] @ w)
        betas[step] = np.linalg.norm(w)
        q, before = w / betas[step], q
    return alphas, betas[:-1]
