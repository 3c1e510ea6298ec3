"""`hessent spectrum --curvature kfac` from end to end."""

import json
import shutil

import jsonschema
import numpy as np
import pytest
from small_run import trained_mlp

import hessent
from hessent.__main__ import main
from hessent.curvature.kronecker import factors
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.report.schema import load_schema

KFAC = ("--curvature", "kfac")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained_mlp(), tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def run(capfd, *words):
    code = main([*map(str, words)])
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_a_spectrum_of_a_net_of_linear_layers_alone(checkpoint, capfd):
    code, text, _ = run(capfd, "spectrum", checkpoint, *KFAC)
    assert code == 0
    assert "kfac of the mean loss" in text
    spectrum = hessent.load("a.kfac.spectrum.h5")
    assert [block.name for block in spectrum.blocks] == ["layers.0", "layers.1", "full"]
    assert (spectrum.curvature, spectrum.complete) == ("kfac", True)
    assert spectrum.settings["kfac_approx"] == "reduce"
    assert spectrum.block("full").size == 64 * 12 + 12 + 12 * 10 + 10
    measures = spectrum.measures()
    for block in spectrum.blocks:
        found = measures[block.name]
        assert all(found[name].value is None for name in GRADIENT_MEASURES)  # K-FAC keeps no gradient
        of_the_matrix = set(found) - set(GRADIENT_MEASURES)
        assert all(found[name].exact for name in of_the_matrix if not name.startswith("condition_lower"))
    assert measures["full"]["trace"].population.half_width > 0.0


def test_typed_again_it_is_only_printed(checkpoint, capfd):
    run(capfd, "spectrum", checkpoint, *KFAC)
    before = (checkpoint.parent / "a.kfac.spectrum.h5").read_bytes()
    code, _, messages = run(capfd, "spectrum", checkpoint, *KFAC)
    assert code == 0
    assert "complete already" in messages
    code, _, messages = run(capfd, "spectrum", checkpoint, *KFAC, "--kfac-approx", "expand")
    assert code == 2
    assert "kfac-approx: reduce in the file, expand now" in messages
    assert run(capfd, "spectrum", checkpoint, *KFAC, "--force", "--batch-size", 7)[0] == 0
    ours, again = hessent.load("a.kfac.spectrum.h5"), before
    assert (checkpoint.parent / "a.kfac.spectrum.h5").read_bytes() != again
    assert ours.settings["batch_size"] == 7


def test_json_fits_its_schema(checkpoint, capfd):
    document = json.loads(run(capfd, "spectrum", checkpoint, *KFAC, "--json")[1])
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    assert document["spectra"][0]["blocks"][0]["method"] == "kronecker"


def test_random_square_roots_make_estimates_near_the_exact_numbers(checkpoint, capfd):
    run(capfd, "spectrum", checkpoint, *KFAC)
    code, _, messages = run(capfd, "spectrum", checkpoint, *KFAC, "--fisher-samples", 4, "-o", "drawn.spectrum.h5")
    assert code == 0
    assert "are estimates" in messages
    exact, drawn = (hessent.load(name).measures()["full"] for name in ("a.kfac.spectrum.h5", "drawn.spectrum.h5"))
    for name in ("trace", "entropy_gap", "lambda_max"):
        assert not drawn[name].exact
        assert drawn[name].low <= exact[name].value <= drawn[name].high


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--method", "exact", "--rtol", 0.1, "--probes", 4), ("--method exact", "--rtol 0.1", "--probes 4")),
        (("--only", "trace"), ("--only trace",)),
        (
            ("--max-matvecs", 100, "--max-time", "5s", "--units", "1/2"),
            ("--max-matvecs 100", "--max-time", "--units"),
        ),
        (("--engine", "retained", "--no-verify"), ("--engine retained", "--no-verify")),
        (("--dry-run",), ("--dry-run",)),
        (("--kfac-approx", "mean"), ("--kfac-approx mean", "expand or reduce")),
        (("--fisher-samples", 0), ("--fisher-samples 0",)),
        (("--loss", "torch.nn.functional:cross_entropy"), ("--curvature ggn",)),
    ],
)
def test_what_means_nothing_is_refused_by_name(checkpoint, words, found, capfd):
    code, _, messages = run(capfd, "spectrum", checkpoint, *KFAC, *words)
    assert code == 2
    assert all(text in messages for text in found)
    assert not list(checkpoint.parent.glob("*.h5"))


def test_the_options_of_kfac_are_of_kfac_alone(checkpoint, capfd):
    code, _, messages = run(capfd, "spectrum", checkpoint, "--kfac-approx", "reduce")
    assert code == 2
    assert "kfac alone" in messages


def test_a_model_without_linear_layers_is_refused(checkpoint, capfd):
    (checkpoint.parent / "net.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.LayerNorm(64)\n")
    from safetensors.torch import save_file
    from torch import nn

    save_file(nn.LayerNorm(64).state_dict(), "norm.safetensors")
    code, _, messages = run(
        capfd, "spectrum", "norm.safetensors", *KFAC, "--arch", "net.py:make", "--data", "digits?flatten=true"
    )
    assert code == 2, messages


def test_a_run_that_is_stopped_leaves_nothing(checkpoint, capfd, monkeypatch):
    def stopped(*given, **how):
        raise factors.StoppedError

    monkeypatch.setattr("hessent.pipeline.kronecker_run.measure_factors", stopped)
    code, _, messages = run(capfd, "spectrum", checkpoint, *KFAC)
    assert code in (75, 130)
    assert "nothing was written" in messages
    assert not list(checkpoint.parent.glob("*kfac*"))


def test_stopping_is_asked_between_backward_passes(checkpoint):
    from hessent.pipeline.observer import Silent
    from hessent.pipeline.request import SpectrumRequest
    from hessent.pipeline.spectrum_run import run_spectrum

    class Impatient(Silent):
        def __init__(self):
            self.asked = 0

        def should_stop(self):
            self.asked += 1
            return self.asked > 3

    observer = Impatient()
    with pytest.raises(hessent.errors.HessentError, match="stopped early"):
        run_spectrum(SpectrumRequest(str(checkpoint), curvature="kfac"), observer)
    assert observer.asked == 4


def test_kfac_is_of_the_samples_asked_for(checkpoint, capfd):
    traces = []
    for samples in (96, 48):
        run(capfd, "spectrum", checkpoint, *KFAC, "--samples", samples, "--force")
        traces.append(hessent.load("a.kfac.spectrum.h5").block("full").eigenvalues.sum())
    assert not np.isclose(*traces)
