"""`hessent lion`: against gradients taken by hand, its document, its file of scales, and wrong input."""

import json
import shutil
import tomllib

import jsonschema
import pytest
import torch
from small_run import trained_mlp
from torch.nn import functional

from hessent.__main__ import main
from hessent.checkpoint.optimizer_names import optimizer_state_path
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.writer import save_checkpoint
from hessent.data.registry import open_dataset
from hessent.errors import UsageError
from hessent.measures.lion_analysis import WHOLE, LionAnalysis
from hessent.pipeline.lion_run import LionRequest, run_lion
from hessent.pipeline.request import SpectrumRequest
from hessent.report.schema import load_schema

FAST = ["--batches", "16", "--batch-size", "32"]


def analysed(path, **changes):
    return run_lion(
        LionRequest(SpectrumRequest(str(path)), batches=16, batch_size=32, **changes), print, lambda *_: 0
    )


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the small network, with a state of SGD."""
    path = tmp_path / "step-000046.safetensors"
    shutil.copy(trained_mlp(), path)
    return path


def with_state(checkpoint, states):
    opened = open_checkpoint(str(checkpoint))
    save_checkpoint(str(checkpoint), dict(opened.load().tensors), opened.metadata, states)


def weights(checkpoint):
    return {name: value.double() for name, value in open_checkpoint(str(checkpoint)).load().tensors.items()}


def gradients_by_hand(checkpoint, samples):
    """Gradients of the mean cross-entropy of the 64-12-10 network, layer by layer in plain matrix products."""
    inputs, targets = open_dataset("digits").fetch(samples)
    inputs = inputs.double().reshape(len(samples), -1)
    first_bias, first, second_bias, second = weights(checkpoint).values()  # sorted by name
    hidden = torch.tanh(inputs @ first.T + first_bias)
    slope = torch.softmax(hidden @ second.T + second_bias, 1) - functional.one_hot(targets, 10)
    slope /= len(samples)
    back = (slope @ second) * (1 - hidden**2)
    return [back.T @ inputs, back.sum(0), slope.T @ hidden, slope.sum(0)]


def test_the_mean_update_is_that_of_momentum_and_gradients_taken_by_hand(checkpoint):
    memory = {name: {"momentum_buffer": torch.full_like(value, 0.5)} for name, value in weights(checkpoint).items()}
    with_state(checkpoint, {name: {"momentum_buffer": s["momentum_buffer"].float()} for name, s in memory.items()})
    found = analysed(checkpoint)
    assert found.momentum == "state"
    # The same mini-batches: a permutation of the stream's order for each.
    order = torch.randperm(1442, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    drawn = [order[torch.randperm(1442, generator=generator)[:32]] for _ in range(16)]
    updates = [[0.9 * 0.05 + 0.1 * g for g in gradients_by_hand(checkpoint, samples)] for samples in drawn]
    for index, signal in enumerate(found.tensors):
        stacked = torch.stack([update[index].reshape(-1) for update in updates])
        variance = stacked.var(dim=0)
        assert signal.size == stacked.shape[1]
        assert signal.sigma.value == pytest.approx(float(variance.mean().sqrt()), rel=1e-4)
        squared = float((stacked.mean(dim=0) ** 2 - variance / 16).mean())
        assert signal.mu.value == pytest.approx(squared**0.5, rel=1e-4)
        threshold = 0.9
        shaped = torch.tanh(signal.tanh_scale.value * stacked).abs()
        counted = float(((shaped < threshold) & (stacked != 0)).double().mean())
        assert signal.differs.value == pytest.approx(counted, abs=0.02)


def test_without_a_state_the_mean_gradient_takes_its_place_and_is_told(checkpoint):
    found = analysed(checkpoint)
    assert found.momentum == "gradient"
    assert "no optimizer's state" in found.momentum_told
    assert analysed(checkpoint, momentum="zero").momentum == "zero"
    still = analysed(checkpoint, momentum="zero", beta1=0.0)
    assert found.whole.snr.value > 3 * still.whole.snr.value


def test_whole_is_all_tensors_and_the_seed_decides(checkpoint):
    found = analysed(checkpoint)
    assert found.whole.size == sum(one.size for one in found.tensors) == 64 * 12 + 12 + 120 + 10
    assert analysed(checkpoint).whole == found.whole
    assert set(found.sums) == {WHOLE, *(one.name for one in found.tensors)}


def run(capsys, *words):
    code = main(["lion", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_the_document_keeps_its_schema_and_the_table_its_order(checkpoint, capsys):
    code, out, _ = run(capsys, checkpoint, *FAST, "--json")
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.lion/1"))
    assert code == 0
    shares = [one["differs"]["value"] for one in document["tensors"]]
    assert shares == sorted(shares, reverse=True)
    code, out, _ = run(capsys, checkpoint, *FAST, "--sort", "model", "--format", "csv")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()][:2] == ["tensor", "whole"]
    shown = [line.split(",")[0] for line in out.splitlines()][2:]
    assert shown == sorted(weights(checkpoint), key=lambda name: (name.rpartition(".")[0], name.endswith("bias")))


def test_the_written_scales_train_lion_tanh(checkpoint, tmp_path, capsys):
    scales = tmp_path / "scales.toml"
    assert run(capsys, checkpoint, *FAST, "-o", scales)[0] == 0
    held = tomllib.loads(scales.read_text())["lion-tanh"]["scale"]
    assert set(held) <= {"*", *weights(checkpoint)}
    settings = ["--arch", "mlp", "--arch-option", "sizes=64-12-10", "--data", "digits", "--steps", "3"]
    command = ["train", *settings, "--optimizer", "lion-tanh", "--tanh-scale", str(scales)]
    assert main([*command, "--out", str(tmp_path / "run"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["optimizer"]["tanh_scale"] == held
    jsonschema.validate(document, load_schema("hessent.train/1"))
    saved = document["checkpoints"][-1]["file"]
    code, out, _ = run(capsys, saved, *FAST, "--json")
    assert code == 0
    assert json.loads(out)["momentum"]["description"].startswith("m = exp_avg of lion-tanh")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batches", "15"], "at least 16"),
        (["--batch-size", "0"], "at least 1"),
        (["--batch-size", "5000"], "1442 samples"),
        (["--beta1", "1"], "--beta1"),
        (["--momentum", "stat"], "--momentum"),
        (["--momentum", "state"], "no state of an optimizer"),
        (["--sort", "difers"], "did you mean 'differs'"),
    ],
)
def test_wrong_options_are_told(checkpoint, capsys, words, told):
    code, out, err = run(capsys, checkpoint, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_what_is_missing_is_named_with_options_that_lion_has(checkpoint, capsys):
    _, _, err = run(capsys, checkpoint, "--momentum", "state")
    assert "--precondition" not in err
    assert "try: --momentum gradient or zero" in err
    with_state(checkpoint, {name: {"step": torch.ones(())} for name in weights(checkpoint)})
    _, _, err = run(capsys, checkpoint, "--momentum", "state")
    assert "try: --momentum gradient or zero" in err


def test_every_line_above_the_table_says_what_it_is(checkpoint, capsys):
    _, out, _ = run(capsys, checkpoint, *FAST, "--samples", "400", "--format", "markdown")
    facts = [line for line in out.splitlines() if line.startswith("-")]
    assert [fact.split(":")[0] for fact in facts] == [
        "- checkpoint",
        "- model",
        "- data",
        "- update",
        "- momentum",
        "- drawn",
    ]
    assert "mini-batches of all 1,442" in facts[-1]


def test_a_state_that_is_no_average_of_these_weights_is_refused(checkpoint, capsys):
    names = list(weights(checkpoint))
    with pytest.raises(Exception, match="belong"):
        with_state(checkpoint, {names[0]: {"exp_avg": torch.ones(3)}})
    with_state(checkpoint, {names[0]: {"exp_avg": torch.full((12,), float("nan"))}})
    code, _, err = run(capsys, checkpoint, *FAST)
    assert code == 2
    assert "not finite" in err
    assert optimizer_state_path(str(checkpoint)) in err


def test_no_file_of_no_scales_is_written(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(LionAnalysis, "scales", lambda self: {})
    words = ["lion", str(checkpoint), "--batches", "16", "--out", str(tmp_path / "none.toml")]
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert "tanh scale" in out
    assert "no tensor has a scale" in err
    assert not (tmp_path / "none.toml").exists()


def test_every_problem_of_a_request_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        LionRequest(SpectrumRequest("x"), batches=1, batch_size=0, beta1=2.0, momentum="x")
    assert len(caught.value.problems) == 4
