"""`--normalization diagonal`: file, summary, refusals; the same bytes after a stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_run import trained_mlp

import hessent.curvature.diagonal
from hessent.__main__ import main
from hessent.spectra.hdf5_reader import load


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors")).name


QUICK = ("--samples", "24", "--engine", "retained", "--normalization", "diagonal", "--no-full")


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical-fisher"])
def test_the_trace_of_every_block_is_its_size(checkpoint, curvature, capfd):
    assert main(["spectrum", checkpoint, "--curvature", curvature, *QUICK]) == 0
    out = capfd.readouterr().out
    assert f"{curvature}, unit diagonal" in out
    assert "diagonal    exact" in out
    assert "limit of stable steps" not in out
    spectrum = load(f"step-000046.{curvature}-diagonal.spectrum.h5")
    assert spectrum.settings["normalization"] == "diagonal"
    dead = spectrum.settings["unit_diagonal"]["dead"]
    for block in spectrum.blocks:
        alive = block.size - sum(dead.get(name, 0) for name in block.parameters)
        assert block.eigenvalues.sum() == pytest.approx(alive, rel=1e-5)
        assert block.semidefinite


def test_dead_inputs_are_told(checkpoint, capfd):
    tensors = load_file(checkpoint)
    tensors["layers.1.weight"][:, 3] = 0.0  # nobody listens to hidden unit 3: its 65 parameters do nothing
    with safe_open(checkpoint, "pt") as file:
        kept = file.metadata()
    save_file(tensors, checkpoint, kept)
    assert main(["spectrum", checkpoint, "--curvature", "ggn", *QUICK]) == 0
    shown = capfd.readouterr()
    assert "65 dead parameters" in shown.out
    assert "do nothing to the outputs" in shown.err
    spectrum = load("step-000046.ggn-diagonal.spectrum.h5")
    assert spectrum.settings["unit_diagonal"]["dead"] == {"layers.0.weight": 64, "layers.0.bias": 1}
    assert spectrum.blocks[0].eigenvalues.sum() == pytest.approx(780 - 65, rel=1e-5)


def test_an_estimated_diagonal_tells_its_error(checkpoint, capfd, monkeypatch):
    monkeypatch.setattr(hessent.curvature.diagonal, "_MOST_PASSES", 1)
    assert main(["spectrum", checkpoint, "--curvature", "ggn", *QUICK]) == 0
    shown = capfd.readouterr()
    assert "estimated, relative standard error" in shown.out
    assert "4 random vectors per sample" in shown.err
    found = load("step-000046.ggn-diagonal.spectrum.h5")
    assert 0.01 < found.settings["unit_diagonal"]["error"] < 1
    assert np.isclose(found.blocks[0].eigenvalues.sum(), 780, rtol=0.5)


def test_what_is_stopped_goes_on_and_what_is_there_is_not_taken_for_another(checkpoint, capfd):
    words = ["spectrum", checkpoint, "--curvature", "ggn", *QUICK, "--method", "lanczos", "--max-matvecs", "40"]
    assert main([*words, "-o", "whole.spectrum.h5"]) == 0
    assert main([*words, "-o", "stopped.spectrum.h5", "--max-time", "0s"]) == 0
    assert not load("stopped.spectrum.h5").complete
    assert main([*words, "-o", "stopped.spectrum.h5"]) == 0
    whole, stopped = load("whole.spectrum.h5"), load("stopped.spectrum.h5")
    assert stopped.complete
    for one, other in zip(whole.blocks, stopped.blocks, strict=True):
        assert np.array_equal(one.probes.alphas, other.probes.alphas)
    capfd.readouterr()
    plain = [word for word in words if word not in ("--normalization", "diagonal")]
    assert main([*plain, "-o", "whole.spectrum.h5"]) == 2
    assert "normalization: diagonal in the file, trace now" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the Hessian's diagonal has both signs"),
        (("--curvature", "ggn", "--precondition", "adam"), "changes nothing"),
        (("--curvature", "fisher", "--fisher-samples", "2"), "exact expectation"),
        (("--curvature", "ggn", "--normalization", "none"), "must be one of trace, diagonal"),
    ],
)
def test_what_cannot_be_is_refused(checkpoint, words, message, capfd):
    assert main(["spectrum", checkpoint, "--normalization", "diagonal", *words]) == 2
    assert message in capfd.readouterr().err


def test_compare_and_dry_run_know_of_it(checkpoint, capfd):
    assert main(["spectrum", checkpoint, "--curvature", "ggn", *QUICK, "--dry-run", "--json"]) == 0
    assert any("the diagonal comes first" in note for note in json.loads(capfd.readouterr().out)["notes"])
    assert main(["spectrum", checkpoint, "--curvature", "ggn", *QUICK, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["spectra"][0]["precondition"] == "diagonal"
    for name in ("a", "b"):
        Path(name).mkdir()
        shutil.copy(checkpoint, name)
        assert main(["spectrum", f"{name}/{checkpoint}", "--curvature", "ggn", *QUICK]) == 0
    capfd.readouterr()
    assert main(["compare", "a", "b", "--curvature", "ggn-diagonal"]) == 0
