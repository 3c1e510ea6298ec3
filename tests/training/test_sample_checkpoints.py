"""The shipped runs: their README tells the truth about them, and its commands make them.

On another machine than the one they were made on, sums are rounded in another order; so what is trained here is
compared with a tolerance, and only start values that no sum enters are compared bit by bit.
"""

import re
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.checkpoint.matching import load_into
from hessent.checkpoint.optimizer_state import read_optimizer_state
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.run import open_run
from hessent.curvature.losses.registry import resolve_loss
from hessent.data.registry import open_dataset
from hessent.training.evaluation import evaluate
from hessent.training.identity import describe_run, differences
from hessent.training.observer import Silent
from hessent.training.plan import make_plan
from hessent.training.preparation import prepare
from hessent.training.trainer import train

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_checkpoints"
RUNS = ("resnet18/sgd", "resnet18/adam", "vit/sgd", "vit/adam")
LEAST_TEST_ACCURACY = {"resnet18": 0.97, "vit": 0.93}

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples lie in the repository, not in the package"
)


@cache
def readme():
    return (SAMPLES / "README.md").read_text(encoding="utf-8")


def commands():
    """The words of every `hessent train` in the README, by run."""
    text = readme().replace("\\\n", " ")
    found = [shlex.split(line) for line in re.findall(r"^hessent (train .*)$", text, re.MULTILINE)]
    return {words[words.index("--out") + 1].removeprefix("sample_checkpoints/"): words for words in found}


def request_of(run, monkeypatch):
    """What the README's command of a run asks the trainer for."""
    asked = []

    def refuse_to_train(request, observer):
        asked.append(request)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hessent.training.trainer.train", refuse_to_train)
        assert main(commands()[run]) == 130
    return asked[0]


def entries(run):
    return open_run(str(SAMPLES / run)).checkpoints


def model_of(path):
    checkpoint = open_checkpoint(path)
    metadata = checkpoint.metadata
    built = build(metadata.arch, tensors=checkpoint.shapes, options=metadata.arch_options, where=path)
    load_into(built.model, checkpoint.load().tensors, rename=built.rename, where=path)
    return built.model


def test_there_is_a_command_for_every_run():
    assert tuple(commands()) == RUNS
    assert sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/*")) == sorted(RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_the_command_asks_for_what_every_checkpoint_says_it_is(run, monkeypatch):
    request = request_of(run, monkeypatch)
    preparation = prepare(request)
    plan = make_plan(request, len(preparation.train))
    shared = describe_run(request, plan, preparation)
    assert [entry.step for entry in entries(run)] == list(plan.milestones)
    for entry in entries(run):
        assert differences(open_checkpoint(entry.path).metadata, shared) == []


@pytest.mark.parametrize("run", RUNS)
def test_the_start_of_the_run_comes_out_again(run, monkeypatch):
    fresh = prepare(request_of(run, monkeypatch)).built.model.state_dict()
    stored = open_checkpoint(entries(run)[0].path).load().tensors
    assert fresh.keys() == stored.keys()
    for name, value in stored.items():
        if run.startswith("resnet18"):
            assert torch.equal(fresh[name], value)
        else:  # the normal distribution's inverse goes through the machine's own mathematics
            torch.testing.assert_close(fresh[name], value, rtol=1e-5, atol=1e-7)


class UntilSaved(Silent):
    """Ends a run when the second checkpoint is there."""

    def saved(self, checkpoint):
        if checkpoint.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("run", RUNS)
def test_the_first_per_cent_of_the_run_comes_out_again(run, monkeypatch, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(replace(request_of(run, monkeypatch), out=str(tmp_path)), UntilSaved())
    for again, shipped in zip(open_run(str(tmp_path)).checkpoints, entries(run), strict=False):
        found, expected = (open_checkpoint(entry.path).metadata for entry in (again, shipped))
        assert found.step == expected.step
        assert found.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=0.02)


@pytest.mark.parametrize("run", RUNS)
def test_trained_networks_are_as_good_as_promised(run):
    last = entries(run)[-1]
    metadata = open_checkpoint(last.path).metadata
    assert last.progress == 1.0
    assert metadata.metrics["test_accuracy"] >= LEAST_TEST_ACCURACY[run.split("/")[0]]
    score = evaluate(
        model_of(last.path),
        resolve_loss(metadata.loss),
        open_dataset(metadata.data, split="test"),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    assert score.accuracy == pytest.approx(metadata.metrics["test_accuracy"], abs=1 / 355)
    assert score.loss == pytest.approx(metadata.metrics["test_loss"], rel=1e-3)


@pytest.mark.parametrize("run", RUNS)
def test_the_optimizers_state_lies_beside_every_trained_checkpoint(run):
    states = ("momentum_buffer",) if run.endswith("sgd") else ("exp_avg", "exp_avg_sq", "step")
    for entry in entries(run):
        found = read_optimizer_state(open_checkpoint(entry.path))
        assert (found is None) if entry.step == 0 else (found.state_names == states)


def test_the_table_of_the_readme_holds_the_numbers_of_the_files():
    rows = re.findall(
        r"^\| `([\w/]+)` \| ([\d,]+) \| (\d+) % \| (\S+) \| (\S+) % \| (\S+) \| (\S+) % \|$", readme(), re.M
    )
    told = {(run, int(step.replace(",", ""))): numbers for run, step, *numbers in rows}
    assert len(told) == len(rows) == 24
    for run in RUNS:
        for entry in entries(run):
            metrics = open_checkpoint(entry.path).metadata.metrics
            progress, train_loss, train_accuracy, test_loss, test_accuracy = told[run, entry.step]
            assert int(progress) == round(100 * entry.progress)
            assert float(train_loss) == pytest.approx(metrics["train_loss"], rel=0.05)
            assert float(test_loss) == pytest.approx(metrics["test_loss"], rel=0.05)
            assert float(train_accuracy) == pytest.approx(100 * metrics["train_accuracy"], abs=0.006)
            assert float(test_accuracy) == pytest.approx(100 * metrics["test_accuracy"], abs=0.006)


def test_the_readme_names_sizes_and_the_licence():
    for run in RUNS:
        count = sum(parameter.numel() for parameter in model_of(entries(run)[-1].path).parameters())
        assert re.search(rf"^\| `{run}` \|.*\| {count:,} \|", readme(), re.MULTILINE)
    megabytes = sum(path.stat().st_size for path in SAMPLES.rglob("*.safetensors")) / 1e6
    assert float(re.search(r"All files together have (\S+) MB", readme())[1]) == pytest.approx(megabytes, abs=0.06)
    assert megabytes <= 25
    assert "CC BY 4.0" in readme()
    assert "E. Alpaydin and C. Kaynak" in readme()


def test_the_checkpoints_ask_for_as_many_samples_as_the_readme_says():
    assert {open_checkpoint(entry.path).metadata.samples for run in RUNS for entry in entries(run)} == {128}
    assert "a number of samples (128)" in readme()


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_the_whole_run_comes_out_again(run, monkeypatch, tmp_path):
    train(replace(request_of(run, monkeypatch), out=str(tmp_path)))
    again = open_run(str(tmp_path)).checkpoints
    assert [entry.step for entry in again] == [entry.step for entry in entries(run)]
    accuracy = open_checkpoint(again[-1].path).metadata.metrics["test_accuracy"]
    shipped = open_checkpoint(entries(run)[-1].path).metadata.metrics["test_accuracy"]
    assert accuracy >= LEAST_TEST_ACCURACY[run.split("/")[0]]
    assert accuracy == pytest.approx(shipped, abs=0.025)
