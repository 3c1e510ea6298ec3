"""Solvers that are interrupted and restored: from the arrays alone, as a file would give them back."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from safetensors.numpy import load, save
from small_matrices import MatrixOperator

from hessent.curvature.operator import Product


class GroupedMatrix(MatrixOperator):
    """Σ n_G H_G / N of three random groups."""

    items = np.array([4, 10, 6])

    def __init__(self, size):
        rng = np.random.default_rng(size)
        scales = np.r_[np.geomspace(8.0, 2.0, 10), np.full(size - 10, 0.1)]
        roots = [rng.standard_normal((size, size)) * np.sqrt(scales / size) for _ in self.items]
        parts = np.array([root.T @ root for root in roots])
        super().__init__(np.tensordot(self.items / self.items.sum(), parts, axes=1))
        self.parts = torch.as_tensor(parts)

    def product(self, V):
        self.num_matvecs += V.shape[1]
        return Product(self.matrix @ V, self.parts @ V)


def as_read_back(state, *, before=None):
    """Return (small, grown) after a trip through bytes; rows that `before` already held come from there."""
    small = load(save({name: np.ascontiguousarray(array) for name, array in state.small.items()}))
    grown = {}
    for name, rows in state.grown.items():
        old = before[1].get(name, []) if before else []
        pieces = [*old, *(load(save({"rows": piece}))["rows"] for piece in rows.rows_from(sum(map(len, old))))]
        assert sum(map(len, pieces)) == len(rows)
        grown[name] = pieces
    return small, grown


def stages(solver):
    yield from solver.first_look()
    yield from solver.finish()


def uninterrupted(make, operator):
    """Return the spectrum, and how many products it took."""
    operator.num_matvecs = 0
    solver = make()
    for _ in answered(solver, operator):
        pass
    return solver.spectrum, operator.num_matvecs


def answered(solver, operator):
    """Run both stages of a solver, pausing whenever it waits for a product."""
    work = stages(solver)
    columns = next(work, None)
    while columns is not None:
        yield columns
        try:
            columns = work.send(operator.product(columns))
        except StopIteration:
            return


def interrupted_once(make, operator, *, every):
    """Require the same spectrum, and no product twice, from one interruption, at each of several products."""
    whole, matvecs = uninterrupted(make, operator)
    solver, before, asked = make(), None, 0
    for waited, columns in enumerate(answered(solver, operator)):
        if waited > 0 and waited % every == 0:
            before = as_read_back(solver.saved_state(), before=before)
            restored = make()
            restored.restore(*before)
            operator.num_matvecs = 0
            for _ in answered(restored, operator):
                pass
            require_equal_spectra(restored.spectrum, whole)
            assert operator.num_matvecs == matvecs - asked
        asked += columns.shape[1]
    assert asked == matvecs
    require_equal_spectra(solver.spectrum, whole)


def interrupted_always(make, operator):
    """Require the same spectrum, and no product twice, from a chain of solvers that get one product each."""
    whole, matvecs = uninterrupted(make, operator)
    operator.num_matvecs = 0
    before = None
    while True:
        solver = make()
        if before is not None:
            solver.restore(*before)
        waiting = answered(solver, operator)
        next(waiting)
        if next(waiting, None) is None:
            break
        before = as_read_back(solver.saved_state(), before=before)
    require_equal_spectra(solver.spectrum, whole)
    assert operator.num_matvecs == matvecs


def require_equal_spectra(found, expected):
    """Require every array and every number of two spectra to be equal, to the last bit."""
    if dataclasses.is_dataclass(expected):
        assert type(found) is type(expected)
        for field in dataclasses.fields(expected):
            require_equal_spectra(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for mine, other in zip(found, expected, strict=True):
            require_equal_spectra(mine, other)
    else:
        assert found == expected
