"""`hessent bound` as it is typed: what it computes against dense algebra, and how it refuses."""

import json
import math
import shutil
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_run import trained_mlp
from torch.nn import functional

from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.curvature.losses.registry import resolve_loss
from hessent.curvature.problem import Problem
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import UsageError
from hessent.measures.pac_bayes import GRID
from hessent.pipeline.bound import draws as bound_draws
from hessent.pipeline.bound.losses import losses_of, moved
from hessent.pipeline.bound.refusals import refuse_loss
from hessent.pipeline.bound.run import run_bound
from hessent.pipeline.observer import Silent
from hessent.pipeline.request import SpectrumRequest
from hessent.report.schema import load_schema

SAMPLES = 96  # as the checkpoint says


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors")


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def document(capsys, *words):
    code, out, err = run(capsys, "bound", *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    jsonschema.validate(found, load_schema("hessent.bound/1"))
    return found


def net(checkpoint):
    model = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test").model
    model.load_state_dict(load_file(checkpoint))
    return model.double().eval()


def samples_of(split, count=None):
    inputs, targets = zip(
        *BatchStream(open_dataset("digits", split=split), samples=count, batch_size=512), strict=True
    )
    return torch.cat(inputs).double(), torch.cat(targets)


def errors(model, split, count=None):
    inputs, targets = samples_of(split, count)
    return float((model(inputs).argmax(dim=1) != targets).double().mean())


def dense(checkpoint):
    """The model, its weights as one vector, and the Hessian of the summed loss."""
    model = net(checkpoint)
    inputs, targets = samples_of("train", SAMPLES)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    names, shapes = zip(*[(name, p.shape) for name, p in model.named_parameters()], strict=True)
    sizes = [math.prod(shape) for shape in shapes]

    def summed(vector):
        parts = dict(
            zip(names, [p.reshape(s) for p, s in zip(vector.split(sizes), shapes, strict=True)], strict=True)
        )
        logits = torch.func.functional_call(model, parts, (inputs,))
        return functional.cross_entropy(logits, targets, reduction="sum")

    return model, weights, torch.autograd.functional.hessian(summed, weights)


def test_the_kl_is_that_of_the_dense_gaussians_and_the_errors_are_counted(checkpoint, capsys):
    found = document(capsys, checkpoint, "--dtype", "float64")
    model, weights, hessian = dense(checkpoint)
    s2 = found["sigma2"]
    assert s2 in GRID
    values, vectors = torch.linalg.eigh(hessian)
    covariance = torch.linalg.inv((vectors * values.clamp_min(0)) @ vectors.T + torch.eye(len(values)) / s2)
    n, norm = len(values), float(weights @ weights)
    kl = (float(covariance.trace()) / s2 - n + norm / s2 + n * math.log(s2) - float(covariance.logdet())) / 2
    assert found["kl"]["exact"]
    assert found["kl"]["value"] == pytest.approx(kl, rel=1e-8)
    assert found["clamped_mass"]["value"] == pytest.approx(float(-values[values < 0].sum() / values.abs().sum()))
    assert (found["samples"], found["test_samples"], found["draws"]) == (SAMPLES, 355, 100)
    assert found["train_01"] == pytest.approx(errors(model, "train", SAMPLES))
    assert found["test_01"] == pytest.approx(errors(model, "test"))
    # The same posterior, drawn by other means.
    root, wrong = torch.linalg.cholesky(covariance), []
    torch.manual_seed(7)
    for _ in range(100):
        torch.nn.utils.vector_to_parameters(
            weights + root @ torch.randn(n, dtype=torch.float64), model.parameters()
        )
        wrong.append((errors(model, "train", SAMPLES), errors(model, "test")))
    means, deviations = np.mean(wrong, axis=0), np.std(wrong, axis=0)
    for name, mean, deviation in zip(("gibbs_train_01", "gibbs_test_01"), means, deviations, strict=True):
        assert abs(found[name]["value"] - mean) < 5 * deviation * math.sqrt(2 / 100)
        assert found[name]["low"] < mean < found[name]["high"]


def test_the_bound_is_made_of_what_is_printed(checkpoint, capsys):
    found = document(capsys, checkpoint, "--samples", "1442", "--delta", "0.1")
    mean, kl, items = found["gibbs_train_01"]["value"], found["kl"]["value"], found["samples"]
    root = math.sqrt((kl + math.log(2 * math.sqrt(items) * len(GRID) / 0.08)) / (2 * items))
    assert found["bound_01"]["low"] == pytest.approx(mean + root)
    assert found["bound_01"]["value"] == found["bound_01"]["high"]
    upper = found["bound_01"]["value"] - root  # of the mean over draws: kl(mean ‖ upper) = ln(1/0.02)/draws
    entropy = mean * math.log(mean / upper) + (1 - mean) * math.log((1 - mean) / (1 - upper))
    assert entropy == pytest.approx(math.log(50) / found["draws"], rel=1e-4)
    assert not found["vacuous"]
    assert found["gibbs_test_01"]["value"] < found["bound_01"]["value"] < 1
    _, out, _ = run(capsys, "bound", checkpoint)
    assert "vacuous" in out  # of 96 samples
    assert "share of wrong answers" in out


def test_draws_by_lanczos_are_those_of_the_formed_matrix(checkpoint, monkeypatch):
    request = SpectrumRequest(checkpoint=str(checkpoint))
    formed = run_bound(request, Silent(), draws=40)
    monkeypatch.setattr(bound_draws, "EXACT_UP_TO", 10)
    lanczos = run_bound(request, Silent(), draws=40)
    assert (formed.steps, formed.draw_error) == (0, 0.0)
    assert 10 <= lanczos.steps <= 40
    assert 0 < lanczos.draw_error < 0.1
    assert lanczos.sigma2 == formed.sigma2
    assert lanczos.gibbs_test_01.value == pytest.approx(formed.gibbs_test_01.value, abs=0.02)


def test_a_spectrum_beside_the_checkpoint_is_used_only_where_it_is_of_the_same(checkpoint, capsys):
    code, _, _ = run(capsys, "spectrum", checkpoint, "--blocks", "full", "-q")
    assert code == 0
    beside = checkpoint.with_name("step-000046.spectrum.h5")
    measured = document(capsys, checkpoint, "--spectrum", beside)
    assert measured["spectrum"] == str(beside)
    assert document(capsys, checkpoint)["spectrum"] == str(beside)
    code, out, err = run(capsys, "bound", checkpoint, "--samples", "64", "--json")
    assert code == 0
    assert json.loads(out)["spectrum"] is None
    assert "not used" in err
    code, out, err = run(capsys, "bound", checkpoint, "--samples", "64", "--spectrum", beside)
    assert (code, out) == (2, "")
    assert "data:" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--loss", "mse"], "targets"),
        (["--delta", "0"], "--delta 0"),
        (["--delta", "nan"], "--delta nan"),
        (["--draws", "1"], "--draws 1"),
        (["--samples", "7"], "too few"),
        (["--spectrum", "/nowhere.h5"], "/nowhere.h5"),
        (["--spectrum", "/nowhere.h5", "--rtol", "0.5", "--max-matvecs", "30"], "--rtol, --max-matvecs: how to"),
        (["--spectrum", "/nowhere.h5", "--method", "exact", "--max-time", "9s"], "--method, --max-time: how to"),
    ],
)
def test_what_it_cannot_do_is_refused(checkpoint, capsys, words, told):
    code, out, err = run(capsys, "bound", checkpoint, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("loss", "told"),
    [("next-token", "not independent"), ("mse", "share of wrong classes"), ("half-squared-error", "wrong classes")],
)
def test_a_loss_that_the_theorem_does_not_speak_of_is_refused(loss, told):
    prepared = SimpleNamespace(problem=SimpleNamespace(loss=resolve_loss(loss)), data=SimpleNamespace(samples=100))
    with pytest.raises(UsageError, match=told):
        refuse_loss(prepared)
    refuse_loss(SimpleNamespace(problem=SimpleNamespace(loss=resolve_loss("cross-entropy")), data=prepared.data))


def test_without_a_test_split_the_test_error_is_unknown(checkpoint, capsys):
    found = document(capsys, checkpoint, "--data", "digits?split=train")
    assert found["test_01"] is found["test_samples"] is found["gibbs_test_01"]["value"] is None
    assert "no test split" in found["gibbs_test_01"]["reason"]


def test_it_stops_when_asked(checkpoint):
    class Stopping(Silent):
        left = 3

        def should_stop(self):
            self.left -= 1
            return self.left < 0

    assert run_bound(SpectrumRequest(checkpoint=str(checkpoint)), Stopping()) is None


def test_weights_are_put_back_after_they_were_moved(checkpoint):
    problem = Problem(net(checkpoint), "cross-entropy", BatchStream(open_dataset("digits"), batch_size=512))
    before, state = losses_of(problem), [p.detach().clone() for p in problem.parameters.values()]
    with moved(problem, torch.randn(problem.num_params, dtype=torch.float64)):
        assert losses_of(problem) != before
    assert all(torch.equal(a, b) for a, b in zip(state, problem.parameters.values(), strict=True))
    assert losses_of(problem) == before


def test_an_output_that_is_not_finite_is_wrong_and_costs_one():
    model = torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e30], [-1e30]]))
    batches = [(torch.tensor([[1.0], [1e30]]), torch.tensor([0, 0]))]
    found = losses_of(Problem(model, "cross-entropy", batches))
    assert (found.wrong, found.clipped) == (0.5, 0.5)
