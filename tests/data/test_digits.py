"""The shipped digits: their content, the rule of the split, and the constants of the normalisation."""

import pytest
import torch

from hessent.data.digits import belongs_to_test
from hessent.data.registry import open_dataset
from hessent.errors import DataError


def everything(dataset):
    return dataset.fetch(torch.arange(len(dataset)))


def test_the_splits_are_disjoint_and_make_up_the_whole():
    train, test, whole = (open_dataset("digits", split=split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(whole)) == (1442, 355, 1797)
    _, labels = everything(whole)
    mask = belongs_to_test(labels)
    inputs = everything(whole)[0]
    assert torch.equal(everything(test)[0], inputs[mask])
    assert torch.equal(everything(train)[0], inputs[~mask])


def test_the_split_is_stratified():
    whole = everything(open_dataset("digits", split="all"))[1].bincount()
    test = everything(open_dataset("digits", split="test"))[1].bincount()
    assert torch.equal(test, whole // 5)


def test_training_inputs_have_mean_zero_and_deviation_one():
    inputs, targets = everything(open_dataset("digits"))
    assert inputs.shape == (1442, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert inputs.mean().item() == pytest.approx(0, abs=1e-3)
    assert inputs.std().item() == pytest.approx(1, abs=1e-3)


def test_the_digits_are_the_published_ones():
    whole = open_dataset("digits", split="all")
    inputs, labels = everything(whole)
    pixels = ((inputs * 0.3762 + 0.3051) * 16).round().to(torch.int64)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert pixels[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (int(pixels.min()), int(pixels.max()), int(pixels.sum())) == (0, 16, 561718)
    assert "CC BY 4.0" in whole.licence
    assert not whole.synthetic


def test_a_name_that_fixes_its_split_has_only_that_one():
    dataset = open_dataset("digits?split=test", split="train")
    assert dataset.split == "test"
    assert dataset.splits == ("test",)


def test_pixels_are_left_alone_where_that_is_asked_for():
    inputs = everything(open_dataset("digits?normalize=0,1"))[0]
    assert (float(inputs.min()), float(inputs.max())) == (0.0, 1.0)
    assert torch.equal((inputs * 16).round() / 16, inputs)
    assert open_dataset("digits?normalize=0,1").digest() != open_dataset("digits").digest()


@pytest.mark.parametrize(("query", "message"), [("0", "MEAN,STD"), ("0,0", "std of 0"), ("0,1,2", "MEAN,STD")])
def test_a_normalisation_that_is_none_is_refused(query, message):
    with pytest.raises(DataError, match=message):
        open_dataset(f"digits?normalize={query}")
