"""What mini-batch noise with Σ = kH adds: dense traces, numerical integration, and draws."""

import itertools

import numpy as np
import pytest
from quadratics import CLIPPED, INDEFINITE, NAMES, POSITIVE, Quadratic
from scipy import integrate, stats

from hessent.eigensolver.gradient_space import krylov_space
from hessent.estimate import Estimate
from hessent.measures.closed_steps import closed_steps
from hessent.measures.eigenbasis_step import eigenbasis_step
from hessent.measures.natural_step import natural_step
from hessent.measures.step_along import StepAlong
from hessent.measures.step_noise_model import NoiseModel, clipped_variance, enclosed_trace, formed_trace, times

SCALE, BATCH, MEMORY = 0.7, 16, 10**8
LINEAR = [*((name, None) for name in NAMES if name != "eigenbasis-ngd"), *((n, 0.2) for n in CLIPPED[:2])]


def model_of(quadratic):
    return NoiseModel(Estimate.exactly(SCALE), BATCH, formed_trace(quadratic.values))


def step_of(quadratic, name, damping, clip):
    space = quadratic.quadrature()
    found = closed_steps(space, damping=damping, clip=clip)
    return found[name] if name in found else eigenbasis_step(space, damping=damping, clip=clip)


@pytest.mark.parametrize(("name", "clip"), LINEAR)
@pytest.mark.parametrize("values", [POSITIVE, INDEFINITE], ids=["convex", "indefinite"])
def test_noise_of_a_linear_step_is_the_trace_of_dense_matrices(name, clip, values):
    quadratic, rate, damping = Quadratic(values, seed=4), 0.3, 0.05
    # The matrix A of the step, its normalisation held: what it makes of a gradient with ones along all directions.
    own = quadratic.quadrature()
    ratio = step_of(quadratic, name, damping, clip).moves / own.components
    vectors = quadratic.vectors[:, np.argsort(quadratic.values)]
    matrix = rate * (vectors * ratio) @ vectors.T
    covariance = SCALE / BATCH * quadratic.matrix
    dense = 0.5 * np.trace(quadratic.matrix @ matrix @ covariance @ matrix.T)
    np.testing.assert_allclose(matrix @ quadratic.gradient, rate * quadratic.step(name, damping, clip), atol=1e-10)
    found = step_of(quadratic, name, damping, clip).noise(rate, model_of(quadratic))
    assert found.exact
    np.testing.assert_allclose(found.value, dense, rtol=1e-8)


def test_noise_without_damping_is_the_closed_form():
    quadratic, rate = Quadratic(POSITIVE), 0.4
    factor, values = SCALE / (2 * BATCH) * rate**2, quadratic.values
    for name, trace in (("newton", len(values)), ("gradient-norm-ngd", values.sum()), ("gd", np.sum(values**2))):
        np.testing.assert_allclose(
            step_of(quadratic, name, 0.0, None).noise(rate, model_of(quadratic)).value, factor * trace, rtol=1e-8
        )


@pytest.mark.parametrize("clip", [None, 0.01, 0.2, 30.0])
def test_noise_of_the_eigenbasis_step_is_the_integral_over_the_gaussian(clip):
    quadratic, damping, expected = Quadratic(INDEFINITE, seed=5), 0.05, 0.0
    for value, mean in zip(quadratic.values, quadratic.components, strict=True):
        deviation, metric = np.sqrt(SCALE * abs(value) / BATCH), abs(value) + damping
        if value == 0.0:
            continue

        def moved(z, mean=mean, deviation=deviation, metric=metric):
            g = mean + deviation * z
            if clip is None:
                return np.sign(g) / np.sqrt(metric)
            return np.clip(g / metric, -clip / np.sqrt(metric), clip / np.sqrt(metric))

        edges = [0.0] if clip is None else [-clip * np.sqrt(metric), clip * np.sqrt(metric)]
        corners = sorted({float(np.clip((edge - mean) / deviation, -12.0, 12.0)) for edge in edges} | {-12.0, 12.0})
        moments = [
            sum(
                integrate.quad(lambda z, p=power: moved(z) ** p * stats.norm.pdf(z), low, high, epsabs=1e-13)[0]
                for low, high in itertools.pairwise(corners)
            )
            for power in (1, 2)
        ]
        expected += 0.5 * value * (moments[1] - moments[0] ** 2)
    found = step_of(quadratic, "eigenbasis-ngd", damping, clip).noise(1.0, model_of(quadratic))
    assert found.exact
    np.testing.assert_allclose(found.value, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "clip"), [("newton", None), ("gd", None), ("eigenbasis-ngd", None), (CLIPPED[2], 0.3)]
)
def test_noise_is_what_draws_of_mini_batch_gradients_cost(name, clip):
    quadratic, damping, rate = Quadratic(POSITIVE, rotated=False, seed=6), 0.05, 0.5
    rng, steps = np.random.default_rng(7), []
    for _ in range(4000):
        noise = rng.standard_normal(quadratic.size) * np.sqrt(SCALE * quadratic.values / BATCH)
        drawn = Quadratic(quadratic.values, rotated=False, gradient=quadratic.components + noise)
        steps.append(rate * drawn.step(name, damping, clip))
    spread = np.array(steps) - np.mean(steps, axis=0)
    costs = 0.5 * np.einsum("bi,i,bi->b", spread, quadratic.values, spread)
    found = step_of(quadratic, name, damping, clip).noise(rate, model_of(quadratic)).value
    assert abs(found - costs.mean()) < 4.5 * costs.std() / np.sqrt(len(costs))


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_from_the_square_alone_the_noise_is_enclosed(clip, seed):
    rng = np.random.default_rng(seed)
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -9.0], rng.uniform(-0.2, 1.0, 60)]), seed=seed)
    space = krylov_space(quadratic.operator, quadratic.start, steps=20, memory=MEMORY).quadrature
    squared = float(np.sum(quadratic.values**2))
    trace = enclosed_trace(space, Estimate(squared, 0.99 * squared, 1.02 * squared))
    model = NoiseModel(Estimate(SCALE, 0.6, 0.8), BATCH, trace)
    names = [name for name in NAMES if name != "normalized-ngd"]  # whose length the run knows with an error
    for name in names:
        # The step of the run, so that what is enclosed is the trace alone.
        true = step_of(quadratic, name, 0.05, clip).noise(0.2, model_of(quadratic)).value
        steps = closed_steps(space, damping=0.05, clip=clip)
        steps["eigenbasis-ngd"] = eigenbasis_step(space, damping=0.05, clip=clip, trace=trace)
        found = steps[name].noise(0.2, model)
        assert not found.exact
        assert found.low <= true <= found.high
    gd = closed_steps(space, damping=0.05)["gd"].noise(0.2, NoiseModel(Estimate.exactly(SCALE), BATCH, trace))
    np.testing.assert_allclose(gd.value, SCALE / (2 * BATCH) * 0.04 * squared, rtol=1e-8)


def test_an_enclosure_by_the_square_makes_that_of_the_eigenbasis_step_narrower():
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -9.0], np.linspace(-0.002, 0.001, 80)]))
    space = krylov_space(quadratic.operator, quadratic.start, steps=8, memory=MEMORY).quadrature
    trace = enclosed_trace(space, Estimate.exactly(float(np.sum(quadratic.values**2))))
    wide, narrow = (eigenbasis_step(space, damping=0.05, trace=own).norm(1.0) for own in (None, trace))
    assert narrow.half_width < 0.2 * wide.half_width
    true = step_of(quadratic, "eigenbasis-ngd", 0.05, None).norm(1.0).value
    assert narrow.low <= true <= narrow.high


def test_noise_of_natural_gradient_descent_is_the_dense_trace_of_both_matrices():
    first, second, damping = Quadratic(POSITIVE, seed=1), Quadratic(POSITIVE[::-1] * 2, seed=2), 0.1
    inverse = np.linalg.inv(second.matrix + damping * np.eye(first.size))
    pair = np.linalg.eigvals(inverse @ first.matrix).real
    dense = 0.5 * 0.3**2 * SCALE / BATCH * np.trace(first.matrix @ inverse @ first.matrix @ inverse)
    along = StepAlong(np.ones(1), np.ones(1), "exact")
    step = natural_step(first.quadrature(), along, damping=damping, pair=pair)
    np.testing.assert_allclose(step.noise(0.3, model_of(first)).value, dense, rtol=1e-8)
    alone = natural_step(first.quadrature(), along, damping=damping)
    of_f = SCALE / (2 * BATCH) * np.sum((second.values / (second.values + damping)) ** 2)
    np.testing.assert_allclose(alone.noise(1.0, model_of(second)).value, of_f, rtol=1e-8)


def test_a_cut_gaussian_in_all_its_limits():
    means, ones = np.array([0.0, 0.5, -3.0, 1e6]), np.ones(4)
    np.testing.assert_allclose(clipped_variance(means, ones, 1e9 * ones), ones, rtol=1e-6)
    np.testing.assert_allclose(clipped_variance(means, 0 * ones, ones), 0.0)
    shares = stats.norm.cdf(means)
    np.testing.assert_allclose(
        clipped_variance(means, ones, 1e-7 * ones) / 1e-14, 4 * shares * (1 - shares), atol=1e-6
    )
    assert np.isfinite(clipped_variance(means, 1e-200 * ones, ones)).all()
    at_the_seam = [clipped_variance(means, ones, (1 + shift) * ones) for shift in (-1e-12, 1e-12)]
    np.testing.assert_allclose(*at_the_seam, rtol=1e-9, atol=1e-12)


def test_what_is_not_known_stays_unknown_with_its_reason():
    unknown = Estimate.unknown("there was no data")
    quadratic = Quadratic(POSITIVE)
    for name in NAMES:
        model = NoiseModel(unknown, BATCH, formed_trace(quadratic.values))
        assert step_of(quadratic, name, 0.1, None).noise(1.0, model).reason == "there was no data"
    assert times(Estimate(2.0, 1.0, None), Estimate(3.0, 2.0, 4.0)) == Estimate(6.0, 2.0, None)
    space = krylov_space(quadratic.operator, quadratic.start, steps=5, memory=MEMORY).quadrature
    assert enclosed_trace(space, unknown)(np.square).reason == "there was no data"
