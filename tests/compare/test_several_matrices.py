"""Spectra of several curvatures of a run: which are taken, how they are named, and what is told of them."""

import dataclasses
import json

import pytest
from small_runs import QUICK, save_run

import hessent
from hessent.__main__ import main
from hessent.errors import UsageError
from hessent.measures.written import MeasuredWriter
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.run_spectra import beside
from hessent.report.kinds import Kind
from hessent.spectra.hdf5_reader import load


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_run(folder / "sgd", steps=(40,))
        assert main(["compare", "sgd", "--curvature", "hessian", "--curvature", "ggn", *QUICK, "--json", "-q"]) == 0
    return folder


@pytest.fixture
def run(measured, monkeypatch, capfd):
    monkeypatch.chdir(measured)
    capfd.readouterr()
    return measured


def written(run, folder, **changes):
    """Write the Hessian's spectrum of a run into a folder of its own, changed."""
    spectrum = load(run / "sgd" / "step-000040.spectrum.h5")
    settings = {**spectrum.settings, **changes.pop("settings", {})}
    folder.mkdir(exist_ok=True)
    kind = Kind(changes.get("curvature", "hessian"), settings.get("precondition", "none"))
    spectrum = dataclasses.replace(spectrum, settings=settings, **changes)
    MeasuredWriter().write(beside(str(folder / "step-000040.safetensors"), kind), spectrum)
    return str(folder)


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a.safetensors.index.json", "a.pth.tar", "a.ckpt", "checkpoint-4"]
)
@pytest.mark.parametrize("curvature", ["hessian", "ggn", "empirical-fisher"])
def test_spectra_lie_where_a_measurement_puts_them(name, curvature):
    assert beside(f"run/{name}", Kind(curvature)) == SpectrumRequest(f"run/{name}", curvature=curvature).output


def test_one_run_in_two_matrices_is_two_runs_paired(run, capfd):
    assert (run / "sgd" / "step-000040.ggn.spectrum.h5").is_file()
    words = ("--curvature", "hessian", "--curvature", "ggn", "--strict", "--json")
    assert main(["compare", "sgd", *words]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [one["name"] for one in document["runs"]] == ["sgd (hessian)", "sgd (ggn)"]
    assert document["warnings"] == []
    lowest = next(entry for entry in document["differences"] if entry["measure"] == "lambda_min")
    assert lowest["value"] > 0.0  # the Gauss-Newton matrix has no negative eigenvalue
    assert any(entry["paired"] for entry in document["differences"])


def test_swapping_the_matrices_flips_the_signs_exactly(run):
    there = hessent.compare("sgd", curvatures=("hessian", "ggn"))
    back = hessent.compare("sgd", curvatures=("ggn", "hessian"))
    for one, other in zip(there.differences, back.differences, strict=True):
        for name, found in one.measures.items():
            if found.value is not None:
                assert other.measures[name].value == -found.value


def test_by_default_the_hessian_is_taken_or_the_only_kind_there_is(run, tmp_path):
    assert hessent.compare("sgd", "sgd").runs[0].checkpoints[0].curvature == "hessian"
    only = written(run, tmp_path / "only", curvature="ggn")
    found = hessent.compare(only, only)
    assert [one.checkpoints[0].curvature for one in found.runs] == ["ggn", "ggn"]
    written(run, tmp_path / "only", curvature="fisher")
    with pytest.raises(UsageError, match="several matrices, fisher, ggn"):
        hessent.compare(only, only)
    assert len(hessent.compare(only, curvatures=("ggn", "fisher")).runs) == 2
    with pytest.raises(UsageError, match="no spectrum of the kfac"):
        hessent.compare(only, curvatures=("ggn", "kfac"))


def test_unlike_matrices_that_nobody_asked_for_are_told_and_refused_by_strict(run, tmp_path):
    other = written(run, tmp_path / "other", curvature="ggn")
    (warning,) = hessent.compare("sgd", other).warnings
    assert "the curvature of other is ggn, that of sgd is hessian" in warning
    with pytest.raises(UsageError, match="more than their weights"):
        hessent.compare("sgd", other, strict=True)


def test_a_preconditioned_spectrum_is_never_silently_held_against_a_plain_one(run, tmp_path):
    other = written(run, tmp_path / "adam", settings={"precondition": "adam"})
    assert (tmp_path / "adam" / "step-000040.hessian-adam.spectrum.h5").is_file()
    (warning,) = hessent.compare("sgd", other).warnings
    assert "precondition adam and none" in warning
    with pytest.raises(UsageError, match="more than their weights"):
        hessent.compare("sgd", other, strict=True)
    written(run, tmp_path / "adam")  # beside it the plain one, which is then the one that is meant
    assert hessent.compare("sgd", other, strict=True).warnings == ()


def test_a_curvature_that_there_is_not_is_refused(run, capfd):
    assert main(["compare", "sgd", "--curvature", "hessian", "--curvature", "gnn"]) == 2
    assert "gnn" in capfd.readouterr().err
