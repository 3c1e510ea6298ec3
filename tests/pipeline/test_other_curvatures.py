"""`--curvature` from the command line and from Python: which matrix a file holds, and what it may not show."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import trained_mlp
from torch import nn

import hessent
from hessent.__main__ import main
from hessent.curvature.problem import Problem
from hessent.eigensolver.semidefinite import require_semidefinite
from hessent.errors import ComputationError
from hessent.measures.registry import compute_measures
from hessent.spectra.model import BlockSpectrum


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors")).name


@pytest.mark.parametrize(
    ("options", "definition"),
    [
        (["ggn"], "second derivative of the loss by the outputs"),
        (["fisher"], "exactly"),
        (["fisher", "--fisher-samples", "2"], "2 draws per item"),
        (["empirical-fisher"], "the data's own target"),
    ],
)
def test_the_file_says_which_matrix_it_holds(checkpoint, capsys, monkeypatch, options, definition):
    code, out, err = run(
        capsys,
        "spectrum",
        checkpoint,
        "--curvature",
        *options,
        "--samples",
        64,
        "--max-matvecs",
        60,
        "-q",
        "--json",
    )
    assert code == 0, err
    [spectrum] = json.loads(out)["spectra"]
    assert spectrum["curvature"] == options[0]
    assert spectrum["file"].endswith(f".{options[0]}.spectrum.h5")
    for block in spectrum["blocks"]:
        assert block["measures"]["lambda_min"]["low"] >= -1e-6 * block["measures"]["lambda_max"]["value"]
        assert block["measures"]["negative_ratio"] == {
            **block["measures"]["negative_ratio"],
            "value": 0.0,
            "low": 0.0,
            "high": 0.0,
        }
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = run(capsys, "summary", spectrum["file"])
    assert code == 0
    assert f"{options[0]} of the mean loss" in out
    assert definition in out
    assert "positive semidefinite" in out


def test_another_matrix_is_another_measurement(checkpoint, capsys):
    common = ["--samples", 32, "--max-matvecs", 40, "--no-full", "-q", "-o", "x.spectrum.h5"]
    assert run(capsys, "spectrum", checkpoint, "--curvature", "ggn", *common)[0] == 0
    code, _, err = run(capsys, "spectrum", checkpoint, *common)
    assert code == 2
    assert "curvature: ggn in the file, hessian now" in err
    code, _, err = run(capsys, "spectrum", checkpoint, "--curvature", "fisher", "--fisher-samples", 3, *common)
    assert code == 2
    assert "curvature" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--curvature", "gnn"], "--curvature gnn: must be one of"),
        (["--fisher-samples", "3"], "is of --curvature fisher and kfac"),
        (["--curvature", "fisher", "--fisher-samples", "0"], "--fisher-samples 0: must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(checkpoint, capsys, options, words):
    code, _, err = run(capsys, "spectrum", checkpoint, *options)
    assert code == 2
    assert words in " ".join(err.split())


def regression(loss="mse"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x, y = torch.randn(40, 3), torch.randn(40, 2)
    return Problem(model, loss, [(x[:25], y[:25]), (x[25:], y[25:])], dtype=torch.float64)


def test_from_python():
    problem = regression()
    ggn = hessent.operator(problem, curvature="ggn")
    fisher = hessent.operator(problem, curvature="fisher")
    v = torch.randn(ggn.size, dtype=torch.float64)
    assert torch.allclose(ggn.matvec(v), fisher.matvec(v))
    assert not torch.allclose(ggn.matvec(v), hessent.operator(problem).matvec(v))
    found = hessent.spectrum(problem, curvature="empirical-fisher", blocks="layer")
    assert found.curvature == "empirical-fisher"
    # The trace of a second moment is the mean of the squared norms.
    norms = 0.0
    for inputs, targets in problem.batches:
        for x, y in zip(inputs.double(), targets.double(), strict=True):
            problem.model.zero_grad()
            (problem.model(x) - y).square().mean().backward()
            norms += sum(float(p.grad.square().sum()) for p in problem.model.parameters())
    assert found.measures()["full"]["trace"].value == pytest.approx(norms / 40, rel=1e-9)


def test_a_loss_that_is_not_convex_has_no_semidefinite_gauss_newton_matrix():
    def concave(outputs, targets):
        return -(outputs - targets).square().mean()

    with pytest.raises(ComputationError, match="positive semidefinite") as refused:
        hessent.spectrum(regression(concave), curvature="ggn")
    assert "convex" in str(refused.value)


def test_rounding_below_zero_is_none_and_more_is_an_error():
    def block(least, *, semidefinite=True):
        values = np.array([least, 0.5, 1.0])
        return BlockSpectrum(
            "b", 3, ("w",), "exact", 3, True, "exact", 1e-7, eigenvalues=values, semidefinite=semidefinite
        )

    require_semidefinite(block(-5e-6), torch.float32)
    with pytest.raises(ComputationError, match="eigenvalue"):
        require_semidefinite(block(-5e-5), torch.float32)
    assert compute_measures(block(-5e-6))["negative_ratio"].value == 0.0
    assert math.isclose(compute_measures(block(-0.1, semidefinite=False))["negative_ratio"].value, 1 / 3)
