"""Files of every released format version stay readable, and say what they said when they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

import hessent
from hessent.__main__ import main
from hessent.spectra.hdf5_reader import load_with_measures

ARCHIVE = Path(__file__).parents[1] / "archive"


def test_version_1_holds_what_was_written():
    spectrum = hessent.load(ARCHIVE / "spectrum-1.h5")
    assert spectrum.complete
    assert spectrum.checkpoint.sha256.startswith("2521859cb79266972d1b")
    assert spectrum.data.sha256.startswith("22e1cc21c270d52acb64")
    assert [(b.name, b.size, b.method, b.num_matvecs) for b in spectrum.blocks] == [
        ("layers.0", 780, "lanczos", 138),
        ("layers.1", 130, "exact", 133),
        ("full", 910, "lanczos", 138),
    ]
    assert spectrum.block("layers.1").eigenvalues.sum() == pytest.approx(1.9935826826840641, rel=1e-14)
    sampled = spectrum.block("full")
    assert sampled.probes.alphas.shape == (3, 27)
    assert sampled.probes.alphas.sum() == pytest.approx(1.5854768836280184, rel=1e-14)
    assert len(sampled.outliers.values) == 26
    assert spectrum.tensor_probe.names == ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")


def test_version_1_before_its_optional_members_is_read_as_nobody_looked():
    spectrum = hessent.load(ARCHIVE / "spectrum-1.h5")
    assert [block.multiplicity for block in spectrum.blocks] == ["lower bound", "whole", "lower bound"]
    assert {block.noise_floor for block in spectrum.blocks} == {0.0}
    assert {block.groups for block in spectrum.blocks} == {None}
    sampled = spectrum.block("full")
    assert (sampled.probes.simple, sampled.trace_estimates) == (None, None)


def test_version_1_with_optional_members_holds_what_was_written():
    spectrum, stored = load_with_measures(ARCHIVE / "spectrum-1-groups.h5")
    assert [(b.name, b.method, b.multiplicity) for b in spectrum.blocks] == [
        ("layer1.0.bn1", "exact", "whole"),
        ("layer1.0.conv1", "lanczos", "lower bound"),
        ("layer3.0.bn1", "exact", "whole"),
        ("layer2.0.conv1", "hutch++", "lower bound"),
        ("layer2.1.conv1", "lanczos", "whole"),
        ("layer3.0.conv1", "lanczos", "lower bound"),
        ("full", "lanczos", "whole"),
    ]
    exact, full, trace = (spectrum.block(name) for name in ("layer1.0.bn1", "full", "layer2.0.conv1"))
    assert exact.groups.items.tolist() == [32, 32, 32, 32]
    assert exact.groups.left_out.shape == (4, 64)
    assert exact.groups.left_out.sum() == pytest.approx(92.89495258046827, rel=1e-14)
    assert exact.groups.traces[0] == pytest.approx(23.111795807514895, rel=1e-14)
    assert spectrum.block("layer3.0.bn1").groups.probes.shape == (4, 3, 8, 8)
    assert full.groups.outliers.shape == (4, 20, 20)
    assert full.groups.outliers.sum() == pytest.approx(11349.211371553643, rel=1e-14)
    assert full.groups.probes.sum() == pytest.approx(816.664443742455, rel=1e-12)
    assert full.probes.simple[2] == pytest.approx(1.43648743, rel=1e-8)
    assert full.noise_floor == 3.0000000000000004e-08
    assert trace.trace_estimates.sum() == pytest.approx(599.7913037838143, rel=1e-14)
    assert trace.groups.sampled_fraction == 0.25
    assert spectrum.block("layer2.1.conv1").groups is None
    joint = spectrum.block("layer3.0.conv1")
    assert [len(shorter.outliers.values) for shorter in joint.shorter] == [4, 0]
    assert joint.shorter[1].probes.alphas.shape == (4, 12)
    assert joint.groups.outliers.shape == (4, 3, 3)
    population = stored["full"].estimates["trace"].population
    assert population.low < stored["full"].estimates["trace"].low < population.value < population.high
    assert stored["full"].budgets["trace"]["data"] > 0.0


@pytest.mark.parametrize("file", sorted(ARCHIVE.glob("*.h5")), ids=lambda path: path.name)
def test_every_archived_file_still_makes_a_table(file, capsys):
    assert main(["summary", str(file)]) == 0
    assert "full" in capsys.readouterr().out
