"""Other tools on the exact nets, each as its own documentation uses it; only those that are installed take part.

Every figure of a tool has the whole budget of products to itself.  What a tool does not offer is missing; measures
of the spectrum come from the density it draws, which is what its users have.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.plain_quadrature import PROBES, functionals
from exact_nets import ExactNet
from numpy.typing import NDArray
from torch import Tensor, nn

Figures = dict[str, float]
Float64Array = NDArray[np.float64]


def curvlinops(net: ExactNet, budget: int, seed: int) -> Figures:
    """XTrace; the density of log abs(λ) and the spectral boundary of its Lanczos routines."""
    from curvlinops import LanczosApproximateLogSpectrumCached, xtrace

    torch.manual_seed(seed)
    matrix = torch.as_tensor(net.matrix)
    largest = float(np.abs(net.eigenvalues).max())  # its own search for the boundary would cost further products
    density = LanczosApproximateLogSpectrumCached(_Matrix(matrix), budget // PROBES, (1e-5 * largest, largest))
    grid, heights = density.approximate_log_spectrum(num_repeats=PROBES, kappa=1.04, epsilon=1e-5 * largest)
    found = _of_density(grid.numpy(), heights.numpy(), len(matrix))
    return {
        "trace": float(xtrace(matrix, budget // 2 * 2)),
        "abs_trace": found["abs_trace"],
        "entropy_gap": found["entropy_gap"],
    }


def hessian_eigenthings(net: ExactNet, budget: int, seed: int) -> Figures:
    """Hutch++; the smoothed density; both ends of the spectrum by Lanczos."""
    from hessian_eigenthings import LambdaOperator, lanczos, spectral_density, trace

    matrix = torch.as_tensor(net.matrix)
    operator = LambdaOperator(lambda v: matrix @ v, len(matrix), dtype=torch.float64)
    density = spectral_density(operator, num_runs=PROBES, lanczos_steps=budget // PROBES, seed=seed)
    found = _of_density(density.grid.numpy(), density.density.numpy(), len(matrix))
    ends = {
        which: float(lanczos(operator, k=1, max_iter=budget, which=which, seed=seed).eigenvalues[0])
        for which in ("LA", "SA")
    }
    return {
        "trace": trace(operator, num_matvecs=budget, seed=seed).estimate,
        "abs_trace": found["abs_trace"],
        "entropy_gap": found["entropy_gap"],
        "lambda_max": ends["LA"],
        "lambda_min": ends["SA"],
    }


def pyhessian(net: ExactNet, budget: int, seed: int) -> Figures:
    """Hutchinson's trace and power iteration with their default tolerances; `density` where it runs at all."""
    from pyhessian import hessian

    torch.manual_seed(seed)
    net.model.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tool = hessian(net.model, nn.CrossEntropyLoss(), data=(net.inputs, net.targets), cuda=False)
    found = {
        "trace": float(np.mean(tool.trace(maxIter=budget))),
        "lambda_max": float(tool.eigenvalues(maxIter=budget)[0][0]),
    }
    with contextlib.suppress(RuntimeError):  # torch.eig is gone from torch 1.13 on
        nodes, weights = tool.density(iter=budget // PROBES, n_v=PROBES)
        size = len(net.eigenvalues)
        whole = functionals(np.concatenate(nodes), np.concatenate(weights) * size / PROBES, size)
        found |= {name: whole[name] for name in ("abs_trace", "entropy_gap")}
    return found


class _Matrix:
    """What curvlinops' Lanczos routines ask of an operator."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix, self.shape, self.dtype, self.device = matrix, matrix.shape, matrix.dtype, matrix.device

    def __matmul__(self, v: Tensor) -> Tensor:
        return self._matrix @ v

    def to_scipy(self) -> Float64Array:
        return self._matrix.numpy()


_TOOLS: dict[str, tuple[str, str, Callable[[ExactNet, int, int], Figures]]] = {
    "curvlinops": ("curvlinops", "curvlinops-for-pytorch", curvlinops),
    "hessian-eigenthings": ("hessian_eigenthings", "hessian-eigenthings", hessian_eigenthings),
    "PyHessian": ("pyhessian", "PyHessian", pyhessian),
}


def installed() -> dict[str, tuple[str, Callable[[ExactNet, int, int], Figures]]]:
    """Return version and function of every tool that can be imported here, by its name in tables."""
    return {
        name: (importlib.metadata.version(distribution), function)
        for name, (module, distribution, function) in _TOOLS.items()
        if importlib.util.find_spec(module) is not None
    }


def _of_density(grid: Float64Array, heights: Float64Array, size: int) -> Figures:
    """Return the measures of a density on a grid, by the trapezoidal rule; its mass is taken as n."""
    weights = np.zeros_like(grid)
    weights[1:] += heights[1:] * np.diff(grid) / 2
    weights[:-1] += heights[:-1] * np.diff(grid) / 2
    return functionals(grid, weights * size / weights.sum(), size)
