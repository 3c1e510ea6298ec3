"""Made-up data: seeded, marked, and only of a form that was asked for."""

import pytest
import torch

from hessent.data.dataset import DatasetSpec
from hessent.data.registry import open_dataset
from hessent.data.synthetic import synthetic_name
from hessent.errors import DataError

NAMES = [
    ("synthetic:images?shape=3x6x5&classes=7&samples=40", (3, 6, 5)),
    ("synthetic:vectors?shape=9&classes=7&samples=40", (9,)),
    ("synthetic:tokens?shape=11&classes=7&samples=40", (11,)),
]


@pytest.mark.parametrize(("name", "shape"), NAMES)
def test_it_has_the_form_asked_for_and_says_that_it_is_made_up(name, shape):
    dataset = open_dataset(name)
    inputs, targets = dataset.fetch(torch.arange(40))
    assert dataset.synthetic
    assert inputs.shape == (40, *shape)
    assert 0 <= int(targets.min()) <= int(targets.max()) < 7
    assert dataset.spec == DatasetSpec(name.split(":")[1].split("?")[0], shape, 7)


@pytest.mark.parametrize(("name", "shape"), NAMES)
def test_the_seed_fixes_the_samples(name, shape):
    first = open_dataset(name).digest()
    torch.manual_seed(5)
    assert open_dataset(name).digest() == first
    assert open_dataset(f"{name}&seed=1").digest() != first
    assert open_dataset(name, split="test").digest() != first


def test_next_tokens_are_the_tokens_one_later():
    inputs, targets = open_dataset(NAMES[2][0]).fetch(torch.arange(40))
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


@pytest.mark.parametrize(("name", "shape"), NAMES)
def test_the_name_for_a_form_opens_that_form(name, shape):
    spec = open_dataset(name).spec
    assert open_dataset(synthetic_name(spec, samples=3)).spec == spec


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic", "is not how 'synthetic' is written"),
        ("synthetic:images", "shape=3x32x32"),
        ("synthetic:images?shape=32", "does not fit images"),
        ("synthetic:image?shape=3x8x8", "images, vectors or tokens"),
        ("synthetic:images?shape=3x-8x8", "such as 3x32x32"),
        ("synthetic:vectors?shape=8&samples=10000000000", "bytes of made-up data"),
        ("synthetic:vectors?shape=8&seed=1e3", "an integer"),
    ],
)
def test_a_form_is_never_guessed(name, message):
    with pytest.raises(DataError, match=message):
        open_dataset(name)
