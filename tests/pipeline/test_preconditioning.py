"""`hessent spectrum --precondition`: the measured spectrum, its file, and what is refused."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from cases import dense_hessian
from safetensors.torch import load_file, save_file
from torch.nn import functional

from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.pipeline.request import SpectrumRequest
from hessent.report.schema import load_schema
from hessent.spectra.hdf5_reader import load
from hessent.training.plan import TrainingRequest
from hessent.training.trainer import train

STEPS, SAMPLES = 7, 40
QUICK = ("--blocks", "full", "--dtype", "float64", "--engine", "retained", "--quiet")


@functools.cache
def trained(optimizer: str = "adam") -> Path:
    """A small tanh net after some steps, its state beside it."""
    out = tempfile.mkdtemp(prefix="hessent-test-")
    train(
        TrainingRequest(
            arch="mlp",
            arch_options={"sizes": "64-3-10", "activation": "tanh"},
            data="digits",
            out=out,
            optimizer=optimizer,
            steps=STEPS,
            batch_size=None,
            samples=SAMPLES,
            schedule="constant",
            threads=1,
        )
    )
    return Path(out)


@pytest.fixture
def checkpoint(tmp_path):
    return Path(shutil.copytree(trained(), tmp_path / "run")) / f"step-{STEPS:06d}.safetensors"


@dataclass
class Result:
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys):
    def command(*words):
        code = main(["spectrum", *map(str, words)])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return command


def dense(path: Path) -> tuple[torch.Tensor, list[str]]:
    model = build("mlp", options={"sizes": "64-3-10", "activation": "tanh"}, where="test").model
    model.load_state_dict(load_file(path))
    (batch,) = BatchStream(open_dataset("digits"), samples=SAMPLES, batch_size=SAMPLES)
    return dense_hessian(model, *batch, functional.cross_entropy)


def adams_diagonal(path: Path, names: list[str]) -> torch.Tensor:
    state = load_file(str(path).replace(".safetensors", ".optim.safetensors"))
    moments = torch.cat([state[f"{name}/exp_avg_sq"].double().flatten() for name in names])
    return ((moments / (1 - 0.999**STEPS)).sqrt() + 1e-8) * (1 - 0.9**STEPS)


def eigenvalues(matrix: torch.Tensor, P: torch.Tensor) -> np.ndarray:
    return torch.linalg.eigvalsh(matrix / torch.outer(P.sqrt(), P.sqrt())).numpy()


def test_the_spectrum_in_adams_metric_is_that_of_the_dense_matrix(run, checkpoint):
    result = run(checkpoint, "--precondition", "adam", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "hessian in Adam's metric" in result.stdout
    assert "limit of stable steps, 2(1 + β₁)/((1 − β₁)η) = 38000" in result.stdout
    spectrum = load(checkpoint.with_name(f"step-{STEPS:06d}.hessian-adam.spectrum.h5"))
    matrix, names = dense(checkpoint)
    expected = eigenvalues(matrix, adams_diagonal(checkpoint, names))
    np.testing.assert_allclose(spectrum.blocks[-1].eigenvalues, expected, rtol=1e-9, atol=1e-9 * expected[-1])
    assert (spectrum.curvature, spectrum.settings["precondition"]) == ("hessian", "adam")
    assert len(spectrum.settings["precondition_sha256"]) == 64
    assert "sqrt(v/(1-beta2^t))" in spectrum.settings["precondition_definition"]


def test_a_file_may_hold_the_diagonal(run, checkpoint, tmp_path):
    matrix, names = dense(checkpoint)
    sizes = {name: value.shape for name, value in load_file(checkpoint).items()}
    P = {name: torch.rand(sizes[name], generator=torch.Generator().manual_seed(1)) + 0.1 for name in names}
    save_file(P, tmp_path / "my P.safetensors")
    assert run(checkpoint, "--precondition", tmp_path / "my P.safetensors", *QUICK).exit_code == 0
    spectrum = load(checkpoint.with_name(f"step-{STEPS:06d}.hessian-my-P.spectrum.h5"))
    expected = eigenvalues(matrix, torch.cat([P[name].double().flatten() for name in names]))
    np.testing.assert_allclose(spectrum.blocks[-1].eigenvalues, expected, rtol=1e-9, atol=1e-9 * expected[-1])
    assert spectrum.settings["precondition"] == "my-P"


def test_another_metric_is_another_measurement(run, checkpoint, tmp_path):
    out = ("-o", tmp_path / "one.spectrum.h5")
    assert run(checkpoint, "--precondition", "adam", *QUICK, *out).exit_code == 0
    plain = run(checkpoint, *QUICK, *out)
    assert (plain.exit_code, "precondition: adam in the file, none now" in plain.stderr) == (2, True)
    again = run(checkpoint, "--precondition", "adam", *QUICK, *out)
    assert (again.exit_code, "reused" in again.stderr or again.stderr == "") == (0, True)
    state = checkpoint.with_name(f"step-{STEPS:06d}.optim.safetensors")
    changed = {
        name: value * 2 if name.endswith("exp_avg_sq") else value for name, value in load_file(state).items()
    }
    save_file(changed, state)
    other = run(checkpoint, "--precondition", "adam", *QUICK, *out)
    assert (other.exit_code, "precondition-sha256" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("precondition", "curvature", "ending"),
    [
        ("adam", "hessian", ".hessian-adam"),
        ("adam", "ggn", ".ggn-adam"),
        ("none", "ggn", ".ggn"),
        ("none", "hessian", ""),
        ("a/b c.safetensors", "hessian", ".hessian-b-c"),
        ("adam.safetensors", "hessian", ".hessian-file-adam"),
        ("…….safetensors", "hessian", ".hessian-file"),
    ],
)
def test_names_of_files_tell_the_metric(precondition, curvature, ending):
    request = SpectrumRequest(checkpoint="x/step.safetensors", precondition=precondition, curvature=curvature)
    assert str(request.output) == f"x/step{ending}.spectrum.h5"


@pytest.fixture
def refusal(run):
    def command(*words):
        result = run(*words, *QUICK)
        assert (result.exit_code, "Traceback" in result.stderr) == (2, False), result.stderr
        return " ".join(result.stderr.split())

    return command


def test_a_checkpoint_without_a_state_says_where_it_was_looked_for(refusal, checkpoint):
    first = checkpoint.with_name("step-000000.safetensors")
    words = refusal(first, "--precondition", "adam")
    assert "before its first step an optimizer has none" in words
    assert "step-000000.optim.safetensors" in words


def test_the_state_of_another_optimizer_is_refused(refusal):
    words = refusal(trained("sgd") / f"step-{STEPS:06d}.safetensors", "--precondition", "adam")
    assert "'sgd', which has no second moments" in words


def test_a_state_that_does_not_fit_is_refused_with_all_that_is_wrong(refusal, checkpoint):
    state = checkpoint.with_name(f"step-{STEPS:06d}.optim.safetensors")
    held = load_file(state)
    del held["layers.0.bias/step"], held["layers.1.bias/exp_avg_sq"]
    held["layers.1.weight/exp_avg_sq"] *= -1
    save_file(held, state)
    words = refusal(checkpoint, "--precondition", "adam")
    for name in ("layers.0.bias", "layers.1.bias", "layers.1.weight"):
        assert name in words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda P: P.pop("layers.0.bias"), "missing: 'layers.0.bias'"),
        (lambda P: P.update(extra=torch.ones(1)), "unexpected: 'extra'"),
        (lambda P: P.update({"layers.0.bias": torch.ones(4)}), "'layers.0.bias' is (4,), the parameter is (3,)"),
        (lambda P: P["layers.0.bias"].zero_(), "'layers.0.bias': 3 of 3 entries"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(refusal, checkpoint, tmp_path, change, message):
    P = {name: torch.ones_like(value) for name, value in load_file(checkpoint).items()}
    change(P)
    save_file(P, tmp_path / "P.safetensors")
    assert message in refusal(checkpoint, "--precondition", tmp_path / "P.safetensors")


@pytest.mark.parametrize("given", ["adm", "nowhere.safetensors", ""])
def test_a_name_that_is_none_is_refused(refusal, checkpoint, given):
    refusal(checkpoint, "--precondition", given)


def test_k_fac_is_not_preconditioned(refusal, checkpoint):
    assert "--curvature kfac" in refusal(checkpoint, "--precondition", "adam", "--curvature", "kfac")


def test_json_says_what_the_matrix_is(run, checkpoint):
    words = ("--precondition", "adam", "--json", *QUICK)
    document = json.loads(run(checkpoint, *words).stdout)
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    assert document["spectra"][0]["precondition"] == "adam"


def test_a_gate_does_not_hold_a_preconditioned_matrix_against_another(checkpoint, capsys, tmp_path):
    plain, adam = tmp_path / "plain.spectrum.h5", tmp_path / "adam.spectrum.h5"
    assert main(["spectrum", str(checkpoint), *QUICK, "-o", str(plain)]) == 0
    assert main(["spectrum", str(checkpoint), *QUICK, "-o", str(adam), "--precondition", "adam"]) == 0
    rule = ("--baseline", str(tmp_path / "main.json"), "--max-increase", "trace=20%")
    assert main(["check", str(adam), *rule, "--update-baseline"]) == 0
    assert main(["check", str(adam), *rule]) == 0
    capsys.readouterr()
    assert main(["check", str(plain), *rule]) == 2
    assert "the preconditioner is none, but adam in the baseline" in " ".join(capsys.readouterr().err.split())
