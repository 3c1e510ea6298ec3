"""A ⊗ G against dense Gauss-Newton blocks where the two are equal, and whatever the cut of the data."""

import numpy as np
import pytest
import torch
from cases import cases, seeded
from dense_blocks import error, factors_of, gauss_newton, matrices_of, problem_of
from torch import nn

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.kronecker.spectra import FactorSpectra, blocks_with_factors

SAMPLES, SEED = 12, 5


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def labels(count, classes):
    return torch.arange(count) % classes


def whitened(rows):
    """Inputs whose second moment is the identity."""
    return rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / len(rows)).T)


def assert_exact(problem, inputs, targets, **how):
    for name, matrix in matrices_of(problem, **how).items():
        layer = next(m for n, m in problem.model.named_modules() if n == name)
        names = [f"{name}.{own}" if name else own for own, _ in layer.named_parameters()]
        assert error(matrix, gauss_newton(problem, inputs, targets, names)) < 1e-12, name


@pytest.mark.parametrize("loss", ["cross-entropy", "mse", "mse?reduction=sum", "half-squared-error"])
@pytest.mark.parametrize("bias", [True, False])
def test_one_linear_layer_and_one_sample(loss, bias):
    torch.manual_seed(1)
    inputs = random(1, 4)
    targets = labels(1, 3) if loss == "cross-entropy" else random(1, 3)
    problem = problem_of(nn.Sequential(nn.Linear(4, 3, bias=bias)).double(), loss, inputs, targets)
    for reduce in (False, True):
        assert_exact(problem, inputs, targets, reduce=reduce)


def test_every_layer_of_a_deep_linear_net_with_whitened_inputs():
    torch.manual_seed(2)
    inputs, targets = whitened(random(SAMPLES, 4)), random(SAMPLES, 2)
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3), nn.Linear(3, 2)).double()
    problem = problem_of(model, "mse", inputs, targets, 5, 4, 3)
    assert_exact(problem, inputs, targets)
    found = factors_of(problem)
    first, _ = found.sums["0"].factors(found.items)
    assert torch.allclose(first[0], torch.eye(4, dtype=torch.float64), atol=1e-12)


def test_expanded_factors_of_a_linear_layer_at_every_position():
    torch.manual_seed(3)
    inputs, targets = random(SAMPLES, 6, 4), random(SAMPLES, 6, 2)
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)).double()
    assert_exact(problem_of(model, "mse", inputs, targets, 7, 5), inputs, targets)


class Pooled(nn.Module):
    """A layer at several positions, averaged over them: what the reduced factors assume."""

    def __init__(self, layer, last):
        super().__init__()
        self.layer, self.last = layer, last

    def forward(self, x):
        return self.last(self.layer(x).flatten(2).mean(2))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 3, 3, padding=1),
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=1),
        nn.Conv2d(2, 4, (3, 2), dilation=(1, 2), padding=(0, 2), bias=False),
        nn.Conv2d(2, 4, 3, padding="same", padding_mode="circular"),
        nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=1),
    ],
)
def test_reduced_factors_of_a_pooled_convolution(layer):
    torch.manual_seed(4)
    dimensions = layer.weight.ndim - 2
    inputs, targets = random(SAMPLES, 2, *[5] * dimensions), random(SAMPLES, 2)
    model = Pooled(layer, nn.Linear(layer.out_channels, 2)).double()
    assert_exact(problem_of(model, "mse", inputs, targets, 7, 5), inputs, targets, reduce=True)


def test_a_grouped_convolution_is_its_groups_side_by_side():
    """Groups whose outputs never meet have no block between them, so the approximation is exact there too."""
    torch.manual_seed(5)
    inputs, targets = random(SAMPLES, 4, 5, 5), random(SAMPLES, 4)
    model = Pooled(nn.Conv2d(4, 4, 3, groups=2), nn.Identity()).double()
    problem = problem_of(model, "mse", inputs, targets)
    assert_exact(problem, inputs, targets, reduce=True)
    assert matrices_of(problem)["layer"].shape == (4 * 19, 4 * 19)


def test_a_layer_that_is_called_twice_has_its_calls_as_positions():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x[:, 0]) + self.layer(input=x[:, 1])

    torch.manual_seed(6)
    inputs, targets = random(SAMPLES, 2, 4), random(SAMPLES, 2)
    assert_exact(problem_of(Twice().double(), "mse", inputs, targets, 7, 5), inputs, targets, reduce=True)


def test_outputs_that_are_changed_in_place_are_taken_as_the_layer_made_them():
    def net(inplace):
        torch.manual_seed(7)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace), nn.Linear(5, 3)).double()

    data = random(SAMPLES, 4), labels(SAMPLES, 3)
    ours, other = (matrices_of(problem_of(net(inplace), "cross-entropy", *data)) for inplace in (True, False))
    for name in ours:
        assert torch.equal(ours[name], other[name])


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
@pytest.mark.parametrize(("reduce", "draws"), [(False, 0), (True, 0), (False, 2)])
def test_the_cut_into_micro_batches_changes_nothing(case, reduce, draws):
    if "tied" in case.name:
        pytest.skip("its head is refused; its layers are those of the others")
    cuts = ([9], [4, 3, 2], [1] * 9)
    model = seeded(case.model)
    found = [
        factors_of(
            problem_of(model, case.loss, case.inputs.double(), case.targets, *cut),
            reduce=reduce,
            draws=draws,
            seed=SEED,
            groups=2,
        )
        for cut in cuts
    ]
    for name, sums in found[0].sums.items():
        for without in (None, 0, 1):
            wanted = sums.factors(found[0].items, without=without)
            for other in found[1:]:
                ours = other.sums[name].factors(other.items, without=without)
                assert max(error(a, b) for a, b in zip(ours, wanted, strict=True)) < 1e-12


def test_factors_without_a_group_are_those_of_the_other_samples():
    torch.manual_seed(8)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs, targets = random(SAMPLES, 4), labels(SAMPLES, 3)
    whole = factors_of(problem_of(model, "cross-entropy", inputs, targets, 7, 5), groups=3)
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    others = factors_of(problem_of(model, "cross-entropy", inputs[kept], targets[kept]))
    for name, sums in whole.sums.items():
        ours, wanted = sums.factors(whole.items, without=1), others.sums[name].factors(others.items)
        assert max(error(a, b) for a, b in zip(ours, wanted, strict=True)) < 1e-12


def test_float32_problems_have_float64_factors_near_those_of_float64():
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = random(SAMPLES, 4), labels(SAMPLES, 3)
    ours, wanted = (
        matrices_of(problem_of(model, "cross-entropy", *data, dtype=dtype))
        for dtype in (torch.float32, torch.float64)
    )
    for name, matrix in ours.items():
        assert matrix.dtype is torch.float64
        assert 1e-12 < error(matrix, wanted[name]) < 1e-5


class TestBlocks:
    def spectra(self, specification, frozen=()):
        torch.manual_seed(10)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3)).double()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        problem = problem_of(model, "cross-entropy", random(SAMPLES, 4), labels(SAMPLES, 3))
        blocks = resolve_blocks(problem.model, problem.parameters, [specification], full=True)
        found = factors_of(problem)
        sizes = {name: parameter.numel() for name, parameter in problem.parameters.items()}
        kept, left_out = blocks_with_factors(blocks, found.coverage.parameters, sizes)
        spectra = FactorSpectra(found)
        return problem, {block.name: spectra.block(block) for block in kept}, left_out

    def test_a_layer_has_the_eigenvalues_of_its_matrix(self):
        problem, found, left_out = self.spectra("layer")
        for name, matrix in matrices_of(problem).items():
            values = np.linalg.eigvalsh(matrix.numpy())
            assert np.allclose(found[name].eigenvalues, values, atol=1e-12 * values[-1])
        assert list(left_out) == ["2"]

    def test_what_factors_cover_of_the_whole_is_the_layers_side_by_side(self):
        _, found, _ = self.spectra("layer")
        assert "full" not in found
        assert found["covered"].size == 25 + 18
        together = np.sort(np.concatenate([found["0"].eigenvalues, found["3"].eigenvalues]))
        assert np.array_equal(found["covered"].eigenvalues, together)

    def test_a_weight_or_a_bias_alone_has_the_principal_submatrix(self):
        problem, found, _ = self.spectra("parameter")
        matrix = matrices_of(problem)["0"].numpy()
        for name, part in (("0.weight", slice(0, 20)), ("0.bias", slice(20, 25))):
            values = np.linalg.eigvalsh(matrix[part, part])
            assert np.allclose(found[name].eigenvalues, values, atol=1e-12 * values[-1])

    def test_parameters_that_are_constants_are_left_out(self):
        problem, found, left_out = self.spectra("layer", frozen=("0.weight", "2.weight", "2.bias", "3.bias"))
        assert {name: block.size for name, block in found.items()} == {"0": 5, "3": 15, "full": 20}
        assert not left_out
        for name, matrix in matrices_of(problem).items():
            values = np.linalg.eigvalsh(matrix.numpy())
            assert np.allclose(found[name].eigenvalues, values, atol=1e-12 * values[-1])

    def test_what_only_rounding_tells_from_zero_is_zero(self):
        _, found, _ = self.spectra("layer")
        values = found["3"].eigenvalues
        assert (values >= 0.0).all()
        assert (values == 0.0).sum() >= 6  # a softmax of three classes has no curvature along their sum


@pytest.mark.parametrize("bias", [True, False])
def test_a_unit_diagonal_is_that_of_both_factors(bias):
    torch.manual_seed(4)
    inputs, targets = random(SAMPLES, 4), labels(SAMPLES, 3)
    inputs[:, 2] = 0.0  # weights that nothing comes through: their rows are zero, and stay so
    problem = problem_of(
        nn.Sequential(nn.Linear(4, 5, bias=bias), nn.Tanh(), nn.Linear(5, 3)).double(),
        "cross-entropy",
        inputs,
        targets,
        7,
        5,
    )
    factors = factors_of(problem)
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)
    spectra = FactorSpectra(factors, unit_diagonal=True)
    dense = matrices_of(problem)
    for block in blocks[:-1]:
        matrix = dense[block.name].numpy()
        scale = np.sqrt(np.diag(matrix))
        scale[scale == 0] = 1.0
        expected = np.linalg.eigvalsh(matrix / np.outer(scale, scale))
        found = spectra.block(block)
        np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
        dead = 5 if block.name == "0" else 0
        assert found.eigenvalues.sum() == pytest.approx(block.size - dead, rel=1e-12)
        assert found.semidefinite
    whole = spectra.block(blocks[-1])
    assert whole.eigenvalues.sum() == pytest.approx(whole.size - 5, rel=1e-12)
