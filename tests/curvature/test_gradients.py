"""The gradient and what it is reduced to, against dense autograd in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import columns_of, dense_hessian
from torch import nn
from torch.nn import functional

import hessent
from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.drawn_batches import drawn_batches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.gradients import mean_gradient
from hessent.curvature.problem import Problem
from hessent.pipeline.gradient_facts import find_gradients, gradients_from

SAMPLES = 46


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def data(samples=SAMPLES):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (samples,), generator=generator)


def dense_gradient(model, inputs, targets):
    """Of the mean loss, by parameter."""
    loss = functional.cross_entropy(model(inputs), targets)
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, [*model.parameters()]), strict=True))


def reduced(values):
    """Σ|g|, Σg² and the entropy, entry by entry."""
    sizes = [abs(float(value)) for value in values]
    total = math.fsum(sizes)
    shares = [size / total for size in sizes if size > 0.0]
    return [total, math.fsum(s * s for s in sizes), -math.fsum(p * math.log(p) for p in shares)]


def flat(gradient, names):
    return torch.cat([gradient[name].reshape(-1) for name in names])


def measured(model, cuts, *, batch_size=8, seed=0, groups=4, dtype=torch.float64, loss="cross-entropy"):
    inputs, targets = data(sum(cuts))
    problem = Problem(model, loss, list(zip(inputs.split(cuts), targets.split(cuts), strict=True)), dtype=dtype)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained", num_groups=groups)
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)
    facts, _ = find_gradients(engine, blocks, batch_size=batch_size, seed=seed, sampled_fraction=0.0)
    return blocks, gradients_from(facts)


@pytest.mark.parametrize("cuts", [[46], [20, 20, 6], [1] * 46])
def test_the_gradient_of_every_block_is_that_of_dense_autograd_however_the_data_is_cut(cuts):
    model = net()
    blocks, found = measured(model, cuts)
    whole = dense_gradient(model, *data())
    for block in blocks:
        expected = reduced(flat(whole, block.parameters))
        np.testing.assert_allclose(found[block.name].total, expected, rtol=1e-12)
        assert found[block.name].rounding < 1e-13


def test_what_is_left_without_a_group_is_the_gradient_of_the_other_samples():
    model = net()
    blocks, found = measured(model, [20, 20, 6])
    inputs, targets = data()
    starts = np.cumsum([0, *found["full"].items])
    assert starts.tolist() == [0, 12, 23, 34, 46]
    for group in range(4):
        kept = torch.cat([torch.arange(starts[group]), torch.arange(starts[group + 1], SAMPLES)])
        without = dense_gradient(model, inputs[kept], targets[kept])
        for block in blocks:
            expected = reduced(flat(without, block.parameters))
            np.testing.assert_allclose(found[block.name].left_out[group], expected, rtol=1e-10)


def test_mini_batches_are_those_that_were_drawn():
    model = net()
    inputs, targets = data()
    problem = Problem(model, "cross-entropy", [(inputs[:30], targets[:30]), (inputs[30:], targets[30:])])
    problem = Problem(model, "cross-entropy", list(problem.batches), dtype=torch.float64)
    problem.measure_loss()
    draws = torch.randint(SAMPLES, (3, 40), generator=torch.Generator().manual_seed(5))
    found = list(drawn_batches(problem, 3, 40, torch.Generator().manual_seed(5)))
    assert [[len(x) for x, _ in pieces] for pieces in found] == [[30, 10]] * 3
    for draw, pieces in zip(draws, found, strict=True):
        expected = dense_gradient(model, inputs[draw], targets[draw])
        gradient = mean_gradient(problem, pieces)
        for name, values in expected.items():
            torch.testing.assert_close(gradient[name], values, rtol=1e-12, atol=1e-15)


def test_containers_of_every_kind_are_drawn_from():
    inputs, targets = data()

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, left, right):
            return self.net(left + right[0])

    split = [({"left": x, "right": [x]}, y) for x, y in zip(inputs.split(20), targets.split(20), strict=True)]
    problem = Problem(Two(), "cross-entropy", split, dtype=torch.float64)
    problem.measure_loss()
    (pieces,) = drawn_batches(problem, 1, 15, torch.Generator().manual_seed(5))
    draw = torch.randint(SAMPLES, (1, 15), generator=torch.Generator().manual_seed(5))[0]
    assert torch.equal(pieces[0][0]["left"], inputs[draw])
    assert torch.equal(pieces[0][0]["right"][0], inputs[draw])


def test_sequences_of_several_lengths_have_no_mini_batches():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net(x.mean(1))

    batches = [(torch.randn(4, length, 5), torch.arange(4) % 3) for length in (2, 3)]
    problem = Problem(Mean(), "cross-entropy", batches)
    problem.measure_loss()
    assert list(drawn_batches(problem, 2, 4, torch.Generator().manual_seed(0))) == []


def test_batches_are_drawn_by_the_seed_alone_and_few_where_they_are_large():
    model = net()
    first, again, other = (
        measured(model, cuts, seed=seed)[1] for cuts, seed in (([46], 0), ([40, 6], 0), ([46], 1))
    )
    np.testing.assert_allclose(first["full"].batches, again["full"].batches, rtol=1e-12)
    assert not np.allclose(first["full"].batches, other["full"].batches)
    assert len(first["full"].batches) == 16
    large = measured(model, [46], batch_size=1000)[1]["full"]
    assert (large.batch_size, len(large.batches)) == (46, 8)
    assert measured(model, [46], batch_size=None)[1]["full"].batch_size == 46


def test_undivided_data_has_no_gradient_without_a_group():
    found = measured(net(), [46], groups=1)[1]["full"]
    assert found.left_out is None
    assert found.items is None


def test_what_cancels_in_float32_is_told_as_rounding():
    """At the least squares solution the gradient of all the data is nothing but rounding."""
    torch.manual_seed(0)
    x = torch.randn(400, 6, dtype=torch.float64)
    y = x @ torch.randn(6, 1, dtype=torch.float64) + torch.randn(400, 1, dtype=torch.float64)
    model = nn.Linear(6, 1, bias=False).double()
    roundings = {}
    for dtype in (torch.float32, torch.float64):
        model.weight.data = torch.linalg.lstsq(x.to(dtype), y.to(dtype)).solution.T.double()
        problem = Problem(model, "mse", list(zip(x.split(100), y.split(100), strict=True)), dtype=dtype)
        problem.measure_loss()
        engine = HessianEngine(problem, memory=2**30, engine="retained", num_groups=4)
        blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=False)
        facts, _ = find_gradients(engine, blocks, batch_size=50, seed=0, sampled_fraction=0.0)
        roundings[dtype] = gradients_from(facts)[blocks[0].name].rounding
    assert roundings[torch.float32] > 1e-2
    model.weight.data += 0.1  # away from it
    problem = Problem(model, "mse", list(zip(x.split(100), y.split(100), strict=True)))
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained", num_groups=4)
    facts, _ = find_gradients(engine, blocks, batch_size=50, seed=0, sampled_fraction=0.0)
    assert gradients_from(facts)[blocks[0].name].rounding < 1e-5


def test_shares_along_eigenvectors_are_those_of_the_dense_hessian():
    model = net()
    inputs, targets = data()
    found = hessent.spectrum(
        Problem(
            model, "cross-entropy", [(inputs[:20], targets[:20]), (inputs[20:], targets[20:])], dtype=torch.float64
        ),
        blocks=["layer", "*.weight=weights"],
        method="exact",
    ).measures()
    whole = flat(dense_gradient(model, inputs, targets), dict(model.named_parameters()))
    hessian, _ = dense_hessian(net(), inputs, targets, functional.cross_entropy)
    chosen = {
        "full": dict(model.named_parameters()),
        "2": ("2.weight", "2.bias"),
        "weights": ("0.weight", "2.weight"),
    }
    for name, parameters in chosen.items():
        columns = columns_of(model, tuple(parameters))
        values, vectors = np.linalg.eigh(hessian[columns][:, columns].numpy())
        shares = (whole[columns].numpy() @ vectors) ** 2 / float(whole[columns] @ whole[columns])
        leading = np.argsort(-np.abs(values))[:10]
        assert found[name]["gradient_top_share"].value == pytest.approx(shares[leading].sum(), rel=1e-6)
        negative = found[name]["gradient_negative_share"]
        # A softmax leaves one direction of the outputs without curvature: rounding decides its sign.
        assert negative.low - 1e-9 <= shares[values < 0.0].sum() <= negative.high + 1e-9
        assert negative.high - negative.low < 1e-3
