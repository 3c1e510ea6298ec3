"""ggn and empirical-fisher beside curvlinops, where it is installed; on a model that it multiplies with rightly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.matrices.kinds import resolve_curvature
from hessent.curvature.problem import Problem

curvlinops = pytest.importorskip("curvlinops")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("curvature", "theirs"), [("ggn", "GGNLinearOperator"), ("empirical-fisher", "EFLinearOperator")]
)
def test_the_same_products_as_curvlinops(curvature, theirs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).double()
    x, y = torch.randn(11, 1, 6, 6).double(), torch.randint(0, 4, (11,))
    batches = [(x[:6], y[:6]), (x[6:], y[6:])]
    problem = Problem(model, "cross-entropy", batches, dtype=torch.float64)
    problem.measure_loss()
    problem = problem.with_curvature(resolve_curvature(curvature))
    block = Block(FULL, tuple(problem.parameters), problem.num_params)
    ours = HessianEngine(problem, memory=2**30).operator(block)
    operator = getattr(curvlinops, theirs)(model, nn.CrossEntropyLoss(), list(model.parameters()), batches)
    v = torch.randn(problem.num_params, dtype=torch.float64)
    torch.testing.assert_close(ours.matvec(v), operator @ v, rtol=1e-9, atol=1e-12)
