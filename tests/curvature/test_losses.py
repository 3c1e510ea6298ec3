"""Laws of the losses: independence of the cut, exact second derivatives, dtype, and refusals that help."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from hessent.curvature.cross_entropy import summed_cross_entropy
from hessent.curvature.losses.callable_loss import CallableLoss
from hessent.curvature.losses.loss import Loss
from hessent.curvature.losses.registry import loss_names, resolve_loss
from hessent.errors import DataError, InputError, UsageError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape):
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


def class_case():
    return randn(11, 5), torch.randint(0, 5, (11,), generator=generator(1))


def regression_case():
    return randn(11, 3, 2), randn(11, 3, 2).flip(0)


def token_case(ignored=-1):
    targets = torch.randint(0, 7, (11, 4), generator=generator(2))
    targets[0] = ignored  # a whole sample is padding
    targets[3:9, 2:] = ignored
    targets[10, 1] = ignored
    return randn(11, 4, 7), targets


CASES = [
    ("cross-entropy", class_case),
    ("cross-entropy?label_smoothing=0.1", class_case),
    ("mse", regression_case),
    ("mse?reduction=sum", regression_case),
    ("half-squared-error", regression_case),
    ("half-squared-error", class_case),
    ("next-token", token_case),
    ("next-token?ignore_index=-100", lambda: token_case(-100)),
]


def mean_loss(loss, outputs, targets, sizes):
    parts = list(zip(outputs.split(sizes), targets.split(sizes), strict=True))
    return sum(loss.sum(*part) for part in parts) / sum(loss.count(*part) for part in parts)


@pytest.mark.parametrize(("name", "case"), CASES)
@pytest.mark.parametrize("sizes", [[11], [8, 3], [1, 10], [1] * 11, [10, 1], [0, 4, 7]])
def test_how_the_data_is_cut_changes_nothing(name, case, sizes):
    loss = resolve_loss(name)
    outputs, targets = case()
    torch.testing.assert_close(
        mean_loss(loss, outputs, targets, sizes), mean_loss(loss, outputs, targets, [11]), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize(
    ("name", "case", "reference"),
    [
        ("cross-entropy", class_case, functional.cross_entropy),
        ("cross-entropy?label_smoothing=0.1", class_case, nn.CrossEntropyLoss(label_smoothing=0.1)),
        ("mse", regression_case, functional.mse_loss),
        ("mse?reduction=sum", regression_case, lambda o, t: functional.mse_loss(o, t) * 6),
        ("half-squared-error", regression_case, lambda o, t: functional.mse_loss(o, t) * 3),
        (
            "half-squared-error",
            class_case,
            lambda o, t: functional.mse_loss(o, functional.one_hot(t, 5).double()) * 2.5,
        ),
        (
            "next-token",
            token_case,
            lambda o, t: functional.cross_entropy(o.flatten(0, 1), t.flatten(), ignore_index=-1),
        ),
    ],
)
def test_the_mean_over_all_data_is_torchs(name, case, reference):
    outputs, targets = case()
    torch.testing.assert_close(
        mean_loss(resolve_loss(name), outputs, targets, [8, 3]), reference(outputs, targets), rtol=1e-13, atol=0
    )


def test_averaging_batches_by_themselves_would_be_another_function():
    # The law above has teeth: with ignored positions the mean of per-batch means is off by many per cent.
    loss = resolve_loss("next-token")
    outputs, targets = token_case()
    means = [loss.sum(o, t) / loss.count(o, t) for o, t in zip(outputs.split(9), targets.split(9), strict=True)]
    assert abs(sum(means) / 2 / mean_loss(loss, outputs, targets, [11]) - 1) > 0.01


@pytest.mark.parametrize(("name", "case"), CASES)
def test_second_derivatives_are_exact(name, case):
    loss = resolve_loss(name)
    outputs, targets = (value[:2] for value in case())
    assert torch.autograd.gradgradcheck(lambda o: loss.sum(o, targets), (outputs.requires_grad_(),), fast_mode=True)


def test_cross_entropys_hessian_is_the_softmax_covariance():
    outputs, targets = class_case()
    hessian = torch.autograd.functional.hessian(
        lambda o: resolve_loss("cross-entropy").sum(o[None], targets[:1]), outputs[0]
    )
    probabilities = outputs[0].softmax(0)
    expected = probabilities.diag() - torch.outer(probabilities, probabilities)
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "case"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_outputs_dtype_is_kept(name, case, dtype):
    outputs, targets = case()
    if targets.is_floating_point():
        targets = targets.float()  # the data's precision must not pull a float64 model down
    assert resolve_loss(name).sum(outputs.to(dtype), targets).dtype == dtype


def test_a_batch_of_ignored_positions_only_counts_nothing():
    loss = resolve_loss("next-token")
    outputs, targets = randn(2, 3, 7).requires_grad_(), torch.full((2, 3), -1)
    loss.check(outputs, targets, "batch")
    assert loss.count(outputs, targets) == 0
    total = loss.sum(outputs, targets)
    assert total.item() == 0
    assert torch.autograd.grad(total, outputs)[0].abs().max() == 0


def test_column_outputs_and_flat_targets_are_never_broadcast():
    loss = resolve_loss("mse")
    outputs, targets = randn(6, 1), randn(6)
    loss.check(outputs, targets, "batch")
    expected = (outputs.squeeze(1) - targets).square().mean()
    torch.testing.assert_close(loss.sum(outputs, targets) / loss.count(outputs, targets), expected)
    with pytest.raises(DataError, match="same shape"):
        loss.check(randn(6), randn(6, 1), "batch")


def mean_absolute_error(outputs, targets):
    return (outputs - targets).abs().mean()


@pytest.mark.parametrize(
    "given", [mean_absolute_error, nn.L1Loss(), "torch.nn:L1Loss", "torch.nn.functional:l1_loss"]
)
def test_a_callable_is_weighted_by_samples(given):
    loss = resolve_loss(given)
    outputs, targets = regression_case()
    loss.check(outputs, targets, "batch")
    torch.testing.assert_close(
        mean_loss(loss, outputs, targets, [8, 3]), functional.l1_loss(outputs, targets), rtol=1e-13, atol=0
    )


def test_a_function_in_a_file_is_a_loss(tmp_path):
    file = tmp_path / "my_loss.py"
    file.write_text("def absolute(outputs, targets):\n    return (outputs - targets).abs().mean()\n")
    loss = resolve_loss(f"{file}:absolute")
    assert loss.name == f"{file}:absolute"
    assert loss.sum(*regression_case()).ndim == 0


def test_a_callable_may_take_targets_of_any_form():
    loss = resolve_loss(lambda outputs, targets: (outputs["y"] - targets["y"]).square().mean())
    batch = {"y": randn(4)}, {"y": randn(4)}
    loss.check(*batch, "batch")
    assert loss.count(*batch) == 4
    assert loss.count(batch[0], None) == 4


@pytest.mark.parametrize("name", loss_names())
def test_a_built_in_name_resolves_to_itself(name):
    loss = resolve_loss(name)
    assert loss.name == name
    assert resolve_loss(loss) is loss
    assert isinstance(loss, Loss)
    assert not isinstance(loss, CallableLoss)


def test_parameters_are_part_of_the_name():
    assert [resolve_loss(name).name for name, _ in CASES] == [name for name, _ in CASES]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cross-entrpy", "did you mean 'cross-entropy'"),
        ("hinge", "cross-entropy, mse, half-squared-error, next-token"),
        ("cross-entropy?smoothing=0.1", "label_smoothing"),
        ("cross-entropy?label_smoothing=1", "below 1"),
        ("cross-entropy?label_smoothing=nan", "finite number"),
        ("mse?reduction=none", "mean or sum"),
        ("next-token?ignore_index=x", "an integer"),
        ("torch.nn.functional:l2_loss", "did you mean"),
        ("torch:pi", "not a loss"),
        ("no_such_package_at_all:loss", "ModuleNotFoundError"),
        ("no/such/file.py:loss", "there is no file"),
        (nn.MSELoss(reduction="sum"), "reduction='mean'"),
        (3.0, "not a loss"),
    ],
)
def test_a_wrong_loss_is_refused_with_advice(name, message):
    with pytest.raises(UsageError, match=message):
        resolve_loss(name)


LOGITS, TOKENS = torch.zeros(3, 5), torch.zeros(3, 2, 5)


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "message"),
    [
        ("cross-entropy", LOGITS, torch.tensor([0, 9, 1]), r"5 outputs, the data has labels up to 9"),
        ("cross-entropy", LOGITS, torch.tensor([0, -100, 1]), r"a label is -100\n.*0 to 4"),
        ("cross-entropy", LOGITS, torch.zeros(3), "class indices"),
        ("cross-entropy", LOGITS, torch.zeros(3, dtype=torch.int32), "class indices"),
        ("cross-entropy", LOGITS, torch.zeros(3, 5), r"\(3, 5\) with targets \(3, 5\)"),
        ("cross-entropy", TOKENS, torch.zeros(3, dtype=torch.int64), r"\(B, classes\)"),
        ("cross-entropy", {"logits": LOGITS}, torch.zeros(3), "is a dict"),
        ("cross-entropy", LOGITS, torch.zeros(2, dtype=torch.int64), "cannot compare"),
        ("cross-entropy", LOGITS.long(), torch.zeros(3, dtype=torch.int64), "real numbers"),
        ("next-token", TOKENS, torch.full((3, 2), 5), "labels up to 5"),
        ("next-token", TOKENS, torch.full((3, 2), -2), "a label is -2"),
        ("next-token", TOKENS, torch.full((3, 2), -100), r"ignore_index=-100"),
        ("next-token", LOGITS, torch.zeros(3, dtype=torch.int64), r"\(B, T, vocabulary\)"),
        ("mse", LOGITS, torch.zeros(3, 5, dtype=torch.int64), "cross-entropy"),
        ("mse", LOGITS, torch.zeros(3), "same shape"),
        ("mse", LOGITS, torch.zeros(3, 1), "same shape"),
        ("half-squared-error", LOGITS, torch.zeros(3), "same shape"),
        ("half-squared-error", LOGITS, torch.tensor([0, 9, 1]), "labels up to 9"),
        ("half-squared-error", LOGITS, torch.zeros(3, dtype=torch.int32), "class indices"),
        ("half-squared-error", TOKENS, torch.zeros(3, dtype=torch.int64), r"\(B, classes\)"),
        (lambda outputs, targets: outputs, LOGITS, torch.zeros(3), r"a tensor \(3, 5\)"),
        (lambda outputs, targets: 1.0, LOGITS, torch.zeros(3), "a float"),
    ],
)
def test_targets_that_do_not_fit_are_refused_with_advice(name, outputs, targets, message):
    with pytest.raises(InputError, match=message) as caught:
        resolve_loss(name).check(outputs, targets, "micro-batch 2")
    assert caught.value.expected or caught.value.fix


def test_labels_from_ignored_positions_do_not_count():
    outputs, targets = token_case(50256)
    resolve_loss("next-token?ignore_index=50256").check(outputs, targets, "batch")
    with pytest.raises(DataError, match="labels up to 50256"):
        resolve_loss("next-token").check(outputs, targets, "batch")


@pytest.mark.parametrize("margin", [3.0, 9.0, 14.0])
def test_the_curvature_of_well_fitted_samples_keeps_its_digits_in_float32(margin):
    """Taken from p, 1 - p of a target at e^-14 has one digit left in float32, and so has the whole Hessian."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 10, generator=generator, dtype=torch.float64)
    labels = torch.arange(5) % 10
    logits[torch.arange(5), labels] += margin
    directions = torch.randn(5, 10, generator=generator, dtype=torch.float64)
    found = {}
    for dtype in (torch.float64, torch.float32):
        z = logits.float().to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(summed_cross_entropy(z, labels), z, create_graph=True)
        (product,) = torch.autograd.grad((gradient * directions.to(dtype)).sum(), z)
        found[dtype] = torch.stack([gradient.detach().double(), product.double()])
    errors = (found[torch.float32] - found[torch.float64]).flatten(1).norm(dim=1)
    assert (errors <= 1e-6 * found[torch.float64].flatten(1).norm(dim=1)).all(), errors


def test_margins_of_any_size_give_the_loss_of_the_definition():
    logits = torch.zeros(7, 4, dtype=torch.float64)
    logits[:, 2] = torch.tensor([-900.0, -50.0, -1.0, 0.0, 1.0, 50.0, 900.0])
    labels = torch.full((7,), 2)
    labels[3] = -100  # ignored
    expected = functional.cross_entropy(logits, labels, reduction="sum")
    assert float(summed_cross_entropy(logits, labels)) == pytest.approx(float(expected), rel=1e-14)


@pytest.mark.parametrize("case", [class_case, regression_case])
def test_the_forms_of_half_the_squared_error_are_those_of_a_unit_normal_distribution(case):
    outputs, targets = (value[:1] for value in case())
    forms, z = resolve_loss("half-squared-error").forms, torch.zeros_like(outputs)
    rows = targets if targets.is_floating_point() else functional.one_hot(targets, outputs.shape[1])
    residual = (outputs - rows).flatten()

    def matrix(form):
        return torch.autograd.functional.hessian(form, z).reshape(outputs.numel(), -1)

    torch.testing.assert_close(
        matrix(lambda z: forms.gauss_newton(outputs, targets, z)), torch.eye(len(residual)).double()
    )
    torch.testing.assert_close(
        matrix(lambda z: forms.fisher(outputs, targets, z)), torch.eye(len(residual)).double()
    )
    torch.testing.assert_close(
        matrix(lambda z: forms.empirical_fisher(outputs, targets, z)), torch.outer(residual, residual)
    )


def test_labels_are_not_drawn_from_a_normal_distribution():
    outputs, targets = class_case()
    draws = torch.full((11, 5), 0.5)  # five draws per label: as many numbers as outputs, and yet not theirs
    with pytest.raises(UsageError, match="exact expectation"):
        resolve_loss("half-squared-error").forms.sampled_fisher(outputs, targets, torch.zeros_like(outputs), draws)


@pytest.mark.parametrize("targets", [torch.tensor([0, 1, 2, 0]), torch.zeros(4, 2)])
def test_a_function_that_fails_or_stretches_its_targets_is_refused(targets):
    loss = resolve_loss("torch.nn:HuberLoss")
    with pytest.raises(DataError, match=r"outputs \(4, 3\) and targets \(4"):
        loss.check(torch.zeros(4, 3), targets, "--data x")
    loss.check(torch.zeros(4, 3), torch.zeros(4, 3), "--data x")


def test_a_function_with_a_mistake_of_its_own_is_named():
    def broken(outputs, targets):
        return outputs.no_such_thing

    with pytest.raises(DataError, match="no_such_thing") as refused:
        resolve_loss(broken).check(torch.zeros(2, 2), torch.zeros(2), "--data x")
    assert "broken" in str(refused.value)


def test_targets_that_would_be_stretched_to_a_square_are_refused():
    with pytest.raises(DataError, match="target size"):
        resolve_loss("torch.nn:HuberLoss").check(torch.zeros(3, 3), torch.zeros(3), "--data x")
