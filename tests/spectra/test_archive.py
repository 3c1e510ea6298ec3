"""Files of every released format version stay readable, and say what they said when they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

import hessent
from hessent.__main__ import main

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


@pytest.mark.parametrize("file", sorted(ARCHIVE.glob("*.h5")), ids=lambda path: path.name)
def test_every_archived_file_still_makes_a_table(file, capsys):
    assert main(["summary", str(file)]) == 0
    assert "full" in capsys.readouterr().out
