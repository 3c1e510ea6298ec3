"""Laws of the cross-entropy for large vocabularies: torch's values and derivatives, in a third of the memory."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import grad, hessian, jvp, linearize, vmap
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hessent.curvature import cross_entropy
from hessent.curvature.cross_entropy import summed_cross_entropy
from hessent.curvature.losses.callable_loss import CallableLoss
from hessent.curvature.losses.registry import resolve_loss
from hessent.curvature.problem import Problem


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def everywhere(monkeypatch):
    """Small logits too take the way of large ones, cut into pieces of two rows."""
    monkeypatch.setattr(cross_entropy, "_SMALL", 0)
    monkeypatch.setattr(cross_entropy, "_FEW_CLASSES", 0)
    monkeypatch.setattr(cross_entropy, "_PIECE", 14)


def labels(rows, classes, ignored=()):
    found = torch.randint(0, classes, (rows,), generator=torch.Generator().manual_seed(1))
    found[list(ignored)] = -100
    return found


EXTREME = torch.tensor([[1e4, -1e4, 0.0, 3.0], [-1e4, 1e4, 1e4, 2.0], [0.0, 0.0, -1e4, -1e4]], dtype=torch.float64)
CASES = {
    "plain": (randn(11, 7), labels(11, 7)),
    "ignored rows": (3 * randn(11, 7), labels(11, 7, ignored=(0, 4, 5, 10))),
    "all ignored": (randn(3, 7), labels(3, 7, ignored=(0, 1, 2))),
    "one class": (randn(5, 1), labels(5, 1)),
    "one row": (randn(1, 7), labels(1, 7)),
    "extreme, sure of the target": (EXTREME, torch.tensor([0, 1, 0])),
    "extreme, sure of another class": (EXTREME, torch.tensor([1, 0, 2])),
    "columns first": (randn(7, 11).T, labels(11, 7)),
}
every_case = pytest.mark.parametrize(
    ("logits", "targets"), [pytest.param(*case, id=name) for name, case in CASES.items()]
)
every_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1])


def torchs(logits, targets, smoothing):
    return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)


def ours(logits, targets, smoothing):
    return summed_cross_entropy(logits, targets, label_smoothing=smoothing)


def derivatives(loss, logits, targets, smoothing, vectors, scale=1.0):
    """Value, gradient and Hessian products of a loss with vectors (k, N, V), one after the other."""
    logits = logits.clone().requires_grad_()
    value = scale * loss(logits, targets, smoothing)
    (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
    products = [torch.autograd.grad(gradient, logits, vector, retain_graph=True)[0] for vector in vectors]
    return value.detach(), gradient.detach(), torch.stack(products)


def assert_same(found, expected, tolerance):
    for what, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(what, other, rtol=0, atol=tolerance * scale)


@pytest.mark.usefixtures("everywhere")
class TestDerivatives:
    @every_case
    @every_smoothing
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
    @pytest.mark.parametrize("scale", [1.0, -0.3, 0.0])
    def test_value_gradient_and_products_are_torchs(self, logits, targets, smoothing, dtype, tolerance, scale):
        logits, vectors = logits.to(dtype), randn(3, *logits.shape, seed=2).to(dtype)
        found = derivatives(ours, logits, targets, smoothing, vectors, scale)
        assert_same(found, derivatives(torchs, logits, targets, smoothing, vectors, scale), tolerance)

    @every_smoothing
    def test_the_hessian_is_the_softmax_covariance_of_every_counted_row(self, smoothing):
        logits, targets = CASES["ignored rows"]
        probabilities = logits.softmax(1)
        expected = torch.zeros(11, 7, 11, 7, dtype=torch.float64)
        for row in (targets >= 0).nonzero().flatten().tolist():
            p = probabilities[row]
            expected[row, :, row, :] = p.diag() - torch.outer(p, p)
        found = torch.autograd.functional.hessian(lambda z: ours(z, targets, smoothing), logits)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)

    @every_case
    @every_smoothing
    def test_batched_products_are_those_one_by_one(self, logits, targets, smoothing):
        logits = logits.clone().requires_grad_()
        vectors = randn(3, *logits.shape, seed=2)
        (gradient,) = torch.autograd.grad(ours(logits, targets, smoothing), logits, create_graph=True)
        found = torch.autograd.grad(gradient, logits, vectors, retain_graph=True, is_grads_batched=True)[0]
        for vector, product in zip(vectors, found, strict=True):
            expected = torch.autograd.grad(gradient, logits, vector, retain_graph=True)[0]
            torch.testing.assert_close(product, expected, rtol=0, atol=1e-15)

    def test_batched_gradients_of_the_loss_are_its_multiples(self):
        logits, targets = CASES["ignored rows"]
        logits = logits.clone().requires_grad_()
        value = ours(logits, targets, 0.1)
        scales = torch.tensor([1.0, -2.0], dtype=torch.float64)
        found = torch.autograd.grad(value, logits, scales, retain_graph=True, is_grads_batched=True)[0]
        (gradient,) = torch.autograd.grad(value, logits)
        torch.testing.assert_close(found, scales[:, None, None] * gradient, rtol=0, atol=1e-14)

    @every_smoothing
    def test_a_function_of_the_loss_has_its_second_derivative(self, smoothing):
        # The scale of the gradient depends on the parameters here.
        logits, targets = CASES["ignored rows"]
        found, expected = (
            torch.autograd.functional.hessian(lambda z, loss=loss: loss(z, targets, smoothing).square(), logits)
            for loss in (ours, torchs)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))

    @every_smoothing
    def test_third_derivatives_are_right(self, smoothing):
        logits, targets = (value[:3] for value in CASES["ignored rows"])
        vector = randn(3, 7, seed=3)

        def product(z):
            (gradient,) = torch.autograd.grad(ours(z, targets, smoothing), z, create_graph=True)
            return torch.autograd.grad(gradient, z, vector, create_graph=True)[0]

        assert torch.autograd.gradcheck(product, (logits.clone().requires_grad_(),))

    def test_a_target_that_is_no_class_is_refused(self):
        with pytest.raises(RuntimeError, match="out of bounds"):
            ours(randn(2, 7), torch.tensor([0, 7]), 0.0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch warns of itself
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
@pytest.mark.usefixtures("everywhere")
class TestTransforms:
    """Inside torch.func's transforms torch's own cross-entropy serves; ours refuses them aloud."""

    @every_smoothing
    def test_forward_over_reverse_is_right(self, smoothing):
        logits, targets = CASES["ignored rows"]
        vectors = randn(3, *logits.shape, seed=2)
        expected = derivatives(torchs, logits, targets, smoothing, vectors)[2]

        def gradient(z):
            return grad(lambda z: ours(z, targets, smoothing))(z)

        _, linear = linearize(gradient, logits)
        batched = vmap(lambda vector: jvp(gradient, (logits,), (vector,))[1])(vectors)
        for found in (batched, torch.stack([linear(vector) for vector in vectors])):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        dense = hessian(lambda z: ours(z, targets, smoothing))(logits)
        torch.testing.assert_close(torch.einsum("abcd,kcd->kab", dense, vectors), expected, rtol=0, atol=1e-12)

    def test_forward_mode_is_right(self):
        logits, targets = CASES["ignored rows"]
        vector = randn(*logits.shape, seed=2)
        with forward_ad.dual_level():
            dual = ours(forward_ad.make_dual(logits, vector), targets, 0.0)
            slope = forward_ad.unpack_dual(dual).tangent
        _, gradient, _ = derivatives(torchs, logits, targets, 0.0, [vector])
        torch.testing.assert_close(slope, (gradient * vector).sum(), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("transform", [lambda f, z: grad(f)(z), lambda f, z: vmap(f)(z[None])])
    def test_ours_refuses_transforms_that_it_is_not_told_of(self, transform, monkeypatch):
        monkeypatch.setattr(cross_entropy, "is_plain", lambda tensor: True)
        targets = labels(2, 7)
        with pytest.raises(RuntimeError, match="setup_context"):
            transform(lambda z: ours(z, targets, 0.0), randn(2, 7))


class LiveBuffers(TorchDispatchMode):
    """Counts live storages of at least `nbytes`, in units of `nbytes`, those of `others` left out."""

    def __init__(self, nbytes, *others):
        super().__init__()
        self.nbytes = nbytes
        self.peak = 0.0
        self._others = {tensor.untyped_storage().data_ptr() for tensor in others}
        self._made = {}

    def now(self):
        self._made = {key: made for key, made in self._made.items() if not made[0].expired()}
        return sum(size for _, size in self._made.values()) / self.nbytes

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(results):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.nbytes() >= self.nbytes and storage.data_ptr() not in self._others:
                self._made[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, self.now())
        return results


ROWS, VOCABULARY, WIDTH = 40, 40_000, 8
LOSSES = ["next-token", "cross-entropy", "cross-entropy?label_smoothing=0.1"]


def large_case(name):
    """Targets and the shape of logits, of a micro-batch of 6.4 MB; some tokens are ignored."""
    targets = labels(ROWS, VOCABULARY)
    if name != "next-token":
        return (ROWS, VOCABULARY), targets
    targets[:5] = -1
    return (4, ROWS // 4, VOCABULARY), targets.reshape(4, -1)


@pytest.mark.parametrize("name", LOSSES)
class TestBuffers:
    def test_one_buffer_is_kept_and_one_made_by_a_second_backward_pass(self, name):
        shape, targets = large_case(name)
        logits, vector = randn(*shape, dtype=torch.float32).requires_grad_(), randn(*shape, dtype=torch.float32)
        vectors = torch.stack([vector] * 3)
        with LiveBuffers(logits.nbytes, logits, vector, vectors) as buffers:
            total = resolve_loss(name).sum(logits, targets)
            assert buffers.peak == 0
            (gradient,) = torch.autograd.grad(total, logits, create_graph=True)
            assert (buffers.peak, buffers.now()) == (1, 1)  # the gradient itself
            (product,) = torch.autograd.grad(gradient, logits, vector, retain_graph=True)
            assert (buffers.peak, buffers.now()) == (2, 2)  # and the product
            del product, total
            torch.autograd.grad(gradient, logits, vectors, retain_graph=True, is_grads_batched=True)
            assert buffers.peak == 4  # and three products

    def test_the_graph_of_a_model_with_a_tied_head_keeps_one_buffer(self, name):
        shape, targets = large_case(name)
        embedding, head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        head.weight = embedding.weight
        model = nn.Sequential(embedding, nn.LayerNorm(WIDTH), head)
        problem = Problem(model, name, [(torch.zeros(shape[:-1], dtype=torch.int64), targets)])
        ((inputs, targets),) = problem.micro_batches()
        parameters = list(problem.parameters.values())
        with LiveBuffers(4 * ROWS * VOCABULARY) as buffers:
            total, _ = problem.loss_sum(inputs, targets)
            gradients = torch.autograd.grad(total, parameters, create_graph=True)
            assert buffers.peak == 2  # logits and their gradient
            del total
            assert buffers.now() == 1
            vectors = [torch.ones_like(parameter) for parameter in parameters]
            torch.autograd.grad(gradients, parameters, vectors, retain_graph=True)
            # Beside the one kept: both terms of the head's tangent with their sum, then the sum with the product.
            assert buffers.peak == 4
            assert buffers.now() == 1

    def test_the_loss_is_measured_with_one_buffer_however_many_micro_batches(self, name):
        shape, targets = large_case(name)
        model = nn.Linear(WIDTH, VOCABULARY)
        problem = Problem(model, name, [(randn(*shape[:-1], WIDTH), targets)] * 3)
        with LiveBuffers(4 * ROWS * VOCABULARY) as buffers:
            problem.measure_loss()
        assert buffers.peak == 1

    def test_large_logits_have_torchs_derivatives(self, name):
        shape, targets = large_case(name)
        logits = randn(*shape, dtype=torch.float32)
        loss, smoothing = resolve_loss(name), 0.1 if "smoothing" in name else 0.0
        found = derivatives(lambda z, t, _: loss.sum(z, t), logits, targets, smoothing, [torch.ones_like(logits)])
        expected = derivatives(
            lambda z, t, epsilon: functional.cross_entropy(
                z.flatten(0, -2), t.flatten(), reduction="sum", label_smoothing=epsilon, ignore_index=-1
            ),
            logits.double(),
            targets,
            smoothing,
            [torch.ones_like(logits, dtype=torch.float64)],
        )
        assert_same([part.double() for part in found], expected, 1e-6)


class Counting(nn.Linear):
    """A layer that counts how often it runs."""

    calls = 0

    def forward(self, inputs):
        type(self).calls += 1
        return super().forward(inputs)


@pytest.mark.parametrize(
    ("loss", "targets", "items"),
    [
        ("next-token", torch.tensor([[0, -1], [2, 3]]), 3),
        ("cross-entropy", torch.tensor([0, 1]), 2),
        ("mse", torch.zeros(2, 4), 2),
        (lambda outputs, targets: outputs.mean(), {"y": torch.zeros(2, 4)}, 2),
    ],
)
def test_items_are_counted_without_the_model_where_targets_tell(loss, targets, items, monkeypatch):
    monkeypatch.setattr(Counting, "calls", 0)
    problem = Problem(Counting(3, 4), loss, [])
    assert problem.count_items(torch.zeros(2, 3), targets) == items
    assert Counting.calls == 0


def test_items_are_counted_with_the_model_where_targets_do_not_tell():
    problem = Problem(nn.Linear(3, 4), lambda outputs, targets: outputs.mean(), [])
    assert isinstance(problem.loss, CallableLoss)
    assert problem.count_items(torch.zeros(5, 3), None) == 5
