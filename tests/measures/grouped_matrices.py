"""Matrices that are averages over groups of data, and blocks that keep what each group contributes."""

from __future__ import annotations

import numpy as np
from small_matrices import dense_lanczos, exact_block

from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import DataGroups, Outliers, ProbeRuns


def spiked_groups(size, items, spike, rng):
    """Mean outer products of Gaussian samples, one matrix per group; the population has diag(spike, 1, …, 1)."""
    deviations = np.ones(size)
    deviations[0] = np.sqrt(spike)
    found = []
    for count in items:
        samples = rng.standard_normal((count, size)) * deviations
        found.append(samples.T @ samples / count)
    return np.array(found)


def symmetric_groups(count, size, rng):
    """A common matrix with outliers, and as much again of each group's own: indefinite and without structure."""
    common = rng.standard_normal((size, size)) + 8 * np.diag(np.geomspace(10, 1e-3, size))
    own = rng.standard_normal((count, size, size)) * rng.uniform(0.5, 2.0, (count, 1, 1))
    matrices = common + own
    return matrices + matrices.transpose(0, 2, 1)


def average(matrices, items):
    return np.tensordot(np.asarray(items) / np.sum(items), matrices, 1)


def without(matrices, items, group):
    """The average over all groups but one."""
    kept = [j for j in range(len(items)) if j != group]
    return average(matrices[kept], np.asarray(items)[kept])


def exact_with_groups(matrices, items, *, sampled_fraction=0.0, noise=0.0):
    """An exact block that keeps all eigenvalues without each group."""
    left_out = [np.linalg.eigvalsh(without(matrices, items, j)) for j in range(len(items))]
    groups = DataGroups(np.asarray(items), sampled_fraction, left_out=np.array(left_out))
    block = exact_block(np.linalg.eigvalsh(average(matrices, items)), noise=noise)
    return with_groups(block, groups)


def with_groups(block, groups):
    return BlockSpectrum(**{**vars(block), "groups": groups})


def sampled_with_groups(matrices, items, *, deflated, starts, steps, simple=None, sampled_fraction=0.0):
    """A sampled block that keeps projections of each group's matrix; `starts` are the probes, in columns."""
    whole = average(matrices, items)
    values, vectors = np.linalg.eigh(whole)
    order = np.argsort(-np.abs(values))[:deflated]
    order = order[np.argsort(values[order])]
    V = vectors[:, order]
    rest = whole - (V * values[order]) @ V.T
    runs = [dense_lanczos(rest, start - V @ (V.T @ start), steps) for start in starts.T]
    alphas, betas = (np.array([run[part] for run in runs]) for part in (0, 1))
    probes = np.array([[Q.T @ matrix @ Q for _, _, Q in runs] for matrix in matrices])
    groups = DataGroups(
        np.asarray(items),
        sampled_fraction,
        outliers=V.T @ matrices @ V if deflated else None,
        probes=probes,
    )
    return BlockSpectrum(
        name="block",
        size=len(whole),
        parameters=("weight",),
        method="lanczos",
        num_matvecs=deflated + steps * len(runs),
        converged=False,
        status="sampled",
        noise=0.0,
        outliers=Outliers(values[order], np.zeros(deflated)),
        probes=ProbeRuns(alphas, betas[:, :-1], betas[:, -1], simple=simple),
        lambda_max=(float(values[-1]), 0.0),
        lambda_min=(float(values[0]), 0.0),
        groups=groups,
    )
