"""The space of the gradient: one Lanczos run against dense linear algebra, on matrices and on a small net."""

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like
from small_matrices import MatrixOperator
from tiny_net import TinyNet

from hessent.curvature.matrices.kinds import Fisher
from hessent.curvature.operator import SymmetricOperator
from hessent.eigensolver.gradient_space import formed_space, krylov_space
from hessent.eigensolver.solved_direction import pair_eigenvalues, pair_reach, solved_direction
from hessent.errors import UsageError
from hessent.measures.closed_steps import closed_steps, inverse
from hessent.measures.eigenbasis_step import eigenbasis_step
from hessent.measures.gradient_quadrature import GradientQuadrature
from hessent.measures.natural_step import NO_BOUND, natural_step

MEMORY = 10**9


class Diagonal(SymmetricOperator):
    """diag(λ)."""

    def __init__(self, values):
        self.values, self.size = torch.as_tensor(values), len(values)
        self.dtype, self.device, self.name, self.num_matvecs = torch.float64, torch.device("cpu"), "diagonal", 0

    def _multiply(self, V):
        return self.values[:, None] * V


def gradient_of(size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def krylov(operator, gradient, steps, memory=MEMORY):
    return krylov_space(operator, gradient, steps=steps, memory=memory)


@pytest.mark.parametrize("function", [inverse(0.5), inverse(0.5, 0.5), np.ones_like, np.exp], ids=str)
def test_functions_of_the_matrix_are_those_of_dense_algebra(function):
    operator, gradient = DenseOperator(np.linspace(-2.0, 5.0, 40), seed=1), gradient_of(40)
    components = operator.eigenvectors.T @ gradient
    images = torch.as_tensor(function(operator.eigenvalues)) * components
    vector, number = operator.eigenvectors @ images, float(components @ images)
    for space in (krylov(operator, gradient, 40), formed_space(operator, gradient)):
        assert space.sum_of(function).exact
        assert space.quadrature.complete
        assert space.num_matvecs == 40
        torch.testing.assert_close(space.apply(function), vector, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(space.sum_of(function).value, number, rtol=1e-9)


@pytest.mark.parametrize("memory", [MEMORY, 8 * 300 * 6 + 4 * 300 * 30])
def test_what_is_predicted_holds_for_the_very_vector_that_an_unclosed_run_gives(memory):
    operator, gradient = DenseOperator(network_like(300), seed=2), gradient_of(300)
    space = krylov(operator, gradient, 30, memory)
    tolerance = 1e-10 if memory == MEMORY else 1e-4
    for step in closed_steps(space.quadrature, damping=0.2).values():
        move = 0.1 * space.combine(step.moves)
        image = operator.matrix @ move
        np.testing.assert_allclose(
            step.decrease(0.1).value, -float(gradient @ move + move @ image / 2), rtol=tolerance
        )
        np.testing.assert_allclose(step.norm(0.1).value, float(move @ image), rtol=tolerance)
        np.testing.assert_allclose(space.moves_of(move), 0.1 * step.moves, atol=tolerance)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0], ids=["white", "root", "linear"])
@pytest.mark.parametrize("steps", [20, 60])
def test_the_intervals_of_an_unclosed_run_cover_the_truth(exponent, steps):
    held = []
    for seed in range(4):
        ranks = np.arange(1, 601)
        signs = np.where(np.random.default_rng(seed).random(600) < 0.2, -1.0, 1.0)
        for values in (network_like(600, seed=seed), np.sort(10 * signs / ranks**1.1)):
            operator = Diagonal(values)
            gradient = gradient_of(600, seed) * torch.as_tensor(np.abs(values) ** exponent)
            damping = 1e-3 * float(np.abs(values).max())
            everything = GradientQuadrature(values, gradient.numpy() ** 2, np.zeros(600), 600, True, True)
            true = closed_steps(everything, damping=damping)
            found = closed_steps(krylov(operator, gradient, steps).quadrature, damping=damping)
            for name in ("newton", "normalized-ngd", "gradient-norm-ngd"):
                for what in ("decrease", "norm"):
                    own, exact = (getattr(side[name], what)(0.5) for side in (found, true))
                    assert not own.exact
                    rounding = 1e-9 * abs(exact.value)
                    held.append(own.low - rounding <= exact.value <= own.high + rounding)
    assert np.mean(held) >= 0.95


def test_gradient_descent_is_exact_after_a_single_step():
    operator, gradient = DenseOperator(network_like(100), seed=3), gradient_of(100)
    own = closed_steps(krylov(operator, gradient, 2).quadrature, damping=0.1)["gd"]
    assert own.decrease(0.1).exact
    bent = float(gradient @ operator.matrix @ gradient)
    np.testing.assert_allclose(own.decrease(0.1).value, 0.1 * float(gradient @ gradient) - 0.005 * bent)
    assert krylov(operator, gradient, 1).sum_of(np.square).low is None  # a single step tells no error


def test_few_different_eigenvalues_close_the_space_but_do_not_make_it_complete():
    operator = DenseOperator(np.repeat([-1.0, 0.0, 2.0, 5.0], 10), seed=4)
    space = krylov(operator, gradient_of(40), 30)
    assert space.closed
    assert not space.quadrature.complete
    np.testing.assert_allclose(space.values, [-1.0, 0.0, 2.0, 5.0], atol=1e-12)
    exact = formed_space(operator, gradient_of(40))
    np.testing.assert_allclose(space.sum_of(inverse(0.1)).value, exact.sum_of(inverse(0.1)).value, rtol=1e-10)
    assert not space.quadrature.largest().exact
    assert exact.quadrature.largest().exact
    one = eigenbasis_step(space.quadrature, damping=0.1)
    assert one.decrease(0.2).exact
    assert one.norm(0.2).value == pytest.approx(0.04 * (-1 / 1.1 + 2 / 2.1 + 5 / 5.1))


def test_a_multiple_of_the_identity_and_a_single_parameter_are_no_trouble():
    class Identity(MatrixOperator):
        def _multiply(self, V):
            return V  # its input itself

    space = krylov(Identity(np.eye(7)), gradient_of(7), 5)
    assert (space.closed, space.num_matvecs) == (True, 1)
    torch.testing.assert_close(space.apply(inverse(1.0)), gradient_of(7) / 2)
    single = krylov(MatrixOperator([[3.0]]), torch.tensor([2.0]), 60)
    assert single.quadrature.complete
    assert single.sum_of(inverse(0.0)).value == pytest.approx(4 / 3)


def test_float32_products_close_and_are_as_good_as_they_are():
    operator = DenseOperator(np.repeat([1.0, 3.0, 9.0], 20), seed=5, dtype=torch.float32)
    space = krylov(operator, gradient_of(60), 30)
    exact = formed_space(DenseOperator(np.repeat([1.0, 3.0, 9.0], 20), seed=5), gradient_of(60))
    assert space.num_matvecs < 8
    np.testing.assert_allclose(space.sum_of(inverse(0.1)).value, exact.sum_of(inverse(0.1)).value, rtol=1e-5)


def test_converged_pairs_are_eigenpairs_by_falling_magnitude_turned_along_the_gradient():
    operator, gradient = DenseOperator(network_like(300), seed=6), gradient_of(300, 6)
    values, vectors, components = krylov(operator, gradient, 50).converged(8)
    np.testing.assert_allclose(values, np.sort(operator.eigenvalues)[::-1][:8], rtol=1e-6)
    assert vectors.dtype == torch.float64
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(vectors.T @ gradient, torch.as_tensor(components), rtol=1e-6, atol=1e-8)
    assert (components > 0).all()
    images = operator.matrix @ vectors - vectors * torch.as_tensor(values)
    assert (images.norm(dim=0) <= 1e-2 * torch.as_tensor(np.abs(values))).all()


def test_the_largest_ritz_value_and_its_residual_enclose_the_largest_eigenvalue():
    for seed in range(6):
        operator = DenseOperator(network_like(200, seed=seed), seed=seed)
        largest = krylov(operator, gradient_of(200, seed), 6).quadrature.largest()
        assert largest.low <= operator.eigenvalues.max() * (1 + 1e-12)
        assert largest.high >= operator.eigenvalues.max() * (1 - 1e-12)


def test_memory_decides_the_precision_and_the_number_of_vectors():
    operator, gradient, size = DenseOperator(network_like(200), seed=7), gradient_of(200), 200
    work = 6 * 8 * size
    wide = krylov(operator, gradient, 30, work + 8 * size * 30)
    narrow = krylov(operator, gradient, 30, work + 4 * size * 30)
    short = krylov(operator, gradient, 30, work + 4 * size * 12)
    assert [len(space.values) for space in (wide, narrow, short)] == [30, 30, 12]
    np.testing.assert_allclose(narrow.sum_of(inverse(1.0)).value, wide.sum_of(inverse(1.0)).value, rtol=1e-5)
    assert narrow.sum_of(inverse(1.0)).value != wide.sum_of(inverse(1.0)).value
    with pytest.raises(UsageError, match="10 Lanczos steps"):
        krylov(operator, gradient, 30, work)


@pytest.mark.parametrize("route", [krylov_space, formed_space])
def test_a_gradient_without_a_direction_is_refused_and_whoever_watches_may_end_the_work(route):
    operator, memory = MatrixOperator(np.diag(np.arange(1.0, 91.0))), {"memory": MEMORY}
    options = memory if route is krylov_space else {}
    for wrong in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no direction"):
            route(operator, torch.full((90,), wrong, dtype=torch.float64), **options)
    seen = []

    def advanced(count):
        seen.append(count)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        route(operator, gradient_of(90), advanced=advanced, **options)
    assert len(seen) == 1


@pytest.fixture(scope="module")
def net():
    return TinyNet()


def test_on_a_net_every_function_of_h_agrees_with_dense_linear_algebra(net):
    values, vectors = np.linalg.eigh(net.hessian.numpy())
    gradient, damping = net.gradient.numpy(), 1e-3 * np.abs(values).max()
    metric, along = np.abs(values) + damping, vectors.T @ gradient
    dense = {
        "newton": along / metric,
        "normalized-ngd": along / metric / np.sqrt(np.sum(along**2 / metric)),
        "gradient-norm-ngd": along / np.sqrt(metric),
        "gd": along,
        "normalized-gd": along / np.linalg.norm(along) / np.sqrt(values.max()),
    }
    assert values.min() < -damping < damping < values.max()
    for space in (krylov(net.operator(), net.gradient, 60), formed_space(net.operator(), net.gradient)):
        assert space.closed
        found = closed_steps(space.quadrature, damping=damping)
        assert set(found) == set(dense)
        for name, own in found.items():
            step = -0.5 * vectors @ dense[name]
            decrease = -float(gradient @ step + 0.5 * step @ net.hessian.numpy() @ step)
            np.testing.assert_allclose(own.decrease(0.5).value, decrease, rtol=1e-6)
            np.testing.assert_allclose(own.norm(0.5).value, step @ net.hessian.numpy() @ step, rtol=1e-6)
            np.testing.assert_allclose(space.combine(0.5 * own.moves).numpy(), step, rtol=1e-5, atol=1e-7)
        length = np.sign(along) / np.sqrt(metric)
        signs = eigenbasis_step(space.quadrature, damping=damping)
        expected = 0.01 * np.sum(along * length) - 0.01**2 / 2 * np.sum(values * length**2)
        np.testing.assert_allclose(signs.decrease(0.01).value, expected, rtol=1e-6)


def test_on_a_net_natural_gradient_descent_inverts_the_fisher_matrix(net):
    largest = float(torch.linalg.eigvalsh(net.fisher).max())
    damping = 1e-3 * largest
    metric = net.fisher + damping * torch.eye(len(net.gradient), dtype=torch.float64)
    direction = -torch.linalg.solve(metric, net.gradient)
    bent = float(direction @ net.hessian @ direction)
    expected = -0.3 * float(net.gradient @ direction) - 0.045 * bent
    hessian = formed_space(net.operator(), net.gradient)
    pair = np.sort(torch.linalg.eigvals(torch.linalg.solve(metric, net.hessian)).real.numpy())
    for route in (formed_space, krylov_space):
        options = {} if route is formed_space else {"steps": 60, "memory": MEMORY}
        space = route(net.operator(Fisher()), net.gradient, **options)
        solved = solved_direction(space, net.operator(), net.gradient, damping)
        torch.testing.assert_close(solved.vector, direction, rtol=1e-6, atol=1e-6 * float(direction.norm()))
        np.testing.assert_allclose(solved.along.decrease(0.3).value, expected, rtol=1e-6)
        moves = hessian.moves_of(solved.vector)
        own = natural_step(hessian.quadrature, solved.along, moves=moves)
        np.testing.assert_allclose(own.decreases(0.3).sum(), expected, rtol=1e-6)
        assert own.stability_limit.reason == NO_BOUND  # the net's curvature along this step is negative
        seen = pair_reach(net.operator(Fisher()), hessian, damping, most=10)
        assert 0.05 * pair.max() < seen <= pair.max() * (1 + 1e-9)
        everything = pair_reach(net.operator(Fisher()), hessian, damping, most=len(net.gradient))
        np.testing.assert_allclose(everything, pair.max(), rtol=1e-6)
        bounded = natural_step(hessian.quadrature, solved.along, reach=seen)
        assert bounded.stability_limit.high == pytest.approx(2 / seen)
        assert bounded.stability_limit.low is None
    whole = pair_eigenvalues(formed_space(net.operator(Fisher()), net.gradient), hessian, damping)
    np.testing.assert_allclose(whole, pair, atol=1e-7 * np.abs(pair).max())
    with pytest.raises(ValueError, match="known whole"):
        pair_eigenvalues(krylov(net.operator(Fisher()), net.gradient, 5), hessian, damping)


def test_the_interval_of_an_unclosed_inverse_of_f_covers_the_truth():
    held = []
    for seed in range(8):
        fisher = DenseOperator(np.abs(network_like(300, seed=seed)), seed=seed)
        hessian, gradient = DenseOperator(network_like(300, seed=seed + 50), seed=seed), gradient_of(300, seed)
        true = solved_direction(formed_space(fisher, gradient), hessian, gradient, 0.2).along
        for steps in (12, 25):
            along = solved_direction(krylov(fisher, gradient, steps), hessian, gradient, 0.2).along
            assert len(along.slopes) == 3
            for own, exact in ((along.decrease(1.0), true.decrease(1.0)), (along.norm(1.0), true.norm(1.0))):
                held.append(own.low <= exact.value <= own.high)
    assert np.mean(held) >= 0.9
