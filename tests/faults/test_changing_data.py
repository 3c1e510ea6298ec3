"""Data that is not the same on every pass is an error that says so, never other numbers in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cases import cases, seeded
from torch.utils.data import DataLoader, TensorDataset

import hessent
from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.curvature.same_samples import SampleWatch
from hessent.data.tokens import TokenFile
from hessent.errors import DataError

CASE = next(case for case in cases() if case.name == "mlp, mse")
X, Y = CASE.inputs.float(), CASE.targets.float()


class Passes:
    """Micro-batches that a function of the number of the pass (from 1) makes."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make, self.begun = make, 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return iter(self.make(self.begun))


def cut(inputs: torch.Tensor, targets: torch.Tensor, size: int = 4) -> list[Any]:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def measure(batches: Any, engine: str = "lockstep") -> Any:
    problem = hessent.Problem(seeded(CASE.model), "mse", batches)
    return hessent.spectrum(problem, engine=engine, method="lanczos", max_matvecs=30)


def changed(at: int) -> Callable[[int], Any]:
    """One target differs by one rounding from pass `at` on."""
    other = Y.clone()
    other[7, 1] = torch.nextafter(Y[7, 1], torch.tensor(9.0))
    return lambda number: cut(X, Y if number < at else other)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda: iter(cut(X, Y)), r"ended after 0 of 9 samples(.|\n)*only once"),
        (lambda: Passes(lambda number: cut(X, Y)[: 3 if number < 9 else 2]), "pass .* ended after 8 of 9 samples"),
        (lambda: Passes(lambda number: cut(X, Y) * (1 if number < 9 else 2)), "gives more than the 9 samples"),
        (lambda: Passes(changed(2)), "sample 7 .*in micro-batch 1, is not on pass"),
        (lambda: Passes(changed(12)), "sample 7 "),
        (lambda: Passes(lambda number: cut(X.roll(number, 1), Y)), "is not on pass 2 what it was"),
        (lambda: Passes(lambda number: cut(X, Y)[::-1]), None),
        (lambda: Passes(lambda number: cut(X, Y, number % 5 + 1)), None),
    ],
    ids=["exhausted", "shrinks", "grows", "changes", "changes late", "augmented", "backwards", "cut otherwise"],
)
def test_every_pass_must_give_the_same_samples(batches, message):
    if message is None:
        measure(batches())
        return
    with pytest.raises(DataError, match=message):
        measure(batches())


@pytest.mark.parametrize("engine", ["retained", "lockstep"])
def test_a_loader_that_shuffles_is_noticed_before_anything_is_measured(engine):
    torch.manual_seed(0)
    with pytest.raises(DataError, match=r"pass 2(.|\n)*turn shuffling"):
        measure(DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True), engine)


def test_a_batch_that_is_no_pair_is_refused():
    with pytest.raises(DataError, match="micro-batch 1 is a dict"):
        measure([(X, Y), {"x": X, "y": Y}])


def test_one_changed_sample_of_many_is_noticed_at_once_and_after_many_passes_within_32():
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(300, 5, generator=generator), torch.arange(300)
    for before, within in ((1, 1), (5, 1), (100, 32)):
        for sample in (0, 17, 250, 299):
            watch = SampleWatch(SimpleNamespace(name="somewhere", order=targets + 1))
            go_through(watch, {"a": inputs, "b": [targets]}, targets, times=before)
            other = inputs.clone()
            other[sample, 3] += 1e-3
            with pytest.raises(DataError, match=rf"somewhere: sample {sample} \(number {sample + 1} "):
                go_through(watch, {"a": other, "b": [targets]}, targets, times=within)


def go_through(watch: SampleWatch, inputs: Any, targets: Any, times: int = 1) -> None:
    for _ in range(times):
        list(watch.watched([(inputs, targets)]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int16, torch.bool, torch.complex64])
def test_tensors_of_any_type_and_layout_are_watched(dtype):
    values = (torch.arange(48) % 3).reshape(6, 8).to(dtype)
    other = values.clone()
    other[5, 7] = 1 - other[5, 7] if dtype is not torch.bool else ~other[5, 7]
    for first, second in ((values, other), (values.T, other.T), (values[:, ::2], other[:, 1::2])):
        watch = SampleWatch()
        nothing = torch.zeros(len(first), 0), torch.tensor(3)
        go_through(watch, first, nothing, times=2)
        with pytest.raises(DataError):
            go_through(watch, second, nothing, times=16)


@pytest.fixture
def tokens(tmp_path, monkeypatch) -> Path:
    """A checkpoint of a small GPT and a file of tokens, in the working folder."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    built = build("gpt", options={"vocab": 11, "context": 6, "width": 8, "depth": 1, "heads": 2}, where="test")
    save_checkpoint("a.safetensors", dict(built.model.state_dict()), CheckpointMetadata())
    np.random.default_rng(0).integers(0, 11, 6 * 64 + 1).astype(np.uint16).tofile("t.bin")
    (tmp_path / "a.spectrum.h5").write_bytes(b"")
    return tmp_path


def shortened(path: Path) -> None:
    os.truncate(path, 50)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def rewritten(path: Path) -> None:
    """The same size, and the clock of the file set back: only the content tells."""
    before = os.stat(path)
    content = bytearray(path.read_bytes())
    content[2:40:2] = bytes((byte + 1) % 11 for byte in content[2:40:2])
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (shortened, "'t.bin' changed while it was in use"),
        (replaced, "'t.bin' changed while it was in use"),
        (os.unlink, "'t.bin' cannot be read"),
        (rewritten, "is not on pass"),
    ],
)
def test_a_file_that_changes_under_a_run_ends_it_with_a_sentence(tokens, monkeypatch, capsys, fault, message):
    original, reads = TokenFile.fetch, []

    def fetch(self, indices):
        reads.append(1)
        if len(reads) == 12:
            fault(tokens / "t.bin")
        return original(self, indices)

    monkeypatch.setattr(TokenFile, "fetch", fetch)
    data = ("--data", "tokens:t.bin?block=6&vocab=11", "--arch", "gpt", "--arch-option", "context=6")
    more = ("--arch-option", "heads=2", "--engine", "lockstep", "--batch-size", "64", "--blocks", "full")
    code = main(["spectrum", "a.safetensors", *data, *more, "--max-matvecs", "60", "-o", "b.spectrum.h5"])
    err = capsys.readouterr().err
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err
    assert len(reads) >= 12
