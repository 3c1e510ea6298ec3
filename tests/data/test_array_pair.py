"""How a pair of arrays is understood: kinds, types, classes, normalisation, refusals."""

import numpy as np
import pytest
import torch

from hessent.data.array_pair import dataset_of_arrays
from hessent.errors import DataError

LABELS = np.array([0, 2, 1, 2])


def opened(x, y, **options):
    return dataset_of_arrays(x, y, name="pair", **options)


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", ">f8"])
def test_float_vectors_of_any_width_become_float32(dtype):
    x = np.arange(8).reshape(4, 2).astype(dtype)
    dataset = opened(x, LABELS)
    inputs, targets = everything(dataset)
    assert (dataset.spec.kind, dataset.spec.input_shape, dataset.spec.num_classes) == ("vectors", (2,), 3)
    assert inputs.dtype == torch.float32
    assert inputs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert targets.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_torch_tensors_are_understood_alike(dtype):
    inputs, _ = everything(opened(torch.ones(4, 2, dtype=dtype, requires_grad=True), torch.tensor(LABELS)))
    assert inputs.dtype == torch.float32
    assert not inputs.requires_grad


def test_bytes_are_divided_by_255_and_then_normalised():
    x = np.array([0, 51, 255, 102], dtype=np.uint8).reshape(4, 1, 1, 1)
    torch.testing.assert_close(everything(opened(x, LABELS))[0].flatten(), torch.tensor([0, 0.2, 1, 0.4]))
    normalised = everything(opened(x, LABELS, normalize=(0.2, 0.4)))[0].flatten()
    torch.testing.assert_close(normalised, torch.tensor([-0.5, 0, 2, 0.5]))


def test_floats_are_normalised_too():
    inputs, _ = everything(opened(np.array([[1.0, 3.0]] * 4), LABELS, normalize=(1, 2)))
    assert inputs[0].tolist() == [0, 1]


def test_three_axes_are_images_of_one_channel():
    dataset = opened(np.zeros((4, 5, 6), dtype=np.uint8), LABELS)
    assert (dataset.spec.kind, dataset.spec.input_shape) == ("images", (1, 5, 6))


def test_channels_last_is_asked_about_and_never_guessed():
    x = np.random.default_rng(0).random((4, 8, 7, 3)).astype(np.float32)
    with pytest.raises(DataError, match="layout=nhwc"):
        opened(x, LABELS)
    last = everything(opened(x, LABELS, layout="nhwc"))[0]
    assert torch.equal(last, torch.from_numpy(x).permute(0, 3, 1, 2))
    assert opened(x, LABELS, layout="nchw").spec.input_shape == (8, 7, 3)


def test_integers_of_one_shape_are_tokens_and_may_leave_positions_out():
    x = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint16)
    y = np.array([[2, 3, -1], [5, 6, -100]])
    dataset = opened(x, y)
    assert (dataset.spec.kind, dataset.spec.input_shape, dataset.spec.num_classes) == ("tokens", (3,), 7)
    assert torch.equal(everything(dataset)[1], torch.from_numpy(y))
    assert opened(x, y, classes=50).spec.num_classes == 50


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2)])
def test_float_targets_are_regression(shape):
    dataset = opened(np.zeros((4, 2)), np.ones(shape))
    assert dataset.spec.num_classes is None
    assert everything(dataset)[1].shape == shape
    assert everything(dataset)[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 2)), np.array([0, 1, -1, 2]), "label of sample 2 is -1"),
        (np.zeros((4, 2)), np.zeros((4, 1), dtype=int), r"y.reshape\(-1\)"),
        (np.zeros((4, 2)), np.zeros(3, dtype=int), "4 inputs but 3 targets"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "not a single sample"),
        (np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]]), LABELS, "input of sample 1 is NaN"),
        (np.array([[0.0], [0], [1e300], [0]]), LABELS, "input of sample 2 is NaN or infinite"),
        (np.zeros((4, 2)), np.array([0, 1, np.inf, 2]), "target of sample 2 is NaN or infinite"),
        (np.zeros(4), LABELS, r"x has shape \(4,\)"),
        (np.zeros((4, 2, 2, 2, 2)), LABELS, r"x has shape \(4, 2, 2, 2, 2\)"),
        (np.zeros((4, 2), dtype=int), LABELS, "tokens: x and y integers of one shape"),
        (np.zeros((4, 2), dtype=complex), LABELS, "x is complex128"),
        (np.zeros((4, 2), dtype=bool), LABELS, "x is bool"),
        (np.zeros((4, 2)), np.array(list("abcd")), "y is <U1"),
        (np.array([{}] * 4), LABELS, "x is object"),
        ([[0.0]] * 4, LABELS, "x is list"),
        (torch.zeros(4, 2, dtype=torch.complex64), LABELS, "x is complex64"),
        (np.float32(3), LABELS, "single number"),
        (-np.ones((2, 3), dtype=int), np.ones((2, 3), dtype=int), "a token of sample 0 is -1"),
    ],
)
def test_what_follows_no_rule_is_refused_with_the_place(x, y, message):
    with pytest.raises(DataError, match=message):
        opened(x, y)


def test_labels_beyond_the_declared_classes_are_refused():
    with pytest.raises(DataError, match=r"sample 1 is 2\n.*0 to 1"):
        opened(np.zeros((4, 2)), LABELS, classes=2)


def test_a_bad_sample_far_into_the_data_is_named():
    x = np.zeros((10_000, 2))
    x[9_999, 1] = np.inf
    with pytest.raises(DataError, match="sample 9999"):
        opened(x, np.zeros(10_000, dtype=int))


@pytest.mark.parametrize("normalize", [(0.5,), (0.5, 0.5, 0.5), (0.5, 0.0), (0.0, -1.0)])
def test_a_normalisation_that_does_not_fit_is_refused(normalize):
    with pytest.raises(DataError, match=r"normalize has|normalisation does not fit"):
        opened(np.zeros((4, 2)), LABELS, normalize=normalize)


def test_the_fingerprint_follows_content_and_normalisation_not_the_container():
    x = np.random.default_rng(0).random((4, 2)).astype(np.float32)
    plain = opened(x, LABELS).digest()
    assert opened(torch.from_numpy(x.copy()), torch.tensor(LABELS)).digest() == plain
    assert opened(x, LABELS, normalize=(0, 2)).digest() != plain
    assert opened(x.reshape(4, 2, 1), LABELS).digest() != plain
    assert opened(x, LABELS[::-1].copy()).digest() != plain
