"""Groups of the data: their curvatures sum to the whole, and each is that of its own samples."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from cases import Case, cases, columns_of, dense_hessian, seeded
from torch import nn

from hessent.curvature.blocks import Block, resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.groups import in_groups
from hessent.curvature.operator import Product
from hessent.curvature.problem import Problem

CASES = {case.name: case for case in cases()}
CUTS = {"whole": (9,), "ragged": (4, 4, 1), "single": (1,) * 9}
# Ends of the groups of 9 samples: halves to even, so that neighbouring groups differ by one sample at most.
BOUNDS = {2: (0, 4, 9), 4: (0, 2, 4, 7, 9), 3: (0, 3, 6, 9)}


def engine_for(case: Case, cut: str, groups: int, **settings) -> HessianEngine:
    settings = {"engine": "retained", "memory": 2**30, "dtype": torch.float64, **settings}
    problem = Problem(seeded(case.model), case.loss, case.batches(*CUTS[cut]), dtype=settings.pop("dtype"))
    problem.measure_loss()
    return HessianEngine(problem, num_groups=groups, **settings)


def whole_and_layers(engine: HessianEngine) -> tuple[Block, ...]:
    return resolve_blocks(engine.problem.model, engine.problem.parameters, ["layer"], full=True)


def products(engine: HessianEngine, columns: int = 2) -> list[tuple[Block, torch.Tensor, Product]]:
    generator = torch.Generator().manual_seed(0)
    requests = [
        (block, torch.randn(block.size, columns, generator=generator, dtype=torch.float64))
        for block in whole_and_layers(engine)
    ]
    found = engine.products(requests)
    return [(block, V, product) for (block, V), product in zip(requests, found, strict=True)]


@functools.cache
def hessian_of_samples(name: str, start: int, stop: int) -> torch.Tensor:
    case = CASES[name]
    inputs, targets = case.inputs[start:stop], case.targets[start:stop]
    return dense_hessian(seeded(case.model), inputs, targets, case.mean_loss)[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("engine", "memory"), [("retained", 2**30), ("retained", 0), ("batched", 2**30)])
def test_weighted_groups_sum_to_the_whole(name, cut, engine, memory):
    served = engine_for(CASES[name], cut, 4, engine=engine, memory=memory)
    items = served.group_items
    assert items.sum() == served.problem.num_items
    weights = torch.from_numpy(items / items.sum())
    for _ in range(2):  # with graphs built on the way, and with those that were kept
        for block, _, product in products(served):
            summed = torch.einsum("g,gnk->nk", weights, product.groups)
            assert float((summed - product.total).norm()) <= 1e-12 * float(product.total.norm()), block.name


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", CUTS)
def test_dividing_changes_the_total_by_rounding_only(name, cut):
    divided, undivided = (products(engine_for(CASES[name], cut, groups)) for groups in (4, 1))
    for (block, _, product), (_, _, expected) in zip(divided, undivided, strict=True):
        assert expected.groups is None
        error = float((product.total - expected.total).norm())
        assert error <= 1e-12 * float(expected.total.norm()), block.name


# Dense Hessians of the attention models take seconds each: two groups of them are enough.
@pytest.mark.parametrize(
    ("name", "groups"),
    [(name, 2) for name in CASES] + [(name, g) for name in ("convolution+batchnorm", "mlp, mse") for g in (3, 4)],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_each_group_has_the_dense_hessian_of_its_own_samples(name, groups, dtype, tolerance):
    served = engine_for(CASES[name], "ragged", groups, dtype=dtype)
    bounds = BOUNDS[groups]
    for block, V, product in products(served):
        assert product.groups.shape == (groups, *V.shape)
        assert product.groups.dtype == dtype
        assert product.total.dtype == V.dtype
        rows = columns_of(served.problem.model, block.parameters)
        for group, (start, stop) in enumerate(itertools.pairwise(bounds)):
            hessian = hessian_of_samples(name, start, stop)
            error = product.groups[group].double() - hessian[rows][:, rows] @ V
            scale = float(hessian.norm()) * float(V.norm())
            assert float(error.norm()) <= tolerance * scale, (block.name, group)


def test_items_of_a_language_model_are_its_valid_tokens():
    case = CASES["gpt, tied head, ignored tokens"]
    items = engine_for(case, "ragged", 4).group_items
    bounds = BOUNDS[4]
    expected = [int((case.targets[a:b] != -1).sum()) for a, b in itertools.pairwise(bounds)]
    assert items.dtype == np.int64
    assert items.tolist() == expected
    assert len(set(expected)) > 1


def test_a_group_without_an_item_leaves_the_data_undivided_and_says_so():
    case = CASES["gpt, tied head, ignored tokens"]
    targets = case.targets.clone()
    targets[2:4] = -1  # all of the second of four groups
    problem = Problem(seeded(case.model), case.loss, [(case.inputs, targets)], dtype=torch.float64)
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained", num_groups=4)
    assert engine.group_items is None
    assert "data group 2 of 4" in engine.division.note
    assert all(product.groups is None for _, _, product in products(engine))


@pytest.mark.parametrize(("samples", "groups"), [(3, 3), (2, 2), (1, None)])
def test_fewer_samples_than_groups_give_fewer_groups_and_a_note(samples, groups):
    torch.manual_seed(0)
    problem = Problem(nn.Linear(2, 1), "mse", [(torch.randn(samples, 2), torch.randn(samples, 1))])
    problem.measure_loss()
    engine = HessianEngine(problem, memory=2**30, engine="retained", num_groups=4)
    assert (None if engine.group_items is None else len(engine.group_items)) == groups
    assert engine.division.note


def test_enough_samples_need_no_note():
    assert engine_for(CASES["mlp, mse"], "whole", 4).division.note is None
    assert engine_for(CASES["mlp, mse"], "whole", 1).division.note is None


def test_an_operator_passes_the_groups_on_and_counts_each_product_once():
    engine = engine_for(CASES["mlp, mse"], "ragged", 4)
    block = whole_and_layers(engine)[-1]
    operator = engine.operator(block)
    V = torch.randn(block.size, 3, dtype=torch.float64)
    product = operator.product(V)
    assert product.groups.shape == (4, block.size, 3)
    assert operator.num_matvecs == 3
    assert torch.equal(operator.matmat(V), product.total)
    assert operator.num_matvecs == 6


@pytest.mark.parametrize("sizes", [(9,), (4, 4, 1), (1, 7, 1), (2, 2, 3, 2), (1,) * 9])
@pytest.mark.parametrize("ends", [(), (2, 4, 7), (1,), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_cutting_at_the_boundaries_keeps_every_sample_in_its_group_and_in_order(sizes, ends):
    batches = [({"x": part}, part) for part in torch.arange(9).split(list(sizes))]
    parts = list(in_groups(batches, ends))
    assert torch.cat([targets for _, (_, targets) in parts]).tolist() == list(range(9))
    assert torch.cat([inputs["x"] for _, (inputs, _) in parts]).tolist() == list(range(9))
    for group, (_, targets) in parts:
        assert len(targets) > 0
        assert all(sum(sample >= end for end in ends) == group for sample in targets.tolist())
    assert len(parts) <= len(sizes) + len(ends)
