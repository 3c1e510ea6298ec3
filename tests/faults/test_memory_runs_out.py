"""Memory that runs out at any stage ends the command with code 3 and a sentence, or smaller micro-batches do."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest
import torch
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.curvature.containers import num_samples
from hessent.curvature.problem import Problem
from hessent.errors import memory_ran_out

SAMPLED = ("--method", "lanczos", "--max-matvecs", "24")
STAGES = {
    "opening the checkpoint": "hessent.pipeline.prepare:open_checkpoint",
    "building the architecture": "hessent.pipeline.weights:build",
    "reading the tensors": "hessent.checkpoint.reader:Checkpoint.load",
    "loading the weights": "hessent.pipeline.weights:load_into",
    "opening the data": "hessent.pipeline.prepare:open_dataset",
    "choosing samples": "hessent.data.stream:BatchStream.__init__",
    "reading the samples": "hessent.data.tensors:TensorDataset.fetch",
    "fingerprinting the samples": "hessent.data.tensors:TensorDataset.digest",
    "copying the model": "hessent.curvature.problem:Problem.__init__",
    "the forward pass": "hessent.curvature.problem:Problem.outputs",
    "the gradient graph": "hessent.curvature.engines.double_backward:DoubleBackward.__init__",
    "a product": "hessent.curvature.engines.double_backward:DoubleBackward.products",
    "the sums of a product": "hessent.curvature.engine:GroupSums.__init__",
    "the operator's check": "hessent.pipeline.operator_facts:measure_noise",
    "start vectors": "hessent.eigensolver.joint_sampling:gaussian_vectors",
    "keeping vectors": "hessent.eigensolver.vector_store:VectorStore.append",
    "measures": "hessent.measures.written:compute_measures",
    "writing the file": "hessent.measures.written:write_spectrum",
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command on a small checkpoint; return the exit code and what was said."""
    shutil.copy(trained_mlp(), tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str]:
        code = main(["spectrum", "a.safetensors", *SAMPLED, *words])
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")],
    ids=["Python's", "torch's"],
)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_ends_with_3_and_a_sentence(run, monkeypatch, stage, error):
    module, _, path = STAGES[stage].partition(":")
    owner, _, name = path.rpartition(".")
    holder = getattr(importlib.import_module(module), owner) if owner else importlib.import_module(module)
    reached = []

    def exhausted(*_, **__):
        reached.append(stage)
        raise error

    monkeypatch.setattr(holder, name, exhausted)
    code, said = run()
    assert reached, "the stage was not gone through"
    assert code == 3, said
    assert "memory" in said
    assert "Traceback" not in said
    assert "bug" not in said
    assert not Path("a.spectrum.h5").exists()


@pytest.mark.parametrize(("option", "words"), [("--arch", "net"), ("--data", "samples"), ("--data", "lazy")])
def test_memory_that_runs_out_in_code_of_the_user_is_told_as_such(run, option, words):
    Path("own.py").write_text(
        "def net():\n    raise MemoryError\n"
        "def samples():\n    raise MemoryError\n"
        "class Lazy:\n    def __len__(self):\n        return 9\n"
        "    def __getitem__(self, index):\n        raise MemoryError\n"
        "def lazy():\n    return Lazy()\n"
    )
    code, said = run(option, f"own.py:{words}")
    assert code == 3, said
    assert "out of memory" in said


def test_a_loss_that_does_not_fit_is_computed_in_smaller_micro_batches(run, monkeypatch):
    original, largest = Problem.outputs, []

    def outputs(self, inputs):
        if num_samples(inputs) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        largest.append(num_samples(inputs))
        return original(self, inputs)

    monkeypatch.setattr(Problem, "outputs", outputs)
    code, said = run("--batch-size", "96", "-o", "small.spectrum.h5")
    assert code == 0, said
    assert "memory ran out: going on with micro-batches of at most 12 samples" in said
    assert max(largest) <= 20


def test_what_counts_as_exhausted_memory():
    assert memory_ran_out(MemoryError("x"))
    assert memory_ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert memory_ran_out(RuntimeError("CUDA error: out of memory"))
    assert not memory_ran_out(ValueError("not enough memory"))
    assert not memory_ran_out(RuntimeError("shapes do not fit"))
