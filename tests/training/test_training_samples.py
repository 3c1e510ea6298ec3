"""`train --samples N` and `hessent spectrum` mean the same samples: the curvature is that of the training loss."""

import pytest
import torch

from hessent.checkpoint.reader import open_checkpoint
from hessent.data.registry import open_dataset
from hessent.data.subset import Subset
from hessent.errors import UsageError
from hessent.pipeline.prepare import prepare
from hessent.pipeline.request import SpectrumRequest
from hessent.training.plan import TrainingRequest
from hessent.training.trainer import train


def asked(out, **changes):
    usual = {"arch": "mlp", "arch_options": {"sizes": "64-8-10"}, "data": "digits", "optimizer": "adam", "steps": 3}
    return TrainingRequest(**{**usual, "out": str(out), "threads": 1, "batch_size": 16, **changes})


@pytest.mark.parametrize("loss", ["cross-entropy", "half-squared-error"])
def test_a_spectrum_is_measured_on_the_samples_that_were_trained_on(tmp_path, loss):
    result = train(asked(tmp_path, samples=100, seed=5, loss=loss))
    assert (result.train_samples, result.test_samples) == (100, 355)
    prepared = prepare(SpectrumRequest(checkpoint=result.checkpoints[-1].file, batch_size=7, dtype="float64"))
    assert prepared.data.samples == 100
    assert prepared.problem.measure_loss() == pytest.approx(result.checkpoints[-1].metrics["train_loss"], rel=1e-6)
    assert 0 < result.checkpoints[-1].metrics["train_accuracy"] < 1


def test_fewer_samples_are_measured_where_that_was_asked_for(tmp_path):
    train(asked(tmp_path, samples=100, spectrum_samples=40))
    metadata = open_checkpoint(f"{tmp_path}/step-000003.safetensors").metadata
    assert (metadata.samples, metadata.extra["train.samples"]) == (40, "100")


def test_runs_on_other_samples_are_not_taken_up(tmp_path):
    train(asked(tmp_path, samples=100))
    with pytest.raises(UsageError, match="samples: 100 there, 101 now"):
        train(asked(tmp_path, samples=101))


@pytest.mark.parametrize("samples", [0, 1443])
def test_more_samples_than_there_are_is_an_error(tmp_path, samples):
    with pytest.raises(UsageError, match="1 to 1442"):
        train(asked(tmp_path, samples=samples))


def test_a_subset_hands_out_its_samples_and_their_digest():
    digits = open_dataset("digits")
    chosen = Subset(digits, torch.tensor([7, 3, 900]))
    inputs, targets = chosen.fetch(torch.tensor([2, 0]))
    expected = digits.fetch(torch.tensor([900, 7]))
    assert torch.equal(inputs, expected[0])
    assert torch.equal(targets, expected[1])
    assert chosen.digest() == digits.digest(torch.tensor([7, 3, 900]))
    assert chosen.digest(torch.tensor([1])) == digits.digest(torch.tensor([3]))
