"""`hessent spectrum --split`: file, table, JSON, options; the same bytes however often the run was stopped."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import sample_spectra
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.errors import SpectrumFileError, UsageError
from hessent.measures.split import MATRICES, split_measures
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.observer import Silent
from hessent.pipeline.parts import Part
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.spectrum_run import run_spectrum
from hessent.report.schema import load_schema
from hessent.spectra.hdf5_reader import from_bytes
from hessent.spectra.hdf5_writer import to_bytes
from hessent.spectra.merging import merge


class Stopping(Silent):
    """Asks for the end after so many products."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most, self.matvecs = most, 0

    def advanced(self, block: str, matvecs: int) -> None:
        self.matvecs += matvecs

    def should_stop(self) -> bool:
        return self.matvecs >= self.most


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors"))


def request_for(checkpoint: Path, name: str = "whole.spectrum.h5", **changes) -> SpectrumRequest:
    request = SpectrumRequest(
        checkpoint=str(checkpoint),
        accuracy=Accuracy(method="lanczos", max_matvecs=40),
        engine="retained",
        samples=24,
        split_probes=4,
        out=str(checkpoint.with_name(name)),
    )
    return dataclasses.replace(request, **changes)


def test_a_stopped_run_ends_with_the_same_bytes_and_splits_once(checkpoint):
    whole = run_spectrum(request_for(checkpoint), Stopping())
    first, second = Stopping(most=1), Stopping()
    asked = request_for(checkpoint, "stopped.spectrum.h5")
    assert not run_spectrum(asked, first).spectrum.complete
    outcome = run_spectrum(asked, second)
    assert outcome.path.read_bytes() == whole.path.read_bytes()
    assert first.matvecs == 3 * 2 * 4  # three blocks, two matrices, four vectors; no product of a spectrum yet
    assert second.matvecs == sum(block.num_matvecs - 4 for block in whole.spectrum.blocks)


def test_the_split_changes_nothing_of_the_spectra(checkpoint):
    split = run_spectrum(request_for(checkpoint), Silent()).spectrum
    without = run_spectrum(request_for(checkpoint, "without.spectrum.h5", split_probes=None), Silent()).spectrum
    assert without.split == ()
    for one, other in zip(split.blocks, without.blocks, strict=True):
        assert np.array_equal(one.probes.alphas, other.probes.alphas)
    # Asked without, a file with a split is as good; asked with, one without is in the way.
    assert not run_spectrum(request_for(checkpoint, split_probes=None), Silent()).computed
    with pytest.raises(UsageError, match="made otherwise") as refused:
        run_spectrum(request_for(checkpoint, "without.spectrum.h5"), Silent())
    assert "split-probes: None in the file, 4 now" in str(refused.value.problems)


def test_parts_join_to_the_same_split(checkpoint):
    parts = {}
    for number in (1, 2):
        name = f"part-{number}.spectrum.h5"
        parts[name] = run_spectrum(request_for(checkpoint, name, part=Part(number, 2)), Silent()).spectrum
    joined = merge(parts)
    whole = run_spectrum(request_for(checkpoint), Silent()).spectrum
    for one, other in zip(joined.split, whole.split, strict=True):
        assert np.array_equal(one.moments, other.moments)
    other = dataclasses.replace(parts["part-2.spectrum.h5"].split[0], moments=np.zeros((4, 7)))
    parts["part-2.spectrum.h5"] = dataclasses.replace(parts["part-2.spectrum.h5"], split=(other,))
    with pytest.raises(UsageError, match="do not make one run") as refused:
        merge(parts)
    assert "split differ" in str(refused.value.problems)


def test_the_command_prints_the_parts_and_the_last_layer_has_no_rest(checkpoint, monkeypatch, capfd):
    monkeypatch.chdir(checkpoint.parent)
    words = ["spectrum", checkpoint.name, "--max-matvecs", "40", "--samples", "24", "--engine", "retained"]
    assert main([*words, "--split", "--dry-run", "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert any("72 of the products are for --split" in note for note in plan["notes"])
    assert plan["matvecs"] == 3 * 40 + 72
    assert main([*words, "--split", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    split = {block["name"]: block for block in document["spectra"][0]["split"]}
    assert split["layers.1"]["residual"]["trace"]["value"] is None  # nothing but rounding: the layer is linear
    assert split["layers.1"]["residual"]["norm"]["high"] < 1e-4 * split["layers.1"]["ggn"]["norm"]["value"]
    assert split["full"]["vectors"] == 12
    assert split["full"]["residual"]["norm"]["value"] > 0
    assert main(["summary", "step-000046.spectrum.h5", "--block", "layers.*"]) == 0
    table = capfd.readouterr().out.split("Hessian H = G + R")[1]
    assert "layers.1" in table
    assert "full" not in table
    assert "no larger than the noise" in table
    assert main([*words[:2], "--curvature", "ggn", "--split"]) == 2
    assert "--split: is of --curvature hessian alone" in capfd.readouterr().err
    assert main([*words, "--split-probes", "2"]) == 2
    assert "must be at least 3" in capfd.readouterr().err


def test_a_metric_is_that_of_both(checkpoint):
    from safetensors.torch import load_file, save_file

    diagonal = {name: 4.0 + 0 * tensor for name, tensor in load_file(checkpoint).items()}
    save_file(diagonal, str(checkpoint.with_name("four.safetensors")))
    plain = run_spectrum(request_for(checkpoint), Silent()).spectrum
    scaled = run_spectrum(
        request_for(checkpoint, "scaled.spectrum.h5", precondition=str(checkpoint.with_name("four.safetensors"))),
        Silent(),
    ).spectrum
    for one, other in zip(plain.split, scaled.split, strict=True):
        if one.name != "layers.1":  # of which rounding alone is left
            assert np.allclose(one.moments[:, :6], 4 * other.moments[:, :6], rtol=1e-4, atol=1e-5)


def test_files_keep_every_number():
    spectrum = sample_spectra.spectrum(split=sample_spectra.split_blocks())
    found = from_bytes(to_bytes(spectrum), where="a.spectrum.h5").split
    for one, other in zip(spectrum.split, found, strict=True):
        assert (one.name, one.size, one.exact, one.noise) == (other.name, other.size, other.exact, other.noise)
        assert np.array_equal(one.moments, other.moments)
    assert from_bytes(to_bytes(sample_spectra.spectrum()), where="a").split == ()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"moments": np.zeros((2, 7))}, "has 2 rows"),
        ({"exact": False}, "has 1 rows"),
        ({"moments": np.full((1, 7), 2.0)}, "cosine beyond 1"),
        ({"moments": np.full((1, 7), -0.5)}, "negative norm"),
        ({"moments": np.full((1, 7), 1e80)}, "beyond 1e\\+70"),
        ({"noise": -1.0}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"size": 0}, "less than 1"),
    ],
)
def test_what_makes_no_sense_is_refused(block, message):
    first = dataclasses.replace(sample_spectra.split_blocks()[0], **block)
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(to_bytes(sample_spectra.spectrum(split=(first,))), where="a.spectrum.h5")


def test_every_matrix_has_its_measures():
    exact, nothing, sampled = (split_measures(block) for block in sample_spectra.split_blocks())
    assert set(exact) == {f"{kind}_{matrix}" for kind in ("trace", "norm") for matrix in MATRICES} | {"cosine"}
    assert exact["norm_ggn"].value == 1.5
    assert nothing["trace_residual"].value is None
    assert sampled["trace_residual"].low < sampled["trace_residual"].value < sampled["trace_residual"].high
