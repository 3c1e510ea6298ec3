"""Laws of GELU: torch's values and derivatives, as many kept bytes, and second backward passes that multiply."""

import pytest
import torch
from test_logit_buffers import randn
from torch import nn
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from hessent.arch.activations import activation_function
from hessent.curvature import gelu as module
from hessent.curvature.blocks import Block
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.graph_memory import GraphMemory
from hessent.curvature.gelu import derivatives_inside, gelu
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import ComputationError

torchs = functional.gelu
WAYS = ("none", "tanh")
every_way = pytest.mark.parametrize("approximate", WAYS)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the arguments that ours serves."""
    found, original = [], module._curve
    monkeypatch.setattr(module, "_curve", lambda x, way: found.append(tuple(x.shape)) or original(x, way))
    return found


def derivatives(function, x, approximate):
    """Value, gradient, a Hessian product and three batched ones; g depends on x, and on a variable of its own."""
    x, scale = x.clone().requires_grad_(), randn(*x.shape, seed=3).to(x.dtype).requires_grad_()
    value = function(2 * x, approximate=approximate)
    variables = (x, scale)
    gradients = torch.autograd.grad((value.sin() * scale).sum(), variables, create_graph=True)
    vectors = [randn(3, *x.shape, seed=seed).to(x.dtype) for seed in (4, 5)]
    single = torch.autograd.grad(gradients, variables, [part[0] for part in vectors], retain_graph=True)
    batched = torch.autograd.grad(gradients, variables, vectors, retain_graph=True, is_grads_batched=True)
    return [value.detach(), *(part.detach() for part in gradients), *single, *batched]


def assert_same(found, expected, tolerance):
    for what, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(what.double(), other.double(), rtol=0, atol=tolerance * scale)


ARGUMENTS = {
    "ordinary": randn(4, 5, seed=1),
    "extreme": torch.tensor([0.0, -0.0, 1e-30, 1.0, -1.0, 3.0, -6.0, 12.0, -12.0, 40.0, -1e3]).double(),
    "strided": randn(5, 3, 4, seed=2).transpose(0, 2),
    "none": randn(0, 3, seed=2),
}


class TestDerivatives:
    @every_way
    @pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "none"])
    def test_value_gradient_and_products_are_torchs(self, name, approximate, calls):
        found = derivatives(gelu, ARGUMENTS[name], approximate)
        assert calls
        assert_same(found, derivatives(torchs, ARGUMENTS[name], approximate), 1e-12)

    @every_way
    @pytest.mark.parametrize("name", ["ordinary", "extreme"])
    def test_single_precision_is_as_good_as_its_rounding(self, name, approximate):
        found = derivatives(gelu, ARGUMENTS[name].float(), approximate)
        assert_same(found, derivatives(torchs, ARGUMENTS[name], approximate), 1e-5)

    @every_way
    def test_second_derivatives_are_the_differences_of_first_ones(self, approximate):
        x = randn(6, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: gelu(x, approximate=approximate), x)
        assert torch.autograd.gradgradcheck(lambda x: gelu(x, approximate=approximate), x, check_batched_grad=True)

    def test_nothing_has_derivatives_of_nothing(self):
        x = ARGUMENTS["none"].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(gelu(x).sum(), x, create_graph=True)
        assert torch.autograd.grad(gradient.sum(), x)[0].shape == x.shape

    @every_way
    def test_first_passes_may_be_repeated_and_batched(self, approximate):
        x = randn(4, seed=1).requires_grad_()
        for function in (gelu, torchs):
            value, vectors = function(x, approximate=approximate), randn(2, 4, seed=2)
            once = [torch.autograd.grad(value, x, vector, retain_graph=True)[0] for vector in vectors]
            (batched,) = torch.autograd.grad(value, x, vectors, is_grads_batched=True)
            assert_same([torch.stack(once)], [batched], 1e-15)

    @every_way
    def test_a_batched_first_pass_may_be_differentiated(self, approximate):
        found = []
        for function in (gelu, torchs):
            x = randn(4, seed=1).requires_grad_()
            value = function(x, approximate=approximate)
            (rows,) = torch.autograd.grad(value, x, torch.eye(4).double(), is_grads_batched=True, create_graph=True)
            found.append(torch.autograd.grad(rows.sin().sum(), x)[0])
        assert_same(found[:1], found[1:], 1e-12)

    def test_an_argument_changed_between_the_passes_is_noticed(self):
        x = (2 * randn(4, seed=1).requires_grad_()).sin()
        value = gelu(x.mul_(2))
        x.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.sum().backward()


class TestHigherOrders:
    @every_way
    def test_derivatives_inside_a_forward_pass_are_differentiated_twice_more(self, approximate):
        found = []
        for function in (gelu, torchs):
            x = randn(4, seed=1).requires_grad_()
            with derivatives_inside():
                value = function(x, approximate=approximate)
                (force,) = torch.autograd.grad(value.sin().sum(), x, create_graph=True)
            (gradient,) = torch.autograd.grad((force.square() + value).sum(), x, create_graph=True)
            found.append(torch.autograd.grad(gradient.sum(), x)[0])
        assert_same(found[:1], found[1:], 1e-12)

    def test_an_argument_changed_after_a_derivative_inside_is_noticed(self):
        base = randn(4, seed=1).requires_grad_()
        with derivatives_inside():
            x = base.sin()
            value = gelu(x)
            torch.autograd.grad(value.sum(), x, create_graph=True)
            x.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(value.sum(), base)

    def test_third_derivatives_are_refused(self):
        x = randn(4, seed=1).requires_grad_()
        (gradient,) = torch.autograd.grad(gelu(x).sum(), x, create_graph=True)
        with pytest.raises(ComputationError, match="more than twice"):
            torch.autograd.grad(gradient.sum(), x, create_graph=True)

    def test_a_second_graph_over_the_same_value_is_refused(self):
        x = randn(4, seed=1).requires_grad_()
        value = gelu(x).sum()
        torch.autograd.grad(value, x, create_graph=True)
        with pytest.raises(ComputationError, match="two gradient graphs"):
            torch.autograd.grad(value, x, create_graph=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch warns of itself
class TestTorchsOwnServes:
    """Where ours cannot follow, torch's is called."""

    @every_way
    def test_inside_function_transforms(self, approximate, calls):
        x, vectors = randn(4, seed=1), randn(3, 4, seed=2)

        def gradient(x):
            with exact_derivatives(nn.Identity()):
                return grad(lambda x: functional.gelu(x, approximate=approximate).sin().sum())(x)

        found = vmap(lambda along: jvp(gradient, (x,), (along,))[1])(vectors)
        x.requires_grad_()
        (expected,) = torch.autograd.grad(torchs(x, approximate=approximate).sin().sum(), x, create_graph=True)
        products = [torch.autograd.grad(expected, x, along, retain_graph=True)[0] for along in vectors]
        assert_same([found], [torch.stack(products)], 1e-12)
        assert not calls

    def test_in_forward_mode(self, calls):
        x, along = randn(4, seed=1), randn(4, seed=2)
        with forward_ad.dual_level():
            slope = forward_ad.unpack_dual(gelu(forward_ad.make_dual(x, along).requires_grad_())).tangent
        difference = (torchs(x + 1e-6 * along) - torchs(x - 1e-6 * along)) / 2e-6
        torch.testing.assert_close(slope, difference, rtol=0, atol=1e-8)
        assert not calls

    def test_for_reduced_precision_constants_and_no_gradient(self, calls):
        x = randn(4, seed=1).requires_grad_()
        gelu(x.bfloat16())
        gelu(x.detach())
        with torch.no_grad():
            gelu(x)
        with torch.autocast("cpu", torch.bfloat16):
            gelu(x.float())
        assert not calls

    def test_to_refuse_what_it_does_not_know(self):
        with pytest.raises(RuntimeError, match="approximate"):
            gelu(randn(4, seed=1).requires_grad_(), approximate="spline")


class Called(nn.Module):
    """A function of a hidden layer, possibly run again in the backward pass."""

    def __init__(self, function, *, again=False):
        super().__init__()
        self.function, self.again = function, again
        self.wide, self.narrow = nn.Linear(3, 8), nn.Linear(8, 2)

    def hidden(self, x):
        return self.function(self.wide(x)).tanh()

    def forward(self, x):
        return self.narrow(checkpoint(self.hidden, x, use_reentrant=False) if self.again else self.hidden(x))


class Curvatures(Called):
    """A model whose outputs are a derivative of its own, of second order, as for differential equations."""

    def forward(self, x):
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(super().forward(x).sum(), x, create_graph=True)
            return torch.autograd.grad(slope.sin().sum(), x, create_graph=True)[0][:, :2]


MODELS = {
    "layer": lambda: Called(nn.GELU()),
    "layer, tanh": lambda: Called(nn.GELU("tanh")),
    "function": lambda: Called(lambda x: functional.gelu(x)),
    "hessent's own": lambda: Called(activation_function("gelu")),
    "hessent's own, tanh": lambda: Called(activation_function("gelu_tanh")),
    "run again": lambda: Called(nn.GELU(), again=True),
    "curvatures": lambda: Curvatures(nn.GELU()),
}


def graph_of(model, at_once=1):
    """Gradient graph of a small model, its block of all parameters and the bytes that it keeps."""
    problem = Problem(model, "mse", [(randn(64, 3, seed=2), randn(64, 2, seed=3))], dtype=torch.float64)
    problem.measure_loss()
    (batch,) = problem.micro_batches()
    with GraphMemory() as memory:
        graph = DoubleBackward(problem, *batch, at_once=at_once)
    return graph, Block("full", tuple(problem.parameters), problem.num_params), memory.nbytes


@pytest.fixture
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__.partition(".")[0])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", MODELS, indirect=True)
@pytest.mark.parametrize("at_once", [1, 3])
def test_products_of_whole_models_are_those_with_torchs(model, at_once, monkeypatch, calls):
    graph, block, _ = graph_of(model, at_once)
    V = randn(block.size, 3, seed=4)
    found = graph.products(block, V)
    assert calls
    monkeypatch.setattr(module, "_SECOND", {})
    calls.clear()
    graph, block, _ = graph_of(model, at_once)
    assert_same([found], [graph.products(block, V)], 1e-12)
    assert not calls


@pytest.mark.parametrize(
    "model", [name for name in MODELS if name not in ("run again", "curvatures")], indirect=True
)
def test_second_backward_passes_multiply_and_graphs_keep_what_torchs_keep(model, monkeypatch):
    graph, block, kept = graph_of(model)
    with Operations() as operations:
        graph.products(block, torch.ones(block.size, 1).double())
    curves = {"gelu", "gelu_backward", "erf", "exp", "tanh"}
    assert "mul" in operations.names
    assert not operations.names & curves
    monkeypatch.setattr(module, "_SECOND", {})
    graph, block, torchs_kept = graph_of(model)
    assert kept == torchs_kept
    with Operations() as operations:  # what it is measured against
        graph.products(block, torch.ones(block.size, 1).double())
    assert "gelu_backward" in operations.names


def test_torchs_name_is_given_back():
    with exact_derivatives(nn.Identity()):
        assert functional.gelu is gelu
    with pytest.raises(ValueError, match="left early"), exact_derivatives(nn.Identity()):
        raise ValueError("left early")
    assert functional.gelu is torchs
