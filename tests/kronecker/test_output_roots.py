"""Square roots of output Hessians, exact and drawn."""

import pytest
import torch
from dense_blocks import output_hessians, problem_of
from torch import nn

from hessent.curvature.kronecker.output_roots import output_roots
from hessent.errors import UsageError


def setting(loss):
    torch.manual_seed(0)
    if loss.startswith("next-token"):
        outputs, targets = 3 * torch.randn(3, 2, 4), torch.tensor([[1, -1], [3, 0], [-1, -1]])
    elif loss.startswith("cross-entropy"):
        outputs, targets = 3 * torch.randn(3, 4), torch.tensor([1, 3, 0])
    else:
        outputs, targets = torch.randn(3, 4), torch.randn(3, 4)
    problem = problem_of(nn.Linear(1, 1), "mse", torch.ones(1, 1), torch.ones(1, 1))
    from hessent.curvature.losses.registry import resolve_loss

    problem.loss = resolve_loss(loss)
    return problem, outputs.double(), targets if targets.dtype == torch.int64 else targets.double()


LOSSES = [
    "cross-entropy",
    "cross-entropy?label_smoothing=0.2",
    "next-token",
    "mse",
    "mse?reduction=sum",
    "half-squared-error",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_columns_are_a_square_root_of_the_output_hessian(loss):
    problem, outputs, targets = setting(loss)
    columns = torch.stack(list(output_roots(problem.loss).exact(outputs, targets))).flatten(2)
    found = torch.einsum("cni,cnj->nij", columns, columns)
    assert torch.allclose(found, output_hessians(problem, outputs, targets), atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_random_ones_have_it_as_their_mean(loss):
    problem, outputs, targets = setting(loss)
    draws = 4000
    columns = torch.stack(
        list(output_roots(problem.loss).drawn(outputs, targets, draws=draws, seed=1, first=7))
    ).flatten(2)
    found = torch.einsum("cni,cnj->nij", columns, columns)
    wanted = output_hessians(problem, outputs, targets)
    assert float((found - wanted).abs().max()) < 5 * float(wanted.abs().max()) / draws**0.5


def test_random_ones_belong_to_the_sample_and_its_seed():
    problem, outputs, targets = setting("next-token")
    roots = output_roots(problem.loss)

    def drawn(rows, first, seed=1):
        return torch.stack(list(roots.drawn(outputs[rows], targets[rows], draws=2, seed=seed, first=first)), dim=1)

    whole = drawn(slice(0, 3), 10)
    assert torch.equal(torch.cat([drawn(slice(0, 1), 10), drawn(slice(1, 3), 11)]), whole)
    assert not torch.equal(drawn(slice(0, 3), 10, seed=2), whole)
    assert not torch.equal(drawn(slice(0, 3), 11), whole)


def test_a_sample_fitted_to_the_last_digit_keeps_its_square_root_in_float32():
    problem, *_ = setting("cross-entropy")
    logits, targets = torch.tensor([[20.0, 0.0, 1.0]]), torch.tensor([0])
    roots = output_roots(problem.loss)
    single = torch.stack(list(roots.exact(logits, targets)))
    double = torch.stack(list(roots.exact(logits.double(), targets)))
    assert torch.allclose(single.double(), double, rtol=1e-5, atol=0.0)


def test_a_function_of_the_users_is_refused_with_what_to_use_instead():
    problem = problem_of(nn.Linear(2, 1), nn.functional.mse_loss, torch.ones(3, 2), torch.ones(3, 1))
    with pytest.raises(UsageError, match="--curvature ggn"):
        output_roots(problem.loss)
