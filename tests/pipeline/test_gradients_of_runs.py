"""The gradient's measures from the command line: in files, tables, JSON, checks, comparisons and merged parts."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import shutil
import tempfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from interrupted_solvers import require_equal_spectra
from safetensors.torch import load_file
from small_run import trained_mlp
from torch.nn import functional

import hessent
from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.report.schema import load_schema
from hessent.spectra.hdf5_reader import load
from hessent.spectra.hdf5_writer import write_spectrum

QUICK = ("--max-matvecs", "90", "--engine", "retained", "--batch-size", "32", "-q")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    shutil.copy(trained_mlp(), tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@functools.cache
def plain_run() -> bytes:
    """The spectrum file of the checkpoint, made once."""
    with contextlib.chdir(tempfile.mkdtemp(prefix="hessent-test-")):
        shutil.copy(trained_mlp(), "a.safetensors")
        assert main(["spectrum", "a.safetensors", "--method", "lanczos", *QUICK, "-o", "a.spectrum.h5"]) == 0
        return Path("a.spectrum.h5").read_bytes()


def measured(*words: str, out: str = "a.spectrum.h5") -> str:
    if not words:
        Path(out).write_bytes(plain_run())
        return out
    assert main(["spectrum", "a.safetensors", "--method", "lanczos", *QUICK, "-o", out, *words]) == 0
    return out


def printed(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 0
    return capsys.readouterr().out


def entropy_of_autograd() -> tuple[float, int]:
    """Entropy of the gradient of all parameters, without any of hessent's own gradients."""
    model = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test").model
    model.load_state_dict(load_file(trained_mlp()))
    model = model.double()
    batches = list(BatchStream(open_dataset("digits"), samples=96, batch_size=96, seed=0))
    loss = functional.cross_entropy(model(batches[0][0].double()), batches[0][1])
    flat = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, [*model.parameters()])]).abs()
    shares = flat[flat > 0] / flat.sum()
    return float(-(shares * shares.log()).sum()), flat.numel()


def test_the_file_and_every_reader_have_what_autograd_says(folder, capsys):
    file = measured()
    entropy, size = entropy_of_autograd()
    document = json.loads(printed(capsys, "summary", file, "--json"))
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    (whole,) = (block for block in document["spectra"][0]["blocks"] if block["name"] == "full")
    found = whole["measures"]
    assert found["gradient_entropy"]["value"] == pytest.approx(entropy, rel=1e-5)
    assert found["gradient_entropy"]["exact"]
    assert found["gradient_gap"]["value"] == pytest.approx(np.log(size) - entropy, rel=1e-5)
    assert found["gradient_gap"]["population"]["low"] < found["gradient_gap"]["value"]
    assert found["batch_gradient_gap"]["low"] < found["batch_gradient_gap"]["value"]
    assert hessent.load(file).measures()["full"]["gradient_entropy"].value == found["gradient_entropy"]["value"]
    table = printed(capsys, "summary", file)
    assert "gradient of full: gap" in table
    assert "leading eigenvectors" in table
    assert "gap(g)" not in table
    table = printed(capsys, "summary", file, "-m", "gradient_gap", "-m", "batch_gradient_gap")
    assert "gap(g) of batches" in table
    assert "gradient of full" not in table
    assert "g: the gradient of the mean loss" in table
    rows = list(csv.DictReader(printed(capsys, "export", file, "-o", "-").splitlines()))
    assert sum(row["measure"] in GRADIENT_MEASURES for row in rows) == len(GRADIENT_MEASURES) * 3


def test_a_rule_on_the_gradient_is_judged(folder, capsys):
    file = measured()
    gap = hessent.load(file).measures()["full"]["gradient_gap"].value
    assert main(["check", file, "--max", f"gradient_gap={gap + 0.1}"]) == 0
    assert main(["check", file, "--max", f"gradient_gap={gap - 0.1}"]) == 1
    Path("s.json").write_text(printed(capsys, "summary", file, "--json"), encoding="utf-8")
    assert main(["check", "s.json", "--min", f"gradient_entropy={gap}", "--max", f"gradient_gap={gap - 0.1}"]) == 1
    assert main(["check", file, "--max", "gradient_gab=1"]) == 2


def test_two_runs_are_compared_in_their_gradients(folder, capsys):
    torch.manual_seed(0)
    file, other = measured(), measured("--samples", "90", "--blocks", "full", out="b.spectrum.h5")
    document = json.loads(printed(capsys, "compare", file, other, "--no-measure", "--json"))
    jsonschema.validate(document, load_schema("hessent.compare/1"))
    (found,) = (d for d in document["differences"] if (d["block"], d["measure"]) == ("full", "gradient_gap"))
    values = [hessent.load(name).measures()["full"]["gradient_gap"].value for name in (other, file)]
    assert found["value"] == pytest.approx(values[0] - values[1])
    assert not found["paired"]


def test_parts_are_merged_to_what_one_process_writes(folder):
    whole = measured()
    for part in ("1/2", "2/2"):
        measured("--units", part, out=f"{part[0]}.spectrum.h5")
    assert main(["merge", "1.spectrum.h5", "2.spectrum.h5", "-o", "m.spectrum.h5", "-q"]) == 0
    assert Path("m.spectrum.h5").read_bytes() == Path(whole).read_bytes()


def test_files_keep_the_gradient_bit_for_bit_and_older_ones_have_a_reason(folder):
    spectrum = load(measured())
    for block in spectrum.blocks:
        assert len(block.gradient.batches) == 12
        assert block.gradient.batch_size == 64
    write_spectrum("b.spectrum.h5", spectrum)
    for own, other in zip(spectrum.blocks, load("b.spectrum.h5").blocks, strict=True):
        require_equal_spectra(other.gradient, own.gradient)
    blocks = tuple(dataclasses.replace(block, gradient=None) for block in spectrum.blocks)
    write_spectrum("c.spectrum.h5", dataclasses.replace(spectrum, blocks=blocks))
    for measures in hessent.load("c.spectrum.h5").measures().values():
        assert measures["gradient_gap"].value is None
        assert "not kept" in measures["gradient_gap"].reason
        assert measures["trace"].value is not None


@pytest.mark.parametrize("curvature", ["ggn", "empirical-fisher"])
def test_the_gradient_is_that_of_the_loss_whatever_the_curvature(folder, curvature):
    own = hessent.load(measured()).block("full").gradient
    other = (
        hessent.load(measured("--curvature", curvature, "--blocks", "full", out="b.spectrum.h5"))
        .block("full")
        .gradient
    )
    np.testing.assert_allclose(other.total, own.total, rtol=1e-5)
    np.testing.assert_allclose(other.batches, own.batches, rtol=1e-5)


def test_the_trace_alone_has_gradients_too_and_k_fac_none(folder):
    only = hessent.load(measured("--only", "trace", "--blocks", "full", "--method", "auto", out="t.spectrum.h5"))
    assert only.measures()["full"]["gradient_gap"].exact
    assert main(["spectrum", "a.safetensors", "--curvature", "kfac", "-o", "k.spectrum.h5", "-q"]) == 0
    assert hessent.load("k.spectrum.h5").measures()["full"]["gradient_gap"].value is None


def test_blocks_formed_from_single_gradients_have_shares_too(folder):
    """By the Gram matrix of 96 gradients, and of 22 biases by their second moment."""
    words = (
        "--blocks",
        "layer",
        "--blocks",
        "*.bias=biases",
        "--curvature",
        "empirical-fisher",
        "--method",
        "auto",
    )
    found = hessent.load(measured(*words, "--dtype", "float64", out="e.spectrum.h5"))
    model = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test").model
    model.load_state_dict(load_file(trained_mlp()))
    model = model.double()
    ((inputs, targets),) = BatchStream(open_dataset("digits"), samples=96, batch_size=96, seed=0)
    rows = []
    for x, y in zip(inputs.double().split(1), targets.split(1), strict=True):
        parts = torch.autograd.grad(functional.cross_entropy(model(x), y), [*model.parameters()])
        rows.append(dict(zip(dict(model.named_parameters()), parts, strict=True)))
    for block in found.blocks:
        assert "gradients" in block.status
        G = torch.stack([torch.cat([row[name].reshape(-1) for name in block.parameters]) for row in rows])
        right = torch.linalg.svd(G, full_matrices=False)[2]
        mean = G.mean(0)
        shares = (right @ mean) ** 2 / (mean @ mean)
        measures = found.measures()[block.name]
        assert measures["gradient_top_share"].value == pytest.approx(float(shares[:10].sum()), rel=1e-6)
        assert measures["gradient_top_share"].exact
        assert measures["gradient_negative_share"].value == 0.0
