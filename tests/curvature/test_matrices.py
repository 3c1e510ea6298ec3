"""ggn, fisher and empirical-fisher against their definitions, by dense autograd in float64."""

from __future__ import annotations

import functools

import pytest
import torch
from cases import cases, columns_of, seeded
from engine_models import kinds, settled
from torch import nn
from torch.func import functional_call, jacrev

from hessent.curvature.blocks import FULL, Block, resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.catalogue import engine_kind
from hessent.curvature.matrices.drawn_targets import DrawnTargets
from hessent.curvature.matrices.kinds import CURVATURES, resolve_curvature
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import check_derivative
from hessent.errors import UsageError
from hessent.pipeline import request

CASES = {case.name: case for case in cases()}
WHOLE, RAGGED, SINGLE = (9,), (4, 4, 1), (1,) * 9
KINDS = kinds()
NOT_HESSIAN = ("ggn", "fisher", "empirical-fisher")


class Items:
    """Every item of a case: its outputs' Jacobian (m, n), its outputs (m,) and its target."""

    def __init__(self, case):
        model = seeded(case.model)
        named = {name: parameter.detach() for name, parameter in model.named_parameters()}
        x = case.inputs.double() if case.inputs.is_floating_point() else case.inputs

        def outputs(values):
            with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
                return functional_call(model, values, (x,), tie_weights=True)

        f, J = outputs(named).detach(), jacrev(outputs)(named)
        J = torch.cat([J[name].reshape(*f.shape, -1) for name in named], dim=-1)
        if case.loss == "next-token":
            kept = case.targets.flatten() >= 0
            f, J = f.flatten(0, 1)[kept], J.flatten(0, 1)[kept]
            self.targets = case.targets.flatten()[kept]
        else:
            self.targets = case.targets
        self.outputs, self.jacobians = f, J
        self.regression = case.loss == "mse"

    def loss(self, output, target):
        if self.regression:
            return (output - target).square().mean()
        return nn.functional.cross_entropy(output[None], target[None])

    def mean(self, matrix_of):
        """(1/N) Σ Jᵀ M J with M = matrix_of(output, target)."""
        total = 0
        for f, J, y in zip(self.outputs, self.jacobians, self.targets, strict=True):
            total = total + J.T @ matrix_of(f, y.double() if self.regression else y) @ J
        return total / len(self.outputs)

    def ggn(self):
        return self.mean(lambda f, y: jacrev(jacrev(lambda output: self.loss(output, y)))(f))

    def fisher(self):
        if self.regression:  # −log N(y; f, σ²) is the loss where σ² is half the number of outputs
            variance = self.outputs.shape[1] / 2
            return self.mean(lambda f, _: torch.eye(len(f)).double() / variance)

        def expected(f, _):
            scores = [jacrev(lambda z, y=y: z.log_softmax(0)[y])(f) for y in range(len(f))]
            return sum(p * torch.outer(s, s) for p, s in zip(f.softmax(0), scores, strict=True))

        return self.mean(expected)

    def empirical_fisher(self):
        def outer(f, y):
            g = jacrev(lambda output: self.loss(output, y))(f)
            return torch.outer(g, g)

        return self.mean(outer)


@functools.cache
def dense(name, curvature):
    items = Items(CASES[name])
    return {"ggn": items.ggn, "fisher": items.fisher, "empirical-fisher": items.empirical_fisher}[curvature]()


def problem_of(name, curvature, sizes=RAGGED, dtype=torch.float64, **options):
    case = CASES[name]
    problem = Problem(seeded(case.model), case.loss, case.batches(*sizes), dtype=dtype)
    problem = problem.with_curvature(resolve_curvature(curvature, **options))
    problem.measure_loss()
    return problem


def multiplied(problem, V, engine="retained", num_groups=1):
    served = HessianEngine(problem, memory=2**30, engine=engine, num_groups=num_groups)
    block = Block(FULL, tuple(problem.parameters), problem.num_params)
    return served.operator(block).product(V)


def whole_matrix(problem):
    return multiplied(problem, torch.eye(problem.num_params, dtype=torch.float64)).total


def some_columns(problem, number=6):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(problem.num_params, number, generator=generator, dtype=torch.float64)


def relative(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("curvature", NOT_HESSIAN)
@pytest.mark.parametrize("sizes", [WHOLE, RAGGED, SINGLE], ids=["whole", "ragged", "single"])
@pytest.mark.parametrize("name", CASES)
def test_every_block_agrees_with_the_definition(name, sizes, curvature):
    matrix, problem = dense(name, curvature), problem_of(name, curvature, sizes)
    served = HessianEngine(problem, memory=2**30, engine="retained")
    generator = torch.Generator().manual_seed(0)
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer", "parameter"], full=True)
    requests = [(block, torch.randn(block.size, 2, generator=generator, dtype=torch.float64)) for block in blocks]
    for (block, V), found in zip(requests, served.products(requests), strict=True):
        rows = columns_of(problem.model, block.parameters)
        expected = matrix[rows][:, rows] @ V
        assert float((found.total - expected).norm()) <= 1e-10 * float(matrix.norm() * V.norm()), block.name


@pytest.mark.parametrize("curvature", NOT_HESSIAN)
@pytest.mark.parametrize("engine", ["lockstep", "batched", "forward", "linearized"])
@pytest.mark.parametrize("name", CASES)
def test_every_engine_multiplies_with_the_same_matrix(name, engine, curvature):
    problem = problem_of(name, curvature)
    V = some_columns(problem)
    assert relative(multiplied(problem, V, engine).total, dense(name, curvature) @ V) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_the_groups_of_the_data_add_up(name):
    problem = problem_of(name, "ggn")
    served = HessianEngine(problem, memory=2**30, engine="retained", num_groups=3)
    product = multiplied(problem, some_columns(problem), num_groups=3)
    shares = torch.as_tensor(served.group_items).double() / problem.num_items
    assert relative((shares[:, None, None] * product.groups).sum(0), product.total) < 1e-10


@pytest.mark.parametrize("name", ["convolution+batchnorm", "gpt, tied head, ignored tokens", "mlp, mse"])
def test_the_exact_fisher_is_the_gauss_newton_matrix_of_a_likelihood(name):
    fisher, ggn = problem_of(name, "fisher"), problem_of(name, "ggn")
    V = some_columns(fisher)
    assert relative(multiplied(fisher, V).total, multiplied(ggn, V).total) < 1e-10


@pytest.mark.parametrize("curvature", NOT_HESSIAN)
@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.gradient_is_cut])
def test_every_kind_of_layer_passes_the_check_by_differences_of_outputs(kind, curvature):
    kind = KINDS[kind]
    problem = Problem(settled(kind), kind.loss, [(kind.inputs, kind.targets)], dtype=torch.float64)
    if curvature == "fisher" and not isinstance(kind.loss, str):
        pytest.skip("a loss without a distribution")
    found = check_derivative(problem.with_curvature(resolve_curvature(curvature)), torch.Generator().manual_seed(0))
    assert found < 1e-5


def test_the_check_sees_a_wrong_matrix(monkeypatch):
    problem = problem_of("mlp, mse", "ggn")
    objective = type(problem.curvature).objective
    monkeypatch.setattr(type(problem.curvature), "objective", lambda *args: 1.01 * objective(*args))
    assert check_derivative(problem, torch.Generator().manual_seed(0)) > 5e-3


@pytest.mark.parametrize("loss", ["cross-entropy", "cross-entropy?label_smoothing=0.2"])
def test_of_a_linear_model_the_gauss_newton_matrix_is_the_hessian(loss):
    model, x, y = nn.Linear(5, 4).double(), torch.randn(7, 5).double(), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    problem = Problem(model, loss, [(x[:5], y[:5]), (x[5:], y[5:])], dtype=torch.float64)
    problem.measure_loss()
    ggn = problem.with_curvature(resolve_curvature("ggn"))
    assert relative(whole_matrix(ggn), whole_matrix(problem)) < 1e-10


@pytest.mark.parametrize("vocabulary", [5, 257])  # few classes have a closed form, many go by the loss itself
@pytest.mark.parametrize("curvature", NOT_HESSIAN)
def test_small_and_large_vocabularies(vocabulary, curvature, monkeypatch):
    monkeypatch.setattr("hessent.curvature.cross_entropy._SMALL", 0)
    torch.manual_seed(0)
    model, x = nn.Linear(2, vocabulary).double(), torch.randn(3, 4, 2).double()
    targets = torch.randint(0, vocabulary, (3, 4))
    targets[1, 2] = -1
    problem = Problem(model, "next-token", [(x[:2], targets[:2]), (x[2:], targets[2:])], dtype=torch.float64)
    problem.measure_loss()
    kept = targets.flatten() >= 0
    p, a = model(x).detach().softmax(-1).flatten(0, 1)[kept], x.flatten(0, 1)[kept]
    if curvature == "empirical-fisher":
        r = p - nn.functional.one_hot(targets.flatten()[kept], vocabulary)
        M = torch.einsum("nc,nd->ncd", r, r)
    else:
        M = torch.diag_embed(p) - torch.einsum("nc,nd->ncd", p, p)
    b = torch.cat([a, torch.ones(len(a), 1).double()], 1)
    expected = torch.einsum("ncd,ni,nj->cidj", M, b, b) / len(a)
    matrix = whole_matrix(problem.with_curvature(resolve_curvature(curvature)))
    order = [c * 2 + i if i < 2 else 2 * vocabulary + c for c in range(vocabulary) for i in range(3)]
    assert relative(matrix[order][:, order], expected.reshape(3 * vocabulary, -1)) < 1e-10


def test_the_bernoulli_example():
    """One logit z against a fixed 0: the Fisher information of a Bernoulli variable in its logit is σ(1 − σ)."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(0.7)

    class WithZero(nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = model

        def forward(self, x):
            z = self.logit(x)
            return torch.cat([torch.zeros_like(z), z], 1)

    x, y = torch.ones(4, 1).double(), torch.tensor([0, 1, 1, 1])
    problem = Problem(WithZero(), "cross-entropy", [(x, y)], dtype=torch.float64)
    problem.measure_loss()
    sigma = float(torch.sigmoid(torch.tensor(0.7)).double())
    found = {
        curvature: float(whole_matrix(problem.with_curvature(resolve_curvature(curvature))))
        for curvature in NOT_HESSIAN
    }
    assert found["fisher"] == pytest.approx(sigma * (1 - sigma), rel=1e-6)
    assert found["ggn"] == pytest.approx(sigma * (1 - sigma), rel=1e-6)
    assert found["empirical-fisher"] == pytest.approx((sigma**2 + 3 * (1 - sigma) ** 2) / 4, rel=1e-6)


def test_a_convex_function_of_the_users_own():
    def huber(outputs, targets):
        return nn.functional.huber_loss(outputs, targets)

    torch.manual_seed(1)
    model, x, y = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(6, 3), torch.randn(6, 2)
    problem = Problem(model, huber, [(x[:4], y[:4]), (x[4:], y[4:])], dtype=torch.float64)
    problem.measure_loss()
    named = {name: p.detach().double() for name, p in model.named_parameters()}
    outputs = functional_call(problem.model, named, (x.double(),)).detach()
    J = jacrev(lambda values: functional_call(problem.model, values, (x.double(),)))(named)
    J = torch.cat([J[name].reshape(6, 2, -1) for name in named], dim=-1)
    inside = ((outputs - y).abs() < 1).double() / 2  # mean over the two outputs
    expected = torch.einsum("nca,nc,ncb->ab", J, inside, J) / 6
    assert relative(whole_matrix(problem.with_curvature(resolve_curvature("ggn"))), expected) < 1e-10
    with pytest.raises(UsageError, match="distribution"):
        whole_matrix(problem.with_curvature(resolve_curvature("fisher")))


@pytest.mark.parametrize("name", ["convolution+batchnorm", "gpt, tied head, ignored tokens", "mlp, mse"])
class TestSampledFisher:
    def product(self, name, sizes=RAGGED, engine="retained", **options):
        problem = problem_of(name, "fisher", sizes, **options)
        return multiplied(problem, some_columns(problem), engine).total

    def test_it_is_the_mean_of_what_is_drawn(self, name):
        problem = problem_of(name, "fisher")
        exact = dense(name, "fisher") @ some_columns(problem)
        errors = [relative(self.product(name, fisher_samples=draws, seed=2), exact) for draws in (4, 1600)]
        assert errors[1] < 0.1
        assert errors[0] / errors[1] == pytest.approx(20, rel=0.6)  # the error falls with the root of the draws

    def test_the_cut_into_micro_batches_changes_nothing(self, name):
        ragged, single = (self.product(name, sizes, fisher_samples=2, seed=1) for sizes in (RAGGED, SINGLE))
        assert relative(ragged, single) < 1e-10

    def test_every_engine_agrees(self, name):
        expected = self.product(name, fisher_samples=2, seed=1)
        for engine in ("batched", "forward", "linearized"):
            assert relative(self.product(name, engine=engine, fisher_samples=2, seed=1), expected) < 1e-10

    def test_another_seed_draws_others(self, name):
        one, other = (self.product(name, fisher_samples=2, seed=seed) for seed in (1, 2))
        assert relative(one, other) > 1e-3


def test_draws_belong_to_samples_and_are_uniform():
    batches = [(torch.zeros(3, 1), torch.zeros(3, 5)), (torch.zeros(2, 1), torch.zeros(2, 5))]
    cut = torch.cat([targets["draws"] for _, targets in DrawnTargets(batches, 3, seed=4)])
    whole = next(iter(DrawnTargets([(torch.zeros(5, 1), torch.zeros(5, 5))], 3, seed=4)))[1]["draws"]
    assert cut.shape == (5, 5, 3)
    assert torch.equal(cut, whole)
    assert len(cut.unique()) == cut.numel()
    many = next(iter(DrawnTargets([(torch.zeros(50, 1), torch.zeros(50))], 400, seed=0)))[1]["draws"]
    assert float(many.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(many.var()) == pytest.approx(1 / 12, abs=0.003)


def test_a_sample_fitted_to_the_last_digit_keeps_its_curvature_in_float32():
    """p of the target is 1 in float32, but its curvature is e^-20 times a few."""
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[20.0, 0.0], [0.0, 1.0], [0.5, 0.0]]))
    x, y = torch.tensor([[1.0, 0.3]]), torch.tensor([0])
    for curvature in NOT_HESSIAN:
        single, double = (
            Problem(model, "cross-entropy", [(x, y)], dtype=dtype).with_curvature(resolve_curvature(curvature))
            for dtype in (torch.float32, torch.float64)
        )
        for problem in (single, double):
            problem.measure_loss()
        assert relative(whole_matrix(single), whole_matrix(double)) < 1e-5


def test_names():
    assert request.CURVATURES[: len(CURVATURES)] == CURVATURES
    with pytest.raises(UsageError, match="--curvature"):
        resolve_curvature("hesian")
    with pytest.raises(UsageError, match="fisher-samples"):
        resolve_curvature("ggn", fisher_samples=3)
    assert engine_kind("retained").name == "retained"
    assert not resolve_curvature("hessian").semidefinite
    assert all(resolve_curvature(name).semidefinite for name in NOT_HESSIAN)
