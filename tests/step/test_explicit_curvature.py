"""Steps that divide by a curvature, against dense linear algebra; draws against their means."""

import math

import pytest
import torch
from cases import dense_hessian
from stateful_steps import Place
from torch import nn
from torch.nn import functional

import hessent.optimizers.steps.adahessian as adahessian
import hessent.optimizers.steps.gauss_newton_diagonal as gauss_newton_diagonal
import hessent.optimizers.steps.shampoo as shampoo
from hessent.checkpoint.adam_files import StoredState
from hessent.measures.step_analysis import STATE
from hessent.optimizers.steps.all_steps import EXPLICIT
from hessent.optimizers.steps.l_bfgs import two_loops

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def hessian_of(place):
    matrix, names = dense_hessian(place.model, place.inputs, place.targets, place.loss)
    assert names == list(place.problem.parameters)
    return matrix


def gauss_newton_of(place):
    """(1/N) Σ Jᵀ (diag(p) − p pᵀ) J, by a dense Jacobian."""
    named = dict(place.model.named_parameters())

    def outputs(*values):
        return torch.func.functional_call(place.model, dict(zip(named, values, strict=True)), (place.inputs,))

    parts = torch.autograd.functional.jacobian(outputs, tuple(named.values()))
    jacobian = torch.cat([part.flatten(2) for part in parts], dim=2)  # (N, classes, n)
    p = outputs(*named.values()).detach().softmax(-1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nci,ncd,ndj->ij", jacobian, middle, jacobian) / len(p)


def dense_bfgs(pairs, size):
    """The inverse matrix after all pairs, by the textbook's update."""
    s, y = pairs[-1]
    inverse = torch.eye(size, dtype=torch.float64) * (s @ y) / (y @ y)
    for s, y in pairs:
        keep = torch.eye(size, dtype=torch.float64) - torch.outer(s, y) / (s @ y)
        inverse = keep @ inverse @ keep.T + torch.outer(s, s) / (s @ y)
    return inverse


def test_two_loops_are_the_dense_recursion():
    torch.manual_seed(0)
    root = torch.randn(8, 8, dtype=torch.float64)
    matrix = root @ root.T
    pairs = [(s, matrix @ s) for s in torch.randn(5, 8, dtype=torch.float64)]
    gradient = torch.randn(8, dtype=torch.float64)
    torch.testing.assert_close(two_loops(pairs, gradient), dense_bfgs(pairs, 8) @ gradient, **CLOSE)


def test_l_bfgs_is_the_dense_recursion_over_pairs_of_positive_curvature():
    for batches in (2, 14):
        place = Place(batches=batches)
        hessian = hessian_of(place)
        steps = [-place.flat(mini) for mini in place.mini[-10:]]
        pairs = [(s, hessian @ s) for s in steps if s @ hessian @ s > 0]
        step = place.step("l-bfgs")
        wanted = -dense_bfgs(pairs, len(hessian)) @ place.flat(place.gradient)
        torch.testing.assert_close(place.flat(step.direction), wanted, **CLOSE)
        assert step.told.startswith(f"{min(batches, 10)} secant pairs")
        assert "left out" not in step.told


def saddle():
    """Data along which the mean squared error of a product of two weights curves downwards."""
    inputs = torch.ones(4, 1, dtype=torch.float64)
    return (inputs, 3.0 * inputs)


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = nn.Parameter(torch.tensor([0.1, 0.1]))

    def forward(self, inputs):
        return inputs * self.pair[0] * self.pair[1]


def test_without_positive_curvature_there_is_no_step_of_l_bfgs():
    step = Place(Product, loss="mse", data=saddle()).step("l-bfgs")
    assert step.direction is None
    assert "no curvature above 0 along the 3 mini-batch gradients" in step.told


def test_l_bfgs_leaves_out_pairs_of_negative_curvature_and_says_so():
    place = Place(Product, loss="mse", data=saddle())
    up, down = torch.tensor([1.0, -1.0]).double(), torch.tensor([1.0, 1.0]).double()
    hessian = hessian_of(place)
    assert down @ hessian @ down < 0 < up @ hessian @ up
    place.mini = [{"pair": down}, {"pair": up}]
    step = place.step("l-bfgs")
    wanted = -dense_bfgs([(up, hessian @ up)], 2) @ place.gradient["pair"]
    torch.testing.assert_close(step.direction["pair"], wanted, **CLOSE)
    assert step.told.startswith("1 secant pair along")
    assert "1 left out for negative curvature" in step.told


def with_ones(rows):
    return torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)


def test_k_fac_divides_each_layer_by_its_damped_kronecker_product():
    place, damping = Place(), 0.05
    first, last = place.model[0], place.model[2]
    before = first(place.inputs).detach()
    hidden = torch.tanh(before)
    p = last(hidden).detach().softmax(-1)
    outer = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    inner = torch.einsum("ck,ncd,dl->nkl", last.weight.detach(), outer, last.weight.detach())
    slope = 1 - hidden**2
    layers = [
        ("0", with_ones(place.inputs), slope[:, :, None] * inner * slope[:, None, :]),
        ("2", with_ones(hidden), outer),
    ]
    products = {
        name: torch.kron(moments.mean(0), rows.T @ rows / len(rows)).detach() for name, rows, moments in layers
    }
    largest = max(float(torch.linalg.eigvalsh(product)[-1]) for product in products.values())
    step = place.step("k-fac", damping=damping)
    for name, product in products.items():
        weight, bias = (place.gradient[f"{name}.{part}"] for part in ("weight", "bias"))
        folded = torch.cat([weight, bias[:, None]], dim=1)
        matrix = product + damping * largest * torch.eye(len(product), dtype=torch.float64)
        wanted = -torch.linalg.solve(matrix, folded.reshape(-1)).reshape(folded.shape)
        torch.testing.assert_close(step.direction[f"{name}.weight"], wanted[:, :-1], **CLOSE)
        torch.testing.assert_close(step.direction[f"{name}.bias"], wanted[:, -1], **CLOSE)


class Normed(nn.Module):
    """A convolution in groups, and scales that have no factors."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(2, 4, 2, groups=2)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.head(torch.tanh(self.convolution(inputs.reshape(len(inputs), 2, 2))).flatten(1) * self.scale)


def test_without_factors_k_fac_takes_the_gradient_at_the_others_ratio_of_lengths():
    place = Place(Normed)
    step = place.step("k-fac")
    covered = [name for name in place.problem.parameters if name != "scale"]
    lengths = [
        torch.cat([part[n].reshape(-1) for n in covered]).norm() for part in (step.direction, place.gradient)
    ]
    torch.testing.assert_close(step.direction["scale"], -place.gradient["scale"] * lengths[0] / lengths[1], **CLOSE)
    assert "4 of 31 parameters have no factors" in step.told


def matrix_power(matrix, power):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**power) @ vectors.T


def test_shampoo_stands_between_inverse_fourth_roots():
    place = Place(Normed)
    step = place.step("shampoo")
    seen = [*place.mini, place.gradient]
    for name, gradient in place.gradient.items():
        folded = [one[name].reshape(len(one[name]), -1) for one in seen]
        sides = [sum(G @ G.T for G in folded), sum(G.T @ G for G in folded)]
        sides = [side + 1e-6 * torch.linalg.eigvalsh(side)[-1] * torch.eye(len(side)) for side in sides]
        if gradient.ndim == 1:
            wanted = matrix_power(sides[0], -0.5) @ folded[-1]
        else:
            wanted = matrix_power(sides[0], -0.25) @ folded[-1] @ matrix_power(sides[1], -0.25)
        torch.testing.assert_close(step.direction[name], -wanted.reshape(gradient.shape), **CLOSE)


def test_long_sides_of_shampoo_keep_their_diagonal(monkeypatch):
    monkeypatch.setattr(shampoo, "LARGEST_SIDE", 4)
    place = Place()
    step = place.step("shampoo")
    weights = [one["0.weight"] for one in (*place.mini, place.gradient)]  # (5, 4)
    left = sum(G.square().sum(1) for G in weights)
    right = sum(G.T @ G for G in weights)
    left, right = left + 1e-6 * left.max(), right + 1e-6 * torch.linalg.eigvalsh(right)[-1] * torch.eye(4)
    wanted = -(left[:, None] ** -0.25 * weights[-1]) @ matrix_power(right, -0.25)
    torch.testing.assert_close(step.direction["0.weight"], wanted, **CLOSE)
    assert "3 of 6 sides are longer than 4 and diagonal" in step.told


def diagonal_problem():
    """A linear model with a diagonal Hessian, 2/N X² of one-hot inputs."""
    inputs = torch.diag(torch.tensor([1.0, 2.0, 3.0, 0.5])).double()
    return Place(lambda: nn.Linear(4, 1, bias=False), loss="mse", data=(inputs, torch.ones(4, 1).double()))


def average(place, beta, gradients):
    held = {name: torch.zeros_like(value) for name, value in place.gradient.items()}
    for gradient in gradients:
        held = {name: beta * value + (1 - beta) * gradient[name] for name, value in held.items()}
    return held


def test_adahessian_on_a_diagonal_hessian_is_adam_with_that_diagonal():
    place = diagonal_problem()
    step = place.step("adahessian")
    diagonal = hessian_of(place).diagonal()
    mean = place.flat(average(place, 0.9, [*place.mini, place.gradient])) / (1 - 0.9**4)
    torch.testing.assert_close(place.flat(step.direction), -mean / (diagonal + 1e-4), **CLOSE)


def test_adahessian_divides_by_the_root_of_the_rows_squares(monkeypatch):
    monkeypatch.setattr(adahessian, "DRAWS", 500)
    place = Place()
    found = place.flat(place.step("adahessian").metric) / (1 - 0.9**4) - 1e-4
    rows = hessian_of(place).square().sum(1).sqrt()
    assert torch.allclose(found, rows, rtol=0.2)


def test_adahessian_goes_on_from_its_state():
    place = Place()
    (beta1, beta2), epsilon, power, decay = (0.8, 0.9), 1e-2, 0.5, 0.1
    mean, square = place.random(1), {name: value.abs() for name, value in place.random(2).items()}
    settings = {"betas": [beta1, beta2], "eps": epsilon, "hessian_power": power, "weight_decay": decay}
    states = {
        name: StoredState(
            {"exp_avg": mean[name], "exp_hessian_diag_sq": square[name], "step": torch.tensor(5.0)}, settings
        )
        for name in mean
    }
    step = place.step("adahessian", states=states, seed=3)
    assert step.source == STATE
    signs = torch.randint(0, 2, (place.problem.num_params, 1), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    drawn = signs[:, 0] * (hessian_of(place) @ signs[:, 0].double())
    after = (beta2 * place.flat(square) + (1 - beta2) * drawn**2) / (1 - beta2**6)
    moved = (beta1 * place.flat(mean) + (1 - beta1) * place.flat(place.gradient)) / (1 - beta1**6)
    weights = place.flat(dict(place.model.named_parameters())).detach()
    wanted = -(moved / (after.sqrt() ** power + epsilon) + decay * weights)
    torch.testing.assert_close(place.flat(step.direction), wanted, **CLOSE)


@pytest.mark.parametrize("clip", [None, 0.05])
def test_sophia_divides_by_the_diagonal_of_the_gauss_newton_matrix_and_clips(clip):
    place, damping = Place(), 0.05
    diagonal = gauss_newton_of(place).diagonal()
    quotient = place.flat(average(place, 0.965, [*place.mini, place.gradient]))
    quotient = quotient / diagonal.clamp_min(damping * float(diagonal.max()))
    wanted = (
        -quotient
        if clip is None
        else -quotient.sign() * torch.minimum(quotient.abs(), torch.full_like(quotient, clip))
    )
    step = place.step("sophia", damping=damping, clip=clip)
    torch.testing.assert_close(place.flat(step.direction), wanted, **CLOSE)
    assert (step.clip, step.linear, step.metric is None) == (clip, clip is None, clip is not None)
    if clip is not None:
        assert int((wanted.abs() == clip).sum()) > 0


def test_the_drawn_gauss_newton_diagonal_has_the_exact_one_for_its_mean(monkeypatch):
    monkeypatch.setattr(gauss_newton_diagonal, "MOST_PASSES", 0)
    place = Place()
    exact, draws = gauss_newton_of(place).diagonal(), []
    for seed in range(30):
        found, told = gauss_newton_diagonal.gauss_newton_diagonal(place.problem, seed)
        draws.append(place.flat(found))
    mean, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / math.sqrt(30)
    assert "over 24 parts of the samples" in told
    assert float(((mean - exact).abs() / error.clamp_min(1e-12)).max()) < 4.5
    assert float((error / exact).max()) < 0.08


def unknown_loss(outputs, targets):
    return functional.cross_entropy(outputs, targets) * 2.0


def test_a_loss_without_a_square_root_has_neither_k_fac_nor_sophia():
    place = Place(loss=unknown_loss)
    steps = {step.optimizer: step for step in place.steps(EXPLICIT)}
    assert {name for name, step in steps.items() if step.direction is None} == {"k-fac", "sophia"}
    assert "square root" in steps["sophia"].told
