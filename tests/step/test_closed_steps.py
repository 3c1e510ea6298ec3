"""Steps that are functions of H on quadratics, against their closed forms and against the loss itself."""

import numpy as np
import pytest
from quadratics import CLIPPED, INDEFINITE, NAMES, POSITIVE, Quadratic

from hessent.eigensolver.gradient_space import krylov_space
from hessent.estimate import Estimate
from hessent.measures.closed_steps import NEVER_SETTLES, NO_POSITIVE, closed_steps, limit_of
from hessent.measures.eigenbasis_step import eigenbasis_step
from hessent.measures.natural_step import natural_step
from hessent.measures.step_along import NO_BEST, UNCERTAIN, UPHILL, StepAlong

TIGHT = {"rtol": 1e-8, "atol": 1e-12}
MEMORY = 10**8


def steps_of(quadratic, damping=0.0, clip=None, space=None):
    space = quadratic.quadrature() if space is None else space
    found = closed_steps(space, damping=damping, clip=clip)
    return found | {"eigenbasis-ngd": eigenbasis_step(space, damping=damping, clip=clip)}


def closed_forms(values, g, a):
    """(D, ‖d‖²_H) of each row of the table for λ > 0 and no damping, as the table is written."""
    largest, norm = values.max(), np.linalg.norm(g)
    length, along = np.sqrt(np.sum(g**2 / values)), np.sum(values * g**2) / norm**2
    return {
        "newton": (np.sum(a * (1 - a / 2) * g**2 / values), np.sum(a**2 * g**2 / values)),
        "normalized-ngd": (a * length - a**2 / 2, a**2),
        "gradient-norm-ngd": (np.sum(a * (1 / np.sqrt(values) - a / 2) * g**2), np.sum(a**2 * g**2)),
        "eigenbasis-ngd": (np.sum(a * np.abs(g) / np.sqrt(values) - a**2 / 2), a**2 * len(values)),
        "gd": (np.sum(a * g**2 * (1 - a * values / 2)), np.sum(a**2 * values * g**2)),
        "normalized-gd": (a * norm / np.sqrt(largest) - a**2 / 2 * along / largest, a**2 * along / largest),
    }


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("rate", [0.03, 1.0, 1.7])
def test_each_row_is_its_closed_form_on_a_convex_quadratic(rotated, rate):
    quadratic = Quadratic(POSITIVE, rotated=rotated)
    written = closed_forms(quadratic.values, quadratic.components, rate)
    krylov = krylov_space(quadratic.operator, quadratic.start, steps=99, memory=MEMORY).quadrature
    for space in (quadratic.quadrature(), krylov):
        found = steps_of(quadratic, space=space)
        assert set(found) == set(written)
        for name, (decrease, norm) in written.items():
            assert found[name].decrease(rate).exact
            np.testing.assert_allclose(found[name].decrease(rate).value, decrease, **TIGHT)
            np.testing.assert_allclose(found[name].norm(rate).value, norm, **TIGHT)


@pytest.mark.parametrize(("name", "clip"), [*((name, None) for name in NAMES), *((n, 0.2) for n in CLIPPED)])
@pytest.mark.parametrize("values", [POSITIVE, INDEFINITE], ids=["convex", "indefinite"])
def test_decrease_and_norm_are_those_of_the_loss_at_the_step_itself(name, clip, values):
    quadratic, damping, rate = Quadratic(values, seed=3), 0.05, 0.7
    own = steps_of(quadratic, damping, clip)[name]
    step = rate * quadratic.step(name, damping, clip)
    np.testing.assert_allclose(own.decrease(rate).value, quadratic.decrease(step), **TIGHT)
    np.testing.assert_allclose(own.norm(rate).value, quadratic.norm(step), **TIGHT)
    assert own.clip == clip
    space = krylov_space(quadratic.operator, quadratic.start, steps=99, memory=MEMORY)
    moves = steps_of(quadratic, damping, clip, space.quadrature)[name].moves
    np.testing.assert_allclose(space.combine(rate * moves).numpy(), step, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_eigendirections_add_up_to_the_whole_and_each_is_its_own(clip):
    quadratic, rate = Quadratic(INDEFINITE, seed=1), 0.4
    order = np.argsort(quadratic.values)
    for name, own in steps_of(quadratic, 0.02, clip).items():
        step = rate * quadratic.vectors.T @ quadratic.step(name, 0.02, clip if name in CLIPPED else None)
        each = -(quadratic.components * step + 0.5 * quadratic.values * step**2)
        np.testing.assert_allclose(own.decreases(rate), each[order], rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(own.decreases(rate).sum(), own.decrease(rate).value, **TIGHT)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_no_step_size_lowers_the_loss_more_than_the_best(clip):
    quadratic = Quadratic(POSITIVE, seed=2)
    for name, own in steps_of(quadratic, 0.01, clip).items():
        unit = quadratic.step(name, 0.01, clip if name in CLIPPED else None)
        best = own.best().value
        rates = best * np.linspace(0.0, 3.0, 30_001)
        losses = rates * (quadratic.gradient @ unit) + 0.5 * rates**2 * (unit @ quadratic.matrix @ unit)
        assert rates[np.argmin(losses)] == pytest.approx(best, rel=1e-4)
        np.testing.assert_allclose(own.decrease(best).value, -losses.min(), rtol=1e-7)


def test_no_step_size_is_best_where_the_loss_falls_for_ever():
    quadratic = Quadratic(np.array([-3.0, -1.0, 0.5]), gradient=np.array([1.0, 1.0, 0.1]))
    assert steps_of(quadratic)["gd"].best().reason == NO_BEST
    assert StepAlong(np.array([-1.0]), np.array([1.0]), "exact").best().reason == UPHILL
    assert StepAlong(np.array([1.0, 1.0]), np.array([-1.0, 1.0]), "estimate").best().reason == UNCERTAIN
    # Where a curvature that is not positive is possible, there is no largest D, nor a step size that makes it.
    for known in ("estimate", "enclosure"):
        along = StepAlong(np.array([2.0, 2.0, 1.0]), np.array([4.0, -1.0, 5.0]), known)
        best, most = along.best(), along.best_decrease()
        assert (best.value, best.high, most.value, most.high) == (0.5, None, 0.5, None)
        assert most.low == pytest.approx(0.1)
    enclosed = StepAlong(np.array([1.0, 3.0]), np.array([5.0, 2.0]), "enclosure").best_decrease()
    assert (enclosed.value, enclosed.low, enclosed.high) == (0.1, 0.1, 2.25)
    wild = StepAlong(np.array([1.0, 9.0]), np.array([5.0, 2.0]), "estimate").best_decrease()
    assert wild.low == 0.0


def iterated(quadratic, name, rate, damping, clip, start):
    """How far θ is from the minimum after many steps of the optimizer on ½ θ·Hθ, each with the gradient there."""
    place = start
    for _ in range(3000):
        here = Quadratic(quadratic.values, rotated=False, gradient=quadratic.values * place)
        place = place + rate * here.step(name, damping, clip)
        if not np.abs(place).max() < 1e6:
            return np.inf
    return float(np.abs(place).max())


@pytest.mark.parametrize("damping", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "clip"), [("newton", None), ("gd", None), ("gradient-norm-ngd", None), *((n, 0.5) for n in CLIPPED)]
)
def test_below_the_stability_limit_iterating_settles_and_above_it_does_not(name, clip, damping):
    quadratic = Quadratic(np.array([0.5, 2.0, 9.0]), rotated=False)
    limit = steps_of(quadratic, damping, clip)[name].stability_limit
    assert limit.exact
    start = np.array([1e-3, 2e-3, 1e-3])
    with np.errstate(all="ignore"):
        assert iterated(quadratic, name, 0.98 * limit.value, damping, clip, start) < 1e-6
        assert iterated(quadratic, name, 1.02 * limit.value, damping, clip, start) > 2e-2


def test_stability_limits_are_the_familiar_ones_without_damping():
    found = steps_of(Quadratic(POSITIVE))
    np.testing.assert_allclose(found["newton"].stability_limit.value, 2.0, **TIGHT)
    np.testing.assert_allclose(found["gd"].stability_limit.value, 2 / 30.0, **TIGHT)
    np.testing.assert_allclose(found["gradient-norm-ngd"].stability_limit.value, 2 / np.sqrt(30.0), **TIGHT)
    for name in ("normalized-ngd", "eigenbasis-ngd", "normalized-gd"):
        assert found[name].stability_limit.reason == NEVER_SETTLES


def test_a_step_of_fixed_length_never_settles():
    quadratic = Quadratic(np.array([0.5, 2.0, 9.0]), rotated=False)
    for name in ("normalized-ngd", "eigenbasis-ngd", "normalized-gd"):
        assert iterated(quadratic, name, 1e-2, 0.0, None, np.full(3, 0.1)) > 1e-4


def test_the_interval_of_a_limit_turns_that_of_the_largest_eigenvalue_around():
    limit = limit_of(np.ones_like, Estimate(4.0, 4.0, 5.0))
    assert (limit.value, limit.low, limit.high, limit.exact) == (0.5, 0.4, 0.5, False)
    assert limit_of(np.ones_like, Estimate.exactly(-1.0)).reason == NO_POSITIVE


def test_without_damping_the_null_space_is_left_alone():
    quadratic = Quadratic(np.array([0.0, 1.0, 4.0]), gradient=np.array([5.0, 1.0, 2.0]), rotated=False)
    found = steps_of(quadratic)
    np.testing.assert_allclose(found["newton"].decrease(1.0).value, 0.5 * (1 + 4 / 4), **TIGHT)
    assert all(np.isfinite(own.decrease(1.0).value) for own in found.values())


@pytest.mark.parametrize("scale", [1e-14, 1e4])
def test_a_loss_in_another_unit_gives_the_same_answers_in_that_unit(scale):
    first, second = Quadratic(INDEFINITE), Quadratic(INDEFINITE * scale)
    second.gradient = first.gradient * scale
    for steps in (99, 8):
        one, other = (
            steps_of(q, 0.01 * unit, space=krylov_space(q.operator, q.start, steps=steps, memory=MEMORY).quadrature)
            for q, unit in ((first, 1.0), (second, scale))
        )
        np.testing.assert_allclose(other["newton"].decrease(1.0).value / scale, one["newton"].decrease(1.0).value)
        np.testing.assert_allclose(other["gd"].best().value * scale, one["gd"].best().value)
        roots = [own["gradient-norm-ngd"].best().value for own in (one, other)]
        np.testing.assert_allclose(roots[1] * np.sqrt(scale), roots[0])


@pytest.mark.parametrize("clip", [None, 0.2, 50.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_enclosure_of_the_eigenbasis_step_holds_the_truth(clip, seed):
    rng = np.random.default_rng(seed)
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -9.0], rng.uniform(-0.2, 1.0, 60)]), seed=seed)
    true = steps_of(quadratic, 0.05, clip)["eigenbasis-ngd"]
    space = krylov_space(quadratic.operator, quadratic.start, steps=20, memory=MEMORY).quadrature
    own = eigenbasis_step(space, damping=0.05, clip=clip)
    assert not own.decrease(0.1).exact
    for found, exact in ((own.decrease(0.1), true.decrease(0.1)), (own.norm(0.1), true.norm(0.1))):
        assert found.low <= exact.value <= found.high
    if clip == 50.0:  # nothing is clipped, so that it is Newton's step, of which the run knows more
        newton = closed_steps(space, damping=0.05)["newton"]
        np.testing.assert_allclose(own.decrease(0.1).value, newton.decrease(0.1).value, **TIGHT)
        np.testing.assert_allclose(own.decrease(0.1).half_width, newton.decrease(0.1).half_width, rtol=1e-6)
        np.testing.assert_allclose(own.moves, newton.moves, **TIGHT)
    else:
        assert (~np.isnan(own.moves)).sum() == len(space.converged) >= 3


def test_natural_gradient_descent_with_f_equal_to_h_is_newton():
    quadratic = Quadratic(POSITIVE)
    newton = steps_of(quadratic, 0.1)["newton"]
    ratio = quadratic.values / (quadratic.values + 0.1)
    own = natural_step(quadratic.quadrature(), newton.along, moves=newton.moves, pair=np.sort(ratio))
    np.testing.assert_allclose(own.stability_limit.value, newton.stability_limit.value, **TIGHT)
    assert own.decrease(0.3) == newton.decrease(0.3)
    bounded = natural_step(quadratic.quadrature(), newton.along)
    assert bounded.stability_limit.low is None
    assert bounded.stability_limit.high >= newton.stability_limit.value
    assert not bounded.explicit
