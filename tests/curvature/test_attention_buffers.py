"""Laws of attention for long sequences: torch's values and derivatives, and no buffer of T x T per head."""

import math

import pytest
import torch
from engine_models import kinds, settled
from test_logit_buffers import LiveBuffers, randn
from torch import nn
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from hessent.arch.registry import build
from hessent.curvature import attention as module
from hessent.curvature import attention_pieces as pieces
from hessent.curvature.attention import attention
from hessent.curvature.blocks import Block
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.curvature.substitutes import Substitute

pytestmark = pytest.mark.filterwarnings("ignore:.*performance drop:UserWarning")


@pytest.fixture
def everywhere(monkeypatch):
    """Short sequences too take the way of long ones, in pieces of a few rows."""
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(pieces, "_LIMITS", {"cpu": (40, 3)})


@pytest.fixture
def calls(monkeypatch):
    """Sizes of the sequences that take the way of long ones."""
    found, original = [], module._attended
    monkeypatch.setattr(module, "_attended", lambda q, *others: found.append(q.shape[2]) or original(q, *others))
    return found


def torchs(*operands, **options):
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(*operands, **options)


def operands(query=(2, 3, 7, 4), key=(2, 3, 7, 4), value=(2, 3, 7, 5)):
    return [randn(*shape, seed=seed) for seed, shape in enumerate((query, key, value))]


def seen(*shape):
    return randn(*shape, seed=9) > 0.4


BLIND = torch.tensor([[True, False, True], [False, False, False], [False, True, False], [False, False, False]])
CASES = {
    "plain": (operands(), {}),
    "causal": (operands(), {"is_causal": True}),
    "causal, fewer keys": (operands((2, 3, 7, 4), (2, 3, 4, 4), (2, 3, 4, 5)), {"is_causal": True}),
    "causal, more keys": (operands((2, 3, 4, 4), (2, 3, 9, 4), (2, 3, 9, 5)), {"is_causal": True}),
    "scale": (operands(), {"scale": -0.3, "is_causal": True}),
    "other keys": (operands((2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 2)), {}),
    "boolean mask": (operands(), {"attn_mask": seen(7, 7) | torch.eye(7, dtype=torch.bool)}),
    "mask of keys": (operands(), {"attn_mask": seen(2, 1, 1, 7)}),
    "additive mask": (operands(), {"attn_mask": randn(2, 3, 7, 7, seed=8)}),
    "mask of -inf": (operands(), {"attn_mask": torch.zeros(7, 7).double().masked_fill(~seen(7, 7), -math.inf)}),
    "blind rows": (operands((1, 2, 4, 4), (1, 2, 3, 4), (1, 2, 3, 5)), {"attn_mask": BLIND}),
    "blind rows, additive": (
        operands((1, 2, 4, 4), (1, 2, 3, 4), (1, 2, 3, 5)),
        {"attn_mask": torch.zeros(4, 3).double().masked_fill(~BLIND, -math.inf)},
    ),
    "shared heads": (operands((2, 3, 7, 4), (2, 1, 7, 4), (1, 1, 7, 5)), {}),
    "one sequence": (operands((7, 4), (5, 4), (5, 3)), {}),
    "heads only": (operands((3, 7, 4), (3, 7, 4), (3, 7, 4)), {"attn_mask": seen(7, 7)}),
    "sure": ([100 * part for part in operands()], {"is_causal": True}),
}  # fmt: skip
every_case = pytest.mark.parametrize(
    ("inputs", "options"), [pytest.param(*case, id=name) for name, case in CASES.items()]
)


def derivatives(function, inputs, options):
    """Value, gradients, a Hessian product and three batched ones of a function of attention."""
    inputs = [part.clone().requires_grad_() for part in inputs]
    outputs = function(*inputs, **options)
    weights = randn(*outputs.shape, seed=5).to(outputs.dtype)
    gradients = torch.autograd.grad((outputs.sin() * weights).sum(), inputs, create_graph=True)
    vectors = [randn(3, *part.shape, seed=7).to(part.dtype) for part in inputs]
    single = torch.autograd.grad(gradients, inputs, [part[0] for part in vectors], retain_graph=True)
    batched = torch.autograd.grad(gradients, inputs, vectors, retain_graph=True, is_grads_batched=True)
    return [outputs.detach(), *(part.detach() for part in gradients), *single, *batched]


def assert_same(found, expected, tolerance):
    for what, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(what.double(), other.double(), rtol=0, atol=tolerance * scale)


@pytest.mark.usefixtures("everywhere")
class TestDerivatives:
    @every_case
    def test_value_gradient_and_products_are_torchs(self, inputs, options, calls):
        found = derivatives(attention, inputs, options)
        assert calls
        assert_same(found, derivatives(torchs, inputs, options), 1e-12)

    @pytest.mark.parametrize(
        "name", sorted(CASES.keys() - {"sure"})
    )  # rounding decides where scores are in the thousands
    def test_single_precision_is_as_good_as_its_rounding(self, name):
        inputs, options = CASES[name]
        mask = options.get("attn_mask")
        narrow = {"attn_mask": mask.float()} if mask is not None and mask.is_floating_point() else {}
        found = derivatives(attention, [part.float() for part in inputs], options | narrow)
        assert_same(found, derivatives(torchs, inputs, options), 1e-5)

    @pytest.mark.parametrize("name", ["causal, more keys", "boolean mask", "blind rows"])
    def test_second_derivatives_are_the_differences_of_first_ones(self, name):
        inputs, options = CASES[name]
        inputs = [part[:1, :2, :, :2].clone().requires_grad_() for part in inputs]
        assert torch.autograd.gradcheck(
            lambda *parts: attention(*parts, **options), inputs, check_batched_grad=True
        )
        assert torch.autograd.gradgradcheck(
            lambda *parts: attention(*parts, **options), inputs, check_batched_grad=True
        )

    @pytest.mark.parametrize("name", ["causal, more keys", "additive mask", "blind rows"])
    def test_third_derivatives_are_right(self, name):
        inputs, options = CASES[name]

        def third(function):
            parts = [part.clone().requires_grad_() for part in inputs]
            found = torch.autograd.grad(function(*parts, **options).sin().sum(), parts, create_graph=True)
            for seed in (1, 2):
                vectors = [randn(*part.shape, seed=seed) for part in parts]
                found = torch.autograd.grad(found, parts, vectors, create_graph=True)
            return [part.detach() for part in found]

        assert_same(third(attention), third(torchs), 1e-12)

    def test_a_batched_pass_that_would_need_a_graph_is_refused(self):
        inputs = [part.requires_grad_() for part in operands()]
        outputs = attention(*inputs)
        vectors = torch.ones(2, *outputs.shape, dtype=outputs.dtype)
        with pytest.raises(NotImplementedError, match="keeps no graph"):
            torch.autograd.grad(outputs, inputs, vectors, is_grads_batched=True, create_graph=True)

    def test_the_derivative_by_some_operands_is_that_of_torch(self):
        for wanted in range(3):
            found, expected = [], []
            for function, results in ((attention, found), (torchs, expected)):
                inputs = operands()
                inputs[wanted].requires_grad_()
                (gradient,) = torch.autograd.grad(function(*inputs).sin().sum(), inputs[wanted], create_graph=True)
                results += torch.autograd.grad(gradient, inputs[wanted], torch.ones_like(gradient))
            assert_same(found, expected, 1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch warns of itself
@pytest.mark.usefixtures("everywhere")
class TestTorchsOwnServes:
    """Where ours cannot follow, torch's attention is called."""

    def test_inside_function_transforms(self, calls):
        inputs, vectors = operands(), [randn(3, *part.shape, seed=7) for part in operands()]

        def gradient(*parts):
            with exact_derivatives(nn.Identity()):
                return grad(lambda *parts: attention(*parts).sin().sum(), argnums=(0, 1, 2))(*parts)

        found = vmap(lambda *along: jvp(gradient, tuple(inputs), along)[1])(*vectors)
        inputs = [part.requires_grad_() for part in inputs]
        gradients = torch.autograd.grad(torchs(*inputs).sin().sum(), inputs, create_graph=True)
        for index in range(3):
            along = [part[index] for part in vectors]
            expected = torch.autograd.grad(gradients, inputs, along, retain_graph=True)
            assert_same([part[index] for part in found], expected, 1e-12)
        assert not calls

    def test_where_a_transform_does_not_reach_attention(self, calls):
        inputs = operands()
        with sdpa_kernel(SDPBackend.MATH):
            found = grad(lambda x: (x * attention(*inputs)).sum())(torch.tensor(2.0).double())
        torch.testing.assert_close(found, torchs(*inputs).sum())
        assert not calls

    def test_in_forward_mode(self, calls):
        query, key, value = operands()
        along = randn(*query.shape, seed=7)
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            dual = attention(forward_ad.make_dual(query, along), key, value)
            slope = forward_ad.unpack_dual(dual).tangent
        step = 1e-6 * along
        difference = (torchs(query + step, key, value) - torchs(query - step, key, value)) / 2e-6
        torch.testing.assert_close(slope, difference, rtol=0, atol=1e-8)
        assert not calls

    @pytest.mark.parametrize(
        "options",
        [
            {"attn_mask": torch.zeros(7, 7, dtype=torch.float64, requires_grad=True)},
            {"dropout_p": 0.5},
            {"enable_gqa": True},
            {"scale": 0.5, "enable_gqa": True},
        ],
    )
    def test_for_what_ours_does_not_know(self, options, calls):
        with exact_derivatives(nn.Identity()):
            torch.manual_seed(0)
            found = functional.scaled_dot_product_attention(*operands(), **options)
        torch.manual_seed(0)
        torch.testing.assert_close(found, torchs(*operands(), **options), rtol=0, atol=0)
        assert not calls

    def test_for_reduced_precision(self, calls):
        attention(*(part.bfloat16() for part in operands()))
        with torch.autocast("cpu", torch.bfloat16):
            assert attention(*(part.float() for part in operands())).dtype == torch.bfloat16
        assert not calls

    @pytest.mark.parametrize(
        ("query", "key", "value", "options"),
        [
            ((2, 3, 7, 4), (2, 3, 7, 3), (2, 3, 7, 4), {}),
            ((2, 3, 7, 4), (2, 3, 7, 4), (2, 3, 6, 4), {}),
            ((2, 3, 7, 4), (2, 2, 7, 4), (2, 2, 7, 4), {}),
            ((2, 3, 7, 4), (2, 3, 7, 4), (2, 3, 7, 4), {"attn_mask": torch.ones(6, 7, dtype=torch.bool)}),
            ((2, 3, 7, 4), (2, 3, 7, 4), (2, 3, 7, 4), {"attn_mask": torch.ones(7, 7).bool(), "is_causal": True}),
        ],
    )
    def test_to_refuse_what_does_not_fit(self, query, key, value, options):
        with sdpa_kernel(SDPBackend.MATH), pytest.raises(RuntimeError):
            attention(*operands(query, key, value), **options)


class Attentive(nn.Module):
    """torch's layer of attention, padded and causal."""

    def __init__(self, *, need_weights=False):
        super().__init__()
        self.layer, self.need_weights = nn.MultiheadAttention(4, 2, batch_first=True), need_weights

    def forward(self, x):
        padded = torch.zeros(x.shape[:2], dtype=torch.bool)
        padded[0, -1] = True
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mixed, _ = self.layer(x, x, x, key_padding_mask=padded, attn_mask=later, need_weights=self.need_weights)
        return mixed.mean(dim=1)


class Recomputed(nn.Module):
    """Attention that is run again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.joined = nn.Linear(4, 12)

    def attend(self, x):
        queries, keys, values = self.joined(x)[:, None].chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True).tanh()

    def forward(self, x):
        return checkpoint(self.attend, x, use_reentrant=False)[:, 0, -1]


def encoder_layer():
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(1), nn.Linear(12, 4))


def product(model, loss, inputs, targets, *, at_once=1):
    problem = Problem(model, loss, [(inputs, targets)], dtype=torch.float64)
    block = Block("full", tuple(problem.parameters), problem.num_params)
    V = randn(problem.num_params, 3, seed=4)
    (batch,) = problem.micro_batches()
    return DoubleBackward(problem, *batch, at_once=at_once).products(block, V)


SEQUENCES, TARGETS = randn(4, 3, 4, seed=2), randn(4, 4, seed=3)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize(
    ("make", "data"),
    [
        *(
            (lambda name=name: settled(kinds()[name]), name)
            for name in ("GPT, tied", "ViT, class token", "ViT, average")
        ),
        (Attentive, None),
        (encoder_layer, None),
        (Recomputed, None),
    ],
)
def test_products_of_whole_models_do_not_depend_on_the_way(make, data, at_once, monkeypatch, calls):
    torch.manual_seed(0)
    model = make()
    loss, inputs, targets = "mse", SEQUENCES, TARGETS
    if data:
        loss, inputs, targets = kinds()[data].loss, kinds()[data].inputs, kinds()[data].targets
    monkeypatch.setattr(module, "_SMALL", math.inf)
    expected = product(model, loss, inputs, targets, at_once=at_once)
    assert not calls
    monkeypatch.setattr(module, "_SMALL", 0)
    found = product(model, loss, inputs, targets, at_once=at_once)
    assert calls
    assert_same([found], [expected], 1e-12)


LENGTH, HEADS, DEPTH = 256, 2, 2
PROBABILITIES = 4 * HEADS * LENGTH * LENGTH  # bytes of one sample's, 512 KiB


@pytest.fixture
def tight(monkeypatch):
    """Pieces of a sixteenth of a sample's probabilities."""
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(pieces, "_LIMITS", {"cpu": (PROBABILITIES // 4 // 16, LENGTH)})


def live(function, options, unit):
    """Peak and end of live storages in units of bytes, smaller ones left out: graph, product, batched products."""
    inputs = [randn(1, HEADS, LENGTH, 4, seed=seed, dtype=torch.float32).requires_grad_() for seed in range(3)]
    vectors = [randn(3, *part.shape, seed=7, dtype=torch.float32) for part in inputs]
    mask = options.get("attn_mask")
    with (
        LiveBuffers(unit, *inputs, *vectors, *([] if mask is None else [mask])) as buffers,
        sdpa_kernel(SDPBackend.MATH),
    ):
        gradients = torch.autograd.grad(function(*inputs, **options).sin().sum(), inputs, create_graph=True)
        kept = buffers.now()
        buffers.peak = 0
        torch.autograd.grad(gradients, inputs, [part[0] for part in vectors], retain_graph=True)
        single, buffers.peak = buffers.peak, 0
        torch.autograd.grad(gradients, inputs, vectors, retain_graph=True, is_grads_batched=True)
    return kept, single, buffers.peak


@pytest.mark.usefixtures("tight")
class TestBuffers:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"is_causal": True},
            {"attn_mask": seen(LENGTH, LENGTH)},
            {"attn_mask": randn(LENGTH, LENGTH).float()},
        ],
        ids=["plain", "causal", "boolean mask", "additive mask"],
    )
    def test_nothing_of_the_size_of_the_probabilities_exists(self, options):
        assert live(attention, options, PROBABILITIES) == (0, 0, 0)
        assert min(live(torchs, options, PROBABILITIES)) >= 3  # what it is measured against

    @pytest.mark.parametrize("causal", [False, True])
    def test_a_second_backward_pass_holds_a_few_pieces_at_once(self, causal):
        kept, single, _ = live(attention, {"is_causal": causal}, PROBABILITIES // 16)
        assert kept == 0
        assert single <= 6

    def test_the_graph_of_a_language_model_keeps_none_per_layer(self):
        options = {"vocab": 11, "context": LENGTH, "width": 8, "depth": DEPTH, "heads": HEADS, "hidden": 8}
        model = build("gpt", options=options, where="test").model
        tokens = torch.randint(0, 11, (1, LENGTH), generator=torch.Generator().manual_seed(0))
        problem = Problem(model, "next-token", [(tokens, tokens)])
        block = Block("full", tuple(problem.parameters), problem.num_params)
        (batch,) = problem.micro_batches()
        with LiveBuffers(PROBABILITIES // 2) as buffers:
            graph = DoubleBackward(problem, *batch)
            graph.products(block, torch.ones(problem.num_params, 2))
        assert buffers.peak == 0

    def test_a_mask_changed_between_the_passes_is_noticed(self):
        inputs, mask = [part.requires_grad_() for part in operands()], seen(7, 7)
        outputs = attention(*inputs, attn_mask=mask)
        mask.fill_(True)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            outputs.sum().backward()


def test_short_sequences_keep_torchs_attention(calls):
    attention(*operands())
    assert not calls


def test_torchs_attention_is_itself_again_when_the_last_has_left(monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 0)
    substitute = Substitute("scaled_dot_product_attention", attention)
    substitute.__enter__()
    substitute.__enter__()
    substitute.__exit__()
    assert functional.scaled_dot_product_attention is attention
    substitute.__exit__()
    assert functional.scaled_dot_product_attention is module._torchs
    with pytest.raises(ValueError, match="left early"), exact_derivatives(nn.Identity()):
        raise ValueError("left early")
    assert functional.scaled_dot_product_attention is module._torchs


def test_whoever_replaced_attention_before_keeps_their_own(monkeypatch):
    def theirs(*operands):
        return operands[0]

    substitute = Substitute("scaled_dot_product_attention", attention)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", theirs)
    with substitute:
        assert functional.scaled_dot_product_attention is theirs
    assert functional.scaled_dot_product_attention is theirs
