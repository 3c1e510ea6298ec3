"""K-FAC beside another matrix: ratios, difference of gaps and distance, with the intervals of what was sampled."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import sample_spectra
from kronecker_blocks import block, pair

from hessent.__main__ import main
from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures
from hessent.report.checks.judged_spectrum import judged_entry
from hessent.report.kfac_quality import kfac_quality, ratio
from hessent.report.schema import load_schema
from hessent.report.selection import SpectrumEntry
from hessent.spectra.hdf5_writer import write_spectrum
from hessent.spectra.model import BlockSpectrum

KFAC = block(pair(12, 9), name="fc1")


def exact(own, scale=1.0, name=None):
    values = scale * own.eigenvalues
    return BlockSpectrum(
        name or own.name, own.size, own.parameters, "exact", own.size, True, "exact", 1e-8, eigenvalues=values
    )


def spectrum(*blocks, curvature="ggn", **changes):
    settings = {"kfac_approx": "expand"} if curvature == "kfac" else {}
    whole = replace(
        sample_spectra.spectrum(), blocks=blocks, curvature=curvature, settings=settings, tensor_probe=None
    )
    return replace(whole, **changes)


def judged(*blocks, **changes):
    return judged_entry(SpectrumEntry("a.spectrum.h5", spectrum(*blocks, **changes)))


def quality(kfac, matrix):
    return kfac_quality(kfac, matrix, names=("a (kfac)", "a (ggn)"), label="100 %")


def test_a_matrix_that_is_a_kronecker_product_is_met_exactly():
    (found,) = quality(judged(KFAC, curvature="kfac"), judged(exact(KFAC))).blocks
    assert found.trace_ratio.value == pytest.approx(1.0)
    assert found.lambda_max_ratio.value == pytest.approx(1.0)
    assert found.gap_difference.value == pytest.approx(0.0, abs=1e-12)
    assert (found.distance, found.floor) == (pytest.approx(0.0, abs=1e-6), 0.0)
    assert found.trace_ratio.exact


def test_a_matrix_of_another_scale_has_the_same_gap():
    (found,) = quality(judged(KFAC, curvature="kfac"), judged(exact(KFAC, 4.0))).blocks
    assert found.trace_ratio.value == pytest.approx(0.25)
    assert found.gap_difference.value == pytest.approx(0.0, abs=1e-12)
    assert found.distance > 0.2


def test_ratios_have_the_interval_of_the_sampled_matrix():
    sampled = sample_spectra.lanczos_block(name="fc1", size=108)
    (found,) = quality(judged(KFAC, curvature="kfac"), judged(sampled)).blocks
    trace, ours = compute_measures(sampled)["trace"], KFAC.eigenvalues.sum()
    assert found.trace_ratio.low == pytest.approx(ours / trace.high)
    assert found.trace_ratio.value == pytest.approx(ours / trace.value)
    assert not found.trace_ratio.exact
    assert found.gap_difference.half_width > 0.0
    assert found.floor > 0.0


@pytest.mark.parametrize(
    ("ours", "theirs", "low", "high"),
    [
        (Estimate.exactly(2.0), Estimate(4.0, 3.0, 5.0), 0.4, 2 / 3),
        (Estimate(2.0, 1.0, 3.0), Estimate(4.0, 3.0, 5.0), 0.2, 1.0),
        (Estimate.exactly(2.0), Estimate(4.0, -1.0, 5.0), 0.4, None),
        (Estimate(2.0, None, None), Estimate.exactly(4.0), None, None),
        (Estimate.exactly(0.0), Estimate.exactly(4.0), 0.0, 0.0),
    ],
)
def test_the_interval_of_a_ratio_holds_those_of_both(ours, theirs, low, high):
    found = ratio(ours, theirs)
    assert found.value == pytest.approx(ours.value / 4.0)
    assert found.low == (None if low is None else pytest.approx(low))
    assert found.high == (None if high is None else pytest.approx(high))


def test_there_is_no_ratio_to_what_is_not_positive_or_unknown():
    assert ratio(Estimate.exactly(1.0), Estimate.exactly(0.0)).value is None
    assert ratio(Estimate.exactly(1.0), Estimate.unknown("noise")).reason == "noise"


def test_blocks_of_other_sizes_are_not_held_against_each_other():
    covered, whole = replace(KFAC, name="full"), exact(block(pair(12, 10), name="full"))
    assert quality(judged(covered, curvature="kfac"), judged(whole)) is None


def test_blocks_without_kfac_are_named():
    found = quality(judged(KFAC, curvature="kfac"), judged(exact(KFAC), sample_spectra.exact_block("norm")))
    assert found.without == ("norm",)
    assert "no K-FAC of 1 blocks of the ggn: norm" in found.table().notes


def test_other_weights_have_no_common_quality():
    other = replace(sample_spectra.spectrum().checkpoint, sha256="f" * 64)
    assert quality(judged(KFAC, curvature="kfac"), judged(exact(KFAC), checkpoint=other)) is None


class TestCompare:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        write_spectrum(tmp_path / "a.ggn.spectrum.h5", spectrum(exact(KFAC, 2.0)))
        write_spectrum(tmp_path / "a.kfac.spectrum.h5", spectrum(KFAC, curvature="kfac"))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def printed(self, capfd, *words):
        code = main(["compare", ".", "--curvature", "ggn", "--curvature", "kfac", "--no-measure", *words])
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return captured.out

    def test_the_table_stands_below_that_of_the_blocks(self, folder, capfd):
        text = self.printed(capfd, "--blocks")
        assert "How good K-FAC (expand) is here" in text
        line = next(line for line in text.split("How good")[1].splitlines() if line.startswith("fc1"))
        assert line.split()[3] == "0.5000"

    def test_json_fits_its_schema(self, folder, capfd):
        document = json.loads(self.printed(capfd, "--blocks", "--json"))
        jsonschema.validate(document, load_schema("hessent.compare/1"))
        (found,) = document["kfac_quality"]
        assert found["blocks"][0]["trace_ratio"]["value"] == pytest.approx(0.5)
        assert np.isfinite(found["blocks"][0]["distance"])

    def test_without_blocks_there_is_none(self, folder, capfd):
        assert "How good" not in self.printed(capfd)
        assert "kfac_quality" not in json.loads(self.printed(capfd, "--json"))

    def test_a_comparison_of_kfac_alone_has_none(self, folder, capfd):
        write_spectrum(folder / "b.kfac.spectrum.h5", spectrum(KFAC, curvature="kfac"))
        code = main(["compare", "a.kfac.spectrum.h5", "b.kfac.spectrum.h5", "--blocks"])
        assert code == 0
        assert "How good" not in capfd.readouterr().out
