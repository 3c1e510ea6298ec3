"""States are material to judge: what does not fit is refused, and what fits says what is still to be done."""

import functools
import itertools

import numpy as np
import pytest
import torch
from interrupted_solvers import GroupedMatrix, answered, as_read_back, require_equal_spectra, uninterrupted
from oracles import DenseOperator, network_like
from small_matrices import solver_for

from hessent.eigensolver.requests import answer
from hessent.eigensolver.settings import LOOK_STEPS

_FEW = {"basis_memory": 8 * 150 * 130, "num_probes": 3, "num_steps": 12}
ROUTES = {
    "joint": {"num_probes": 4},
    "exact": {"method": "exact"},
    "trace": {"only_trace": True, "rtol": 0.01},
    "few vectors": _FEW,
    "few vectors after a look": _FEW,
}
SAVED_AFTER = {
    "trace": 11,
    "few vectors": 25,
    "few vectors after a look": 90,
}  # amid test vectors or probes; else 2


@functools.cache
def operator_of(size=130, *, grouped=True):
    return GroupedMatrix(size) if grouped else DenseOperator(network_like(size))


def make(route, *, size=130, items=GroupedMatrix.items, **more):
    return solver_for(operator_of(size), group_items=items, **{**ROUTES[route], **more})


@functools.cache
def saved(route):
    return as_read_back(state_after(make(route), SAVED_AFTER.get(route, 2)))


def state_after(solver, products):
    """State of a solver that has got so many products, or blocks of them."""
    waiting = answered(solver, operator_of())
    next(itertools.islice(waiting, products, None))
    return solver.saved_state()


def with_small(state, name, value):
    return {**state[0], name: value}, state[1]


def with_rows(state, name, pieces):
    return state[0], {**state[1], name: pieces}


SMALL = [(route, name) for route in ROUTES for name in saved(route)[0]]
GROWN = [(route, name) for route in ROUTES for name in saved(route)[1]]


@pytest.mark.parametrize(("route", "name"), SMALL)
def test_small_arrays_that_are_missing_or_of_another_kind_are_refused(route, name):
    state = saved(route)
    array = state[0][name]
    spoilt = [array[..., None], array.astype(np.float16), array.astype(np.complex128)]
    if array.size > 0:
        nonsense = {"i": -1, "u": 7, "f": np.nan}[array.dtype.kind]
        spoilt.append(np.full(array.shape, nonsense, dtype=array.dtype))
    if array.size > 0 and name not in ("searched", "simple"):  # of any length
        spoilt.append(np.concatenate([array, array]))
    for value in spoilt:
        with pytest.raises(ValueError):
            make(route).restore(*with_small(state, name, value))
    with pytest.raises(ValueError):
        make(route).restore({key: value for key, value in state[0].items() if key != name}, state[1])


@pytest.mark.parametrize(("route", "name"), GROWN)
def test_rows_that_are_missing_or_of_another_kind_are_refused(route, name):
    state = saved(route)
    pieces = state[1][name]
    assert sum(map(len, pieces)) > 1
    spoilt = pieces[0].copy()
    spoilt[0] = np.nan
    others = [
        [],
        [pieces[0][:-1], *pieces[1:]],
        [*pieces, pieces[0][:1]],
        [piece[..., :-1] for piece in pieces],
        [piece[0] for piece in pieces],
        [piece.astype(np.float16).astype(np.int32) for piece in pieces],
        [spoilt, *pieces[1:]],
    ]
    for rows in others:
        with pytest.raises(ValueError, match=name):
            make(route).restore(*with_rows(state, name, rows))
    with pytest.raises(ValueError):
        make(route).restore(state[0], {key: rows for key, rows in state[1].items() if key != name})


@pytest.mark.parametrize("route", ROUTES)
def test_a_state_of_another_solver_is_refused(route):
    others = [{"size": 129}]
    if route != "exact":
        others += [{"dtype": torch.float32}, {"seed": 1}, {"name": "other"}, {"max_matvecs": 5}]
    if route != "trace":
        others += [{"items": np.array([10, 10])}, {"items": None}]
    if route == "joint":
        others += [{"num_probes": 5}, {"num_probes": 3}, {"num_steps": 1}]
    for other in others:
        with pytest.raises(ValueError):
            make(route, **other).restore(*saved(route))
    for other in [other for other in ROUTES if ROUTES[other] != ROUTES[route]]:
        with pytest.raises(ValueError):
            make(other).restore(*saved(route))
    with pytest.raises(ValueError, match="stranger"):
        make(route).restore(*with_small(saved(route), "stranger", np.zeros(1)))


@pytest.mark.parametrize("route", ROUTES)
def test_a_solver_that_refused_a_state_starts_afresh(route):
    operator = operator_of()
    whole, _ = uninterrupted(functools.partial(make, route), operator)
    solver = make(route)
    with pytest.raises(ValueError):
        solver.restore(*with_rows(saved(route), "stranger", []))
    for _ in answered(solver, operator):
        pass
    require_equal_spectra(solver.spectrum, whole)


@pytest.mark.parametrize("route", ROUTES)
def test_later_steps_do_not_touch_a_state(route):
    solver = make(route)
    waiting = answered(solver, operator_of())
    next(itertools.islice(waiting, 1, None))
    state = solver.saved_state()
    then = as_read_back(state)
    for _ in waiting:
        pass
    now = as_read_back(state)
    for mine, other in zip(now, then, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            require_equal_spectra(tuple(mine[name]), tuple(other[name]))


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_saved_of_a_block_without_products_or_with_a_result(route):
    solver = make(route)
    assert solver.saved_state() is None
    waiting = answered(solver, operator_of())
    next(waiting)
    assert solver.saved_state() is None
    for _ in waiting:
        pass
    assert solver.saved_state() is None
    assert solver.planned_matvecs() == 0


@pytest.mark.parametrize("settings", [{}, {"max_matvecs": 150, "rtol": 0.0}, {"num_steps": 30}])
@pytest.mark.parametrize("route", ROUTES)
def test_what_is_planned_is_what_is_still_to_be_done(route, settings):
    if route == "exact" and settings:
        pytest.skip("settings for sampled blocks")
    planned = make(route, **settings).planned_matvecs()
    solver = make(route, **settings)
    asked = 0
    for columns in answered(solver, operator_of()):
        left = solver.planned_matvecs()
        assert left >= max(planned - asked, 1)
        if asked < planned and ROUTES[route] != _FEW:  # whose instalments are settled on the way
            assert left == planned - asked
        if asked > 0:
            restored = make(route, **settings)
            restored.restore(*as_read_back(solver.saved_state()))
            assert (restored.planned_matvecs(), restored.wants_groups) == (left, solver.wants_groups)
        asked += columns.shape[1]


def test_a_restored_block_is_told_of_at_once_where_its_first_look_was_over():
    operator = operator_of()
    for steps in (LOOK_STEPS - 1, LOOK_STEPS, LOOK_STEPS + 7):
        restored = make("joint", rtol=0.001)
        restored.restore(*as_read_back(state_after(make("joint", rtol=0.001), steps)))
        assert restored.spectrum is None
        operator.num_matvecs = 0
        answer(restored.first_look(), operator)
        assert operator.num_matvecs == 4 * max(LOOK_STEPS - steps, 0)
        assert restored.spectrum.status == "first look"
        assert restored.spectrum.num_matvecs == 4 * max(LOOK_STEPS, steps)
        assert np.isfinite(restored.width)
