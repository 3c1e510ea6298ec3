"""The noise of mini-batches against the covariance of single gradients, and the interval of a skewed mean."""

import math

import numpy as np
import pytest
import torch
from small_run import trained_mlp
from torch.nn import functional

from hessent.arch.registry import build
from hessent.checkpoint.reader import open_checkpoint
from hessent.eigensolver.gradient_space import formed_space, krylov_space
from hessent.estimate import Estimate
from hessent.measures.closed_steps import inverse
from hessent.measures.skewed_mean import skewed_mean
from hessent.optimizers.steps.explicit_step import ExplicitStep
from hessent.pipeline.observer import Silent
from hessent.pipeline.prepare import prepare
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.step.closed_noise import ClosedNoise
from hessent.pipeline.step.noise import MiniBatchNoise, SampleNoise
from hessent.pipeline.step.situation import StepSituation
from hessent.pipeline.step.traces import SpectrumSums, noise_scale

BATCHES, SIZE = 16, 8


@pytest.fixture(scope="module")
def situation():
    request = SpectrumRequest(str(trained_mlp()), dtype="float64")
    return StepSituation(prepare(request), Silent())


@pytest.fixture(scope="module")
def dense(situation):
    """Gradients of single samples (N, n) and the Hessian (n, n), by torch's own functions."""
    model = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test").model
    model.load_state_dict(dict(open_checkpoint(str(trained_mlp())).load().tensors))
    model = model.double()
    names = list(situation.problem.parameters)
    flat = torch.cat([dict(model.named_parameters())[name].detach().reshape(-1) for name in names])
    shapes = [dict(model.named_parameters())[name].shape for name in names]
    pairs = list(situation.prepared.stream)
    inputs, targets = (torch.cat([pair[place] for pair in pairs]) for place in (0, 1))
    inputs = inputs.double()

    def losses(vector):
        pieces = vector.split([math.prod(shape) for shape in shapes])
        named = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        outputs = torch.func.functional_call(model, named, (inputs,))
        return functional.cross_entropy(outputs, targets, reduction="none")

    flat.requires_grad_()
    each = losses(flat)
    singles = torch.stack([torch.autograd.grad(loss, flat, retain_graph=True)[0] for loss in each])
    (slope,) = torch.autograd.grad(each.mean(), flat, create_graph=True)
    rows = [torch.autograd.grad(entry, flat, retain_graph=True)[0] for entry in slope]
    return singles, torch.stack(rows)


def diagonal_step(situation, weights):
    """A step d = −w ∘ g of some weights by parameter."""

    def apply(gradient):
        return {name: -weights[name] * value for name, value in gradient.items()}

    return ExplicitStep("adam", "rebuilt", "", apply(situation.gradient), apply=apply, linear=True, metric=None)


def sign_step(situation):
    def apply(gradient):
        return {name: -value.sign() for name, value in gradient.items()}

    return ExplicitStep("sign-gd", "closed-form", "", apply(situation.gradient), apply=apply, linear=False)


def covers(estimate, truth):
    return estimate.low <= truth <= estimate.high


def of_seeds(situation, monkeypatch, function, seeds=12):
    found = []
    for seed in range(seeds):
        monkeypatch.setattr(StepSituation, "seed", property(lambda self, seed=seed: seed))
        found.append(function(MiniBatchNoise(situation, BATCHES, SIZE)))
    return found


def test_linear_steps_have_the_noise_of_the_exact_covariance(situation, dense, monkeypatch):
    singles, hessian = dense
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.rand(value.shape, generator=generator, dtype=torch.float64) ** 4
        for name, value in situation.gradient.items()
    }
    step, flat = diagonal_step(situation, weights), situation.flat(weights)
    deviations = (singles - singles.mean(dim=0)) * flat
    truth = float((deviations * (deviations @ hessian)).sum() / len(singles)) / (2 * SIZE)
    found = of_seeds(situation, monkeypatch, lambda noise: noise.of_step(step))
    assert sum(covers(one, truth) for one in found) >= 10
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.25)
    ones = {name: torch.ones_like(value) for name, value in weights.items()}
    noise = MiniBatchNoise(situation, BATCHES, SIZE)
    assert noise.of_gradient.value == pytest.approx(noise.of_step(diagonal_step(situation, ones)).value, rel=1e-9)


def test_the_sign_has_the_variance_of_many_mini_batches(situation, dense, monkeypatch):
    singles, hessian = dense
    random = torch.Generator().manual_seed(5)
    drawn = torch.randint(len(singles), (4000, SIZE), generator=random)
    signs = -singles[drawn].mean(dim=1).sign()
    signs = signs - signs.mean(dim=0)
    truth = float(0.5 * (signs * (signs @ hessian)).sum() / (len(signs) - 1))
    found = of_seeds(situation, monkeypatch, lambda noise: noise.of_step(sign_step(situation)))
    assert sum(covers(one, truth) for one in found) >= 10
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.15)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_functions_of_the_hessian_have_the_noise_of_the_exact_covariance(situation, dense, monkeypatch, power):
    singles, hessian = dense
    values, vectors = (part.numpy() for part in torch.linalg.eigh(hessian))
    along = (singles - singles.mean(dim=0)).numpy() @ vectors
    function = inverse(1e-3 * np.abs(values).max(), power)
    truth = float((np.square(along).mean(axis=0) * values * function(values) ** 2).sum()) / (2 * SIZE)
    gradient = situation.flat(situation.gradient)
    samples = SampleNoise(situation, keep=True)
    formed = formed_space(situation.operator, gradient)
    found = ClosedNoise(situation, formed, MiniBatchNoise(situation, 4, SIZE), samples).of_steps
    assert found.linear(1.0, function).exact
    assert found.linear(1.0, function).value == pytest.approx(truth, rel=1e-6)
    run = krylov_space(situation.operator, gradient, steps=40, memory=2**30)
    sampled = of_seeds(
        situation,
        monkeypatch,
        lambda noise: ClosedNoise(situation, run, noise, SampleNoise(situation, keep=False)).of_steps.linear(
            1.0, function
        ),
        seeds=6,
    )
    assert all(covers(own, truth) for own in sampled)
    assert np.mean([own.value for own in sampled]) == pytest.approx(truth, rel=0.4)


def test_natural_gradient_descent_has_the_noise_of_dense_matrices(situation, dense):
    singles, hessian = dense
    fisher = formed_space(situation.fisher(), situation.flat(situation.gradient))
    damping = 1e-3 * float(np.abs(fisher.values).max())
    vectors = fisher.vectors(np.arange(fisher.size))
    inverted = (vectors / torch.as_tensor(fisher.values + damping)) @ vectors.T
    deviations = singles - singles.mean(dim=0)
    moved = deviations @ inverted
    truth = float((moved * (moved @ hessian)).sum() / len(singles)) / (2 * SIZE)
    space = formed_space(situation.operator, situation.flat(situation.gradient))
    noise = ClosedNoise(situation, space, MiniBatchNoise(situation, 4, SIZE), SampleNoise(situation, keep=True))
    assert noise.of_natural(fisher, damping).value == pytest.approx(truth, rel=1e-6)
    unformed = ClosedNoise(situation, space, MiniBatchNoise(situation, 4, SIZE), SampleNoise(situation, keep=False))
    assert "Lanczos run" in unformed.of_natural(fisher, damping).reason


def test_the_trace_of_the_covariance_is_exact_for_few_samples(situation, dense):
    singles, _ = dense
    deviations = singles - singles.mean(dim=0)
    found = SampleNoise(situation, keep=False).covariance
    assert found.exact
    assert found.value == pytest.approx(float(deviations.square().sum() / len(singles)), rel=1e-9)


def test_a_product_after_the_step_is_that_of_the_loss(situation, dense):
    _, hessian = dense
    columns = torch.randn(len(hessian), 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(situation.curved(columns), hessian @ columns, atol=1e-9)
    before = situation.loss_after(torch.zeros(len(hessian), dtype=torch.float64))
    assert before == situation.loss_value
    step = 1e-4 * situation.flat(situation.gradient)
    fall = situation.loss_value - situation.loss_after(-step)
    assert fall == pytest.approx(1e-4 * situation.gradient_norm**2, rel=1e-2)
    assert situation.loss_after(torch.full((len(hessian),), float("inf"), dtype=torch.float64)) is None
    assert situation.loss_after(torch.zeros(len(hessian), dtype=torch.float64)) == before


@pytest.mark.parametrize("count", [8, 16])
def test_the_interval_of_a_mean_of_squares_covers_it(count):
    random = np.random.default_rng(count)
    draws = random.standard_normal((2000, count)) ** 2
    found = [skewed_mean(row) for row in draws]
    assert np.mean([one.low < 1.0 < one.high for one in found]) >= 0.94
    both = [skewed_mean(row) for row in random.standard_normal((2000, count))]
    assert np.mean([one.low < 0.0 < one.high for one in both]) >= 0.94


def test_sums_over_the_spectrum_cover_those_of_all_eigenvalues(situation, dense):
    _, hessian = dense
    values = np.linalg.eigvalsh(hessian.numpy())
    gradient = situation.flat(situation.gradient)
    space = krylov_space(situation.operator, gradient, steps=40, memory=2**30)
    found = SpectrumSums(situation, space, situation.operator)
    assert covers(found.trace, values.sum())
    assert covers(found.squared, np.square(values).sum())
    damping = 1e-3 * np.abs(values).max()
    for function in (lambda x: np.abs(x), lambda x: np.square(x / (np.abs(x) + damping))):
        own = found.over(function)
        assert covers(own, function(values).sum())
        assert own.low <= own.value <= own.high
    whole = SpectrumSums(situation, formed_space(situation.operator, gradient), situation.operator)
    assert whole.trace.exact
    assert whole.over(np.square).value == pytest.approx(np.square(values).sum())


def test_few_draws_have_an_open_interval():
    found = skewed_mean(np.array([1.0, 2.0, 3.0]))
    assert (found.value, found.low, found.high) == (2.0, None, None)


def test_the_scale_of_the_noise_takes_both_at_their_worst():
    found = noise_scale(Estimate(4.0, 3.0, 5.0), Estimate(2.0, 1.0, 4.0))
    assert (found.value, found.low, found.high) == (2.0, 0.75, 5.0)
    assert noise_scale(Estimate.exactly(1.0), Estimate.exactly(-1.0)).value is None
    assert noise_scale(Estimate.exactly(1.0), Estimate(1.0, -1.0, 3.0)).high is None
