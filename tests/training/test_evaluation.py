"""Scores over whole splits: independent of batches, in eval mode, and silent where accuracy has no sense."""

import pytest
import torch
from torch import nn

from hessent.curvature.losses.registry import resolve_loss
from hessent.data.dataset import DatasetSpec
from hessent.data.tensors import TensorDataset
from hessent.errors import DataError
from hessent.training import evaluation
from hessent.training.evaluation import evaluate

CPU = torch.device("cpu")


def vectors(targets, classes):
    inputs = torch.linspace(-1, 1, len(targets) * 3).reshape(len(targets), 3)
    return TensorDataset(name="vectors", inputs=inputs, targets=targets, spec=DatasetSpec("vectors", (3,), classes))


def labelled(count=23):
    return vectors(torch.arange(count) % 4, 4)


def score(model, loss, dataset):
    return evaluate(model, resolve_loss(loss), dataset, device=CPU, dtype=torch.float64)


def test_a_score_is_the_mean_over_all_samples_however_they_are_cut(monkeypatch):
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    dataset = labelled()
    inputs, targets = dataset.fetch(torch.arange(23))
    outputs = model(inputs.double())
    expected = nn.functional.cross_entropy(outputs, targets).item()
    hits = (outputs.argmax(1) == targets).double().mean().item()
    for size in (512, 5, 1):
        monkeypatch.setattr(evaluation, "EVALUATION_BATCH", size)
        found = score(model, "cross-entropy", dataset)
        assert found.loss == pytest.approx(expected, rel=1e-12)
        assert found.accuracy == hits


def test_a_score_is_taken_in_eval_mode_and_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 4)).double().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = score(model, "cross-entropy", labelled())
    assert score(model, "cross-entropy", labelled()) == first
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_regression_has_no_accuracy():
    dataset = vectors(torch.linspace(0, 1, 12).reshape(6, 2), None)
    assert score(nn.Linear(3, 2).double(), "mse", dataset).accuracy is None


class Copy(nn.Module):
    """Predicts the token that it sees."""

    def forward(self, tokens):
        return 10.0 * nn.functional.one_hot(tokens, 4).double()


def token_data(targets):
    inputs = torch.tensor([[0, 1, 2], [3, 3, 1]])
    return TensorDataset(
        name="tokens", inputs=inputs, targets=torch.tensor(targets), spec=DatasetSpec("tokens", (3,), 4)
    )


def test_accuracy_of_tokens_leaves_out_the_ignored_ones():
    assert score(Copy(), "next-token", token_data([[0, -1, 2], [-1, 3, 0]])).accuracy == 3 / 4


def test_accuracy_is_unknown_where_the_loss_leaves_items_out_by_a_rule_of_its_own():
    found = score(Copy(), "next-token?ignore_index=3", token_data([[0, 1, 2], [3, 3, 1]]))
    assert found.accuracy is None


def test_targets_that_do_not_fit_are_refused_with_the_name_of_the_data():
    with pytest.raises(DataError, match="vectors"):
        score(nn.Linear(3, 2).double(), "cross-entropy", labelled())
    with pytest.raises(DataError, match="no item"):
        score(Copy(), "next-token", token_data([[-1, -1, -1], [-1, -1, -1]]))
