"""Laws of LayerNorm and attention under forward over reverse: torch's derivatives in fewer operations."""

import pytest
import torch
from torch import nn
from torch.func import grad, jvp, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.curvature.blocks import Block
from hessent.curvature.engines import own_tangents
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.forward import ForwardOverReverse
from hessent.curvature.engines.functional_objective import quiet_transforms
from hessent.curvature.engines.linearized import Linearized
from hessent.curvature.engines.norm_tangents import layer_norm
from hessent.curvature.engines.own_tangents import OwnTangents
from hessent.curvature.problem import Problem


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def quiet():
    with quiet_transforms():
        yield


@pytest.fixture
def calls(monkeypatch):
    """Names of the functions that ours stood in for."""
    found = []
    for module, name in ((own_tangents, "layer_norm"), (own_tangents.attention_tangents, "attention")):
        original = getattr(module, name)

        def noted(*args, original=original, name=name, **kwargs):
            found.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)
    return found


def forward_over_reverse(function, operands, vectors):
    """Gradients and their derivative along vectors, all operands being variables."""
    variables = tuple(range(len(operands)))
    return jvp(grad(lambda *parts: function(*parts).sin().sum(), argnums=variables), operands, vectors)


def assert_same(found, expected):
    for parts, others in zip(found, expected, strict=True):
        for part, other in zip(parts, others, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-9, atol=1e-9)


NORMS = {
    "one dimension": (lambda x, w, b: functional.layer_norm(x, (4,), w, b), ((2, 3, 4), (4,), (4,))),
    "two dimensions": (lambda x, w: functional.layer_norm(x, (3, 4), w, eps=0.1), ((2, 3, 4), (3, 4))),
    "bare, strided": (lambda x: functional.layer_norm(x.mT, (3,)), ((2, 3, 4),)),
}
CONSTANT = randn(2, 6, 4, seed=9)
ATTENTIONS = {
    "plain": (functional.scaled_dot_product_attention, ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2))),
    "causal": (
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7),
        ((2, 5, 4), (2, 6, 4), (2, 6, 3)),
    ),
    "constant keys": (
        lambda q, v: functional.scaled_dot_product_attention(q, CONSTANT, v),
        ((2, 5, 4), (2, 6, 4)),
    ),
    "constant queries and values": (
        lambda k: functional.scaled_dot_product_attention(CONSTANT[:, :5], k, CONSTANT),
        ((2, 6, 4),),
    ),
}


@pytest.mark.parametrize("name", NORMS | ATTENTIONS)
@pytest.mark.parametrize("batched", [False, True], ids=["one vector", "batched vectors"])
def test_forward_over_reverse_is_torchs_double_backward(name, batched, calls):
    function, shapes = (NORMS | ATTENTIONS)[name]
    operands = tuple(randn(*shape, seed=seed) for seed, shape in enumerate(shapes))
    vectors = tuple(randn(3, *shape, seed=10 + seed) for seed, shape in enumerate(shapes))
    variables = tuple(operand.clone().requires_grad_() for operand in operands)
    with sdpa_kernel(SDPBackend.MATH):
        gradients = torch.autograd.grad(function(*variables).sin().sum(), variables, create_graph=True)
        products = [
            torch.autograd.grad(gradients, variables, [part[i] for part in vectors], retain_graph=True)
            for i in range(3)
        ]
        with OwnTangents():
            if batched:
                found = vmap(lambda *parts: forward_over_reverse(function, operands, parts)[1])(*vectors)
                assert_same([[part[i] for part in found] for i in range(3)], products)
            else:
                first = tuple(part[0] for part in vectors)
                assert_same(forward_over_reverse(function, operands, first), (gradients, products[0]))
    assert len(calls) == 1


class TestNorm:
    def test_derivatives_of_every_order_and_mode_are_right(self):
        x = randn(3, 4, seed=1).requires_grad_()
        check = {"check_forward_ad": True, "check_batched_grad": True}
        assert torch.autograd.gradcheck(lambda x: layer_norm(x, (4,)), (x,), **check)
        assert torch.autograd.gradgradcheck(
            lambda x: layer_norm(x, (4,)), (x,), check_fwd_over_rev=True, check_rev_over_rev=True
        )
        assert torch.autograd.gradgradcheck(
            lambda x: torch.autograd.grad(layer_norm(x, (4,)).sin().sum(), x, create_graph=True)[0], (x,)
        )

    def test_a_shift_alone_is_added(self):
        # Of this torch knows no second derivative.
        x, bias = randn(3, 4, seed=1), randn(4, seed=2)
        torch.testing.assert_close(layer_norm(x, (4,), bias=bias), functional.layer_norm(x, (4,), None, bias))

    def test_reverse_over_forward_is_right_where_torchs_is_wrong(self):
        x, v = randn(3, 4, seed=1), randn(3, 4, seed=2)

        def slope(x):
            return jvp(lambda x: layer_norm(x, (4,)).sin().sum(), (x,), (v,))[1]

        expected = forward_over_reverse(lambda x: functional.layer_norm(x, (4,)), (x,), (v,))[1][0]
        torch.testing.assert_close(grad(slope)(x), expected, rtol=1e-9, atol=1e-9)


class TestTorchsOwnServes:
    def test_where_nothing_is_differentiated_forwards(self, calls):
        x = randn(2, 3, 4, seed=1)
        with OwnTangents():
            functional.layer_norm(x, (4,))
            functional.scaled_dot_product_attention(x, x, x)
            grad(lambda x: functional.layer_norm(x, (4,)).sum())(x)
        assert calls == []

    def test_where_a_model_takes_derivatives_of_its_own(self, calls):
        x, v = randn(3, 4, seed=1), randn(3, 4, seed=2)

        def model(x):
            return grad(lambda x: functional.layer_norm(x, (4,)).sin().sum())(x)

        with OwnTangents():
            forward_over_reverse(model, (x,), (v,))
        assert calls == []

    def test_for_masks(self, calls):
        x, v = randn(2, 3, 4, seed=1), randn(2, 3, 4, seed=2)
        mask = torch.ones(3, 3, dtype=torch.bool).tril()
        with OwnTangents(), sdpa_kernel(SDPBackend.MATH):
            forward_over_reverse(lambda x: functional.scaled_dot_product_attention(x, x, x, mask), (x,), (v,))
        assert calls == []


class Mixed(nn.Module):
    """Norms of all forms, and attention some of whose operands do not depend on parameters."""

    def __init__(self):
        super().__init__()
        self.first, self.both = nn.LayerNorm(6), nn.LayerNorm((4, 6))
        self.unshifted, self.bare = nn.LayerNorm(6, bias=False), nn.LayerNorm(6, elementwise_affine=False)
        self.query, self.output = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        attend = functional.scaled_dot_product_attention
        normed = self.first(x)
        mixed = attend(self.query(normed), x, normed) + attend(x, self.query(x), x, is_causal=True)
        return self.output(self.bare(self.unshifted(self.both(mixed))).mean(1))


@pytest.mark.parametrize("engine", [Linearized, ForwardOverReverse])
def test_products_of_a_model_are_double_backwards(engine, calls):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Mixed().double()
    batch = randn(5, 4, 6, seed=3), torch.tensor([0, 1, 2, 0, 1])
    problem = Problem(model, "cross-entropy", [batch], dtype=torch.float64)
    names = list(problem.parameters)
    for chosen in (names, names[:2], names[2:5], names[-4:]):
        block = Block("some", tuple(chosen), sum(problem.parameters[name].numel() for name in chosen))
        V = randn(block.size, 2, seed=4)
        expected = DoubleBackward(problem, *batch).products(block, V)
        torch.testing.assert_close(engine(problem, *batch).products(block, V), expected, rtol=1e-9, atol=1e-9)
    assert set(calls) == {"layer_norm", "attention"}
