"""Products in a metric against dense P^-1/2 H P^-1/2, and Adam's metric against the steps that Adam takes."""

from __future__ import annotations

import functools

import pytest
import torch
from cases import cases, dense_hessian, seeded
from torch import Tensor, nn

import hessent
from hessent.curvature.adam_metric import AdamState, untouched
from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.matrices.kinds import resolve_curvature
from hessent.curvature.metric import Metric
from hessent.curvature.problem import Problem
from hessent.curvature.selfcheck import check_derivative
from hessent.errors import UsageError

CASE = next(case for case in cases() if case.loss == "mse")
RAGGED, SINGLE = (4, 4, 1), (1,) * 9


@functools.cache
def hessian_of(start: int = 0, stop: int = 9) -> Tensor:
    return dense_hessian(seeded(CASE.model), CASE.inputs[start:stop], CASE.targets[start:stop], CASE.mean_loss)[0]


def diagonal() -> dict[str, Tensor]:
    """Positive numbers over four decades."""
    generator = torch.Generator().manual_seed(5)
    named = seeded(CASE.model).named_parameters()
    return {name: 10 ** (4 * torch.rand(p.shape, generator=generator).double() - 3) for name, p in named}


def flat() -> Tensor:
    return torch.cat([values.flatten() for values in diagonal().values()])


def in_metric(matrix: Tensor) -> Tensor:
    root = flat().sqrt()
    return matrix / torch.outer(root, root)


def metric() -> Metric:
    return Metric.of_diagonal("test", "made up", diagonal(), "here")


def problem(cut=RAGGED, dtype=torch.float64) -> Problem:
    made = Problem(seeded(CASE.model), CASE.loss, CASE.batches(*cut), dtype=dtype).with_metric(metric())
    made.measure_loss()
    return made


@pytest.mark.parametrize("cut", [(9,), RAGGED, SINGLE])
@pytest.mark.parametrize(
    ("name", "memory"),
    [("retained", 2**30), ("retained", 0), ("batched", 2**30), ("forward", 2**30), ("linearized", 2**30)],
)
def test_every_engine_multiplies_with_the_matrix_in_the_metric(name, memory, cut):
    engine = HessianEngine(problem(cut), memory=memory, engine=name)
    expected = in_metric(hessian_of())
    blocks = resolve_blocks(engine.problem.model, engine.problem.parameters, ["layer"], full=True)
    place = {name: index for index, name in enumerate(engine.problem.parameters)}
    ends = torch.tensor([0, *(p.numel() for p in engine.problem.parameters.values())]).cumsum(0)
    requests = [(block, torch.eye(block.size, dtype=torch.float64)) for block in blocks]
    for (block, V), product in zip(requests, engine.products(requests), strict=True):
        rows = torch.cat([torch.arange(*ends[place[name] : place[name] + 2].tolist()) for name in block.parameters])
        submatrix = expected[rows][:, rows]
        assert float((product.total - submatrix).norm()) <= 1e-10 * float(submatrix.norm()), block.name
        assert torch.equal(V, torch.eye(block.size, dtype=torch.float64))  # what is multiplied stays as it was


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_parts_of_a_product_are_those_of_the_groups_in_the_metric(dtype):
    engine = HessianEngine(problem(dtype=dtype), memory=2**30, engine="retained", num_groups=3)
    operator = engine.operator(resolve_blocks(engine.problem.model, engine.problem.parameters, [], full=True)[0])
    V = torch.randn(operator.size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    product = operator.product(V)
    tolerance = 1e-10 if dtype is torch.float64 else 1e-4
    for group in range(3):
        expected = in_metric(hessian_of(3 * group, 3 * group + 3)) @ V
        assert float((product.groups[group] - expected).norm()) <= tolerance * float(expected.norm())
    expected = in_metric(hessian_of()) @ V
    assert float((product.total - expected).norm()) <= tolerance * float(expected.norm())


def test_every_curvature_can_be_seen_in_a_metric():
    plain = Problem(seeded(CASE.model), CASE.loss, CASE.batches(*RAGGED), dtype=torch.float64)
    other = plain.with_curvature(resolve_curvature("ggn"))
    found = []
    for made in (other, other.with_metric(metric())):
        made.measure_loss()
        engine = HessianEngine(made, memory=2**30, engine="retained")
        whole = engine.operator(resolve_blocks(made.model, made.parameters, [], full=True)[0])
        found.append(whole.matmat(torch.eye(whole.size, dtype=torch.float64)))
    torch.testing.assert_close(found[1], in_metric(found[0]), rtol=1e-10, atol=1e-10)


def test_a_metric_goes_along_with_other_data_and_stays_off_the_problem_it_was_given_to():
    plain = Problem(seeded(CASE.model), CASE.loss, CASE.batches(9), dtype=torch.float64)
    seen = plain.with_metric(metric())
    assert plain.metric is None
    assert seen.with_batches(CASE.batches(*SINGLE)).metric is seen.metric
    assert seen.with_metric(None).metric is None
    assert check_derivative(seen, torch.Generator().manual_seed(0)) < 1e-6


def test_from_python_a_diagonal_is_enough():
    plain = Problem(seeded(CASE.model), CASE.loss, CASE.batches(*RAGGED), dtype=torch.float64)
    measured = hessent.spectrum(plain.with_metric(diagonal()), blocks="full")
    expected = torch.linalg.eigvalsh(in_metric(hessian_of()))
    found = torch.from_numpy(measured.blocks[-1].eigenvalues)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected[-1]))
    assert measured.settings["precondition"] == "given"


def test_entries_that_are_not_positive_are_counted_by_tensor():
    broken = diagonal()
    names = list(broken)
    broken[names[0]].view(-1)[:2] = torch.tensor([0.0, -1.0])
    broken[names[2]].view(-1)[0] = torch.nan
    with pytest.raises(UsageError, match=r"not positive finite") as caught:
        Metric.of_diagonal("test", "made up", broken, "p.safetensors")
    first, second = caught.value.problems
    assert (f"'{names[0]}': 2 of" in first, f"'{names[2]}': 1 of" in second) == (True, True)


def test_a_metric_that_does_not_fit_is_refused_with_all_that_differs():
    wrong = diagonal()
    names = list(wrong)
    del wrong[names[0]]
    wrong[names[1]] = torch.ones(2, 2)
    with pytest.raises(UsageError) as caught:
        problem().with_metric(Metric.of_diagonal("test", "made up", wrong, "here"))
    assert len(caught.value.problems) == 2


def test_the_digest_tells_metrics_apart():
    other = diagonal()
    next(iter(other.values())).view(-1)[0] *= 1 + 1e-15
    assert metric().sha256 == metric().sha256 != Metric.of_diagonal("test", "made up", other, "here").sha256


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW])
def test_adams_metric_is_that_of_the_step_it_took(make, amsgrad):
    """The change of the weights is −η P⁻¹ m with m the first moment as it is stored, after every step."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    rate, beta1, beta2, epsilon = 0.01, 0.8, 0.95, 1e-3
    optimizer = make(
        model.parameters(), lr=rate, betas=(beta1, beta2), eps=epsilon, amsgrad=amsgrad, weight_decay=0.0
    )
    for step in range(1, 6):
        optimizer.zero_grad()
        (model(torch.randn(4, 3).double()).square().sum() / step).backward()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer.step()
        for parameter, old in zip(model.parameters(), before, strict=True):
            state = optimizer.state[parameter]
            moment = state["max_exp_avg_sq" if amsgrad else "exp_avg_sq"]
            P = AdamState(moment, float(state["step"]), beta1, beta2, epsilon).diagonal()
            torch.testing.assert_close(parameter - old, -rate * state["exp_avg"] / P, rtol=1e-10, atol=1e-16)


def test_where_no_gradient_came_epsilon_alone_is_left():
    state = AdamState(torch.tensor([0.0, 4.0]), 1.0, 0.9, 0.999, 1e-8)
    assert state.diagonal().tolist() == pytest.approx([1e-9, 0.1 * (2.0 / 0.001**0.5)], rel=1e-6)
    assert untouched({"w": state}) == 1
