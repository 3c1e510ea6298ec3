"""What mini-batch noise adds to steps that are functions of H: dense traces, closed forms, draws, enclosures."""

import numpy as np
import pytest
from quadratics import CLIPPED, INDEFINITE, NAMES, POSITIVE, Quadratic

from hessent.eigensolver.gradient_space import krylov_space
from hessent.estimate import Estimate
from hessent.measures.closed_steps import closed_steps
from hessent.measures.eigenbasis_step import eigenbasis_step
from hessent.measures.natural_step import NO_RUNS, natural_step
from hessent.measures.step_noise import StepNoise, enclosed_trace, form_of_runs, form_of_samples, times

BATCH, MEMORY = 16, 10**8
LINEAR = [*((name, None) for name in NAMES if name != "eigenbasis-ngd"), *((n, 0.2) for n in CLIPPED[:2])]


def step_of(quadratic, name, damping, clip):
    space = quadratic.quadrature()
    found = closed_steps(space, damping=damping, clip=clip)
    return found[name] if name in found else eigenbasis_step(space, damping=damping, clip=clip)


def samples_of(quadratic, root):
    """Deviations g_i − g whose mean square is root·rootᵀ, and the same along the sorted eigenvectors."""
    deviations = np.sqrt(2 * root.shape[1]) * np.concatenate([root.T, -root.T]) / np.sqrt(2)
    order = np.argsort(quadratic.values)
    return deviations, deviations @ quadratic.vectors[:, order]


def noise_of(quadratic, root, whole=True):
    _, along = samples_of(quadratic, root)
    form = form_of_samples(np.sort(quadratic.values), along, BATCH, whole=whole)
    return StepNoise(form, np.zeros((0, quadratic.size)))


@pytest.mark.parametrize(("name", "clip"), LINEAR)
@pytest.mark.parametrize("values", [POSITIVE, INDEFINITE], ids=["convex", "indefinite"])
def test_noise_of_a_linear_step_is_the_trace_of_dense_matrices(name, clip, values):
    quadratic, rate, damping = Quadratic(values, seed=4), 0.3, 0.05
    # The matrix A of the step, its normalisation held: what it makes of a gradient with ones along all directions.
    ratio = step_of(quadratic, name, damping, clip).moves / quadratic.quadrature().components
    vectors = quadratic.vectors[:, np.argsort(quadratic.values)]
    matrix = rate * (vectors * ratio) @ vectors.T
    root = np.random.default_rng(9).standard_normal((quadratic.size, 5))
    dense = 0.5 * np.trace(quadratic.matrix @ matrix @ (root @ root.T / BATCH) @ matrix.T)
    np.testing.assert_allclose(matrix @ quadratic.gradient, rate * quadratic.step(name, damping, clip), atol=1e-10)
    found = step_of(quadratic, name, damping, clip).noise(rate, noise_of(quadratic, root))
    assert found.exact
    np.testing.assert_allclose(found.value, dense, rtol=1e-8)


def test_where_the_covariance_is_a_multiple_of_the_hessian_the_noise_is_the_closed_form():
    quadratic, rate, scale = Quadratic(POSITIVE), 0.4, 0.7
    noise = noise_of(quadratic, quadratic.vectors * np.sqrt(scale * quadratic.values))
    factor, values = scale / (2 * BATCH) * rate**2, quadratic.values
    for name, trace in (("newton", len(values)), ("gradient-norm-ngd", values.sum()), ("gd", np.sum(values**2))):
        found = step_of(quadratic, name, 0.0, None).noise(rate, noise)
        np.testing.assert_allclose(found.value, factor * trace, rtol=1e-8)


def test_some_samples_tell_the_noise_with_an_interval():
    quadratic = Quadratic(POSITIVE, seed=2)
    root = quadratic.vectors * np.sqrt(quadratic.values)
    whole, some = (step_of(quadratic, "newton", 0.1, None).noise(1.0, noise_of(quadratic, root, w)) for w in (1, 0))
    assert some.value == pytest.approx(whole.value)
    assert some.low < whole.value < some.high
    assert not some.exact


def drawn(quadratic, count, seed):
    """Gradients of mini-batches along the sorted eigenvectors, (K, n), and as vectors."""
    order = np.argsort(quadratic.values)
    noise = np.random.default_rng(seed).standard_normal((count, quadratic.size))
    along = quadratic.components[order] + 0.3 * noise * np.sqrt(np.abs(quadratic.values[order]))
    return along, along @ quadratic.vectors[:, order].T


@pytest.mark.parametrize("clip", [None, 0.01, 0.3, 30.0])
def test_noise_of_the_eigenbasis_step_is_what_its_steps_by_mini_batches_cost(clip):
    quadratic, damping, rate = Quadratic(INDEFINITE, seed=5), 0.05, 0.5
    along, gradients = drawn(quadratic, 12, 7)
    steps = []
    for gradient in gradients:
        own = Quadratic(INDEFINITE, seed=5)
        own.components = own.vectors.T @ gradient
        steps.append(rate * own.step("eigenbasis-ngd", damping, clip))
    spread = np.array(steps) - np.mean(steps, axis=0)
    costs = 0.5 * np.einsum("bi,ij,bj->b", spread, quadratic.matrix, spread)
    noise = StepNoise(noise_of(quadratic, np.eye(quadratic.size)).form, along)
    found = step_of(quadratic, "eigenbasis-ngd", damping, clip).noise(rate, noise)
    np.testing.assert_allclose(found.value, costs.sum() / 11, rtol=1e-8, atol=1e-12)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_what_a_run_does_not_see_of_the_eigenbasis_noise_is_bounded(clip, seed):
    rng = np.random.default_rng(seed)
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -9.0], rng.uniform(-0.2, 1.0, 60)]), seed=seed)
    space = krylov_space(quadratic.operator, quadratic.start, steps=20, memory=MEMORY)
    _, gradients = drawn(quadratic, 200, seed)
    along = np.array([space.moves_of(quadratic.start.new_tensor(own)) for own in gradients])
    trace = enclosed_trace(space.quadrature, Estimate.exactly(float(np.sum(quadratic.values**2))))
    found = eigenbasis_step(space.quadrature, damping=0.05, clip=clip, trace=trace).noise(
        0.2, StepNoise(form_of_runs(list), along)
    )
    order = np.argsort(quadratic.values)
    whole = StepNoise(form_of_runs(list), gradients @ quadratic.vectors[:, order])
    true = step_of(quadratic, "eigenbasis-ngd", 0.05, clip).noise(0.2, whole).value
    assert found.low <= true <= found.high


def test_runs_from_the_noise_of_mini_batches_tell_its_forms():
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -3.0], np.linspace(-0.1, 1.0, 80)]), seed=3)
    _, gradients = drawn(quadratic, 16, 1)
    starts = [quadratic.start.new_tensor(own - quadratic.gradient) for own in gradients]
    runs = [krylov_space(quadratic.operator, own, steps=20, memory=MEMORY).quadrature for own in starts]
    noise = StepNoise(form_of_runs(lambda: runs), np.zeros((0, 20)))
    mean = np.mean([np.square(quadratic.vectors.T @ own.numpy()) for own in starts], axis=0)
    for name, power in (("newton", 2), ("gradient-norm-ngd", 1), ("gd", 0)):
        exact = 0.5 * float(mean @ (quadratic.values / (np.abs(quadratic.values) + 0.05) ** power))
        found = step_of(quadratic, name, 0.05, None).noise(1.0, noise)
        assert found.value == pytest.approx(exact, rel=0.02)
        assert found.low < exact < found.high
    nothing = form_of_runs(lambda: [None] * 6)
    assert nothing(np.square).value == 0.0


def test_an_enclosure_by_the_square_makes_that_of_the_eigenbasis_step_narrower():
    quadratic = Quadratic(np.concatenate([[40.0, 25.0, -9.0], np.linspace(-0.002, 0.001, 80)]))
    space = krylov_space(quadratic.operator, quadratic.start, steps=8, memory=MEMORY).quadrature
    trace = enclosed_trace(space, Estimate.exactly(float(np.sum(quadratic.values**2))))
    wide, narrow = (eigenbasis_step(space, damping=0.05, trace=own).norm(1.0) for own in (None, trace))
    assert narrow.half_width < 0.2 * wide.half_width
    true = step_of(quadratic, "eigenbasis-ngd", 0.05, None).norm(1.0).value
    assert narrow.low <= true <= narrow.high


def test_what_is_not_known_stays_unknown_with_its_reason():
    unknown = Estimate.unknown("there was no data")
    assert times(unknown, 2.0).reason == "there was no data"
    assert times(Estimate(2.0, 1.0, None), 3.0) == Estimate(6.0, 3.0, None)
    assert times(Estimate.exactly(2.0), 3.0).exact
    quadratic = Quadratic(POSITIVE)
    space = krylov_space(quadratic.operator, quadratic.start, steps=5, memory=MEMORY).quadrature
    assert enclosed_trace(space, unknown)(np.square).reason == "there was no data"
    newton = step_of(quadratic, "newton", 0.1, None)
    natural = natural_step(quadratic.quadrature(), newton.along)
    assert natural.noise(1.0, noise_of(quadratic, np.eye(quadratic.size))).reason == NO_RUNS
