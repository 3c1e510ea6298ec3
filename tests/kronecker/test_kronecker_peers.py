"""The same factors as another library has; both with exact square roots, weight and bias together."""

import pytest
import torch
from cases import cases, seeded
from dense_blocks import error, matrices_of, problem_of
from torch import nn

curvlinops = pytest.importorskip("curvlinops")
pytestmark = pytest.mark.filterwarnings("ignore")


def matrix_of_peer(problem, layer, inputs, targets, loss, approximation):
    module = problem.model.get_submodule(layer)
    operator = curvlinops.KFACLinearOperator(
        problem.model,
        loss,
        list(module.parameters()),
        [(part, label) for part, label in zip(inputs.split(5), targets.split(5), strict=True)],
        fisher_type="type-2",
        kfac_approx=approximation,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    size = sum(parameter.numel() for parameter in module.parameters())
    return torch.as_tensor(operator @ torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("approximation", ["expand", "reduce"])
@pytest.mark.parametrize("name", ["convolution+batchnorm", "layernorm+attention", "mlp, mse"])
def test_factors_are_those_of_curvlinops(name, approximation):
    case = next(case for case in cases() if case.name == name)
    inputs = case.inputs.double()
    targets = case.targets if case.loss == "cross-entropy" else case.targets.double()
    problem = problem_of(seeded(case.model), case.loss, inputs, targets, 4, 3, 2)
    loss = nn.CrossEntropyLoss() if case.loss == "cross-entropy" else nn.MSELoss()
    for layer, ours in matrices_of(problem, reduce=approximation == "reduce").items():
        theirs = matrix_of_peer(problem, layer, inputs, targets, loss, approximation)
        assert error(ours, theirs) < 1e-10, layer
