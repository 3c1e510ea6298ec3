"""Pictures of one file say which file it is."""

import pytest
import sample_spectra

from hessent.measures.registry import compute_measures
from hessent.report.plots.density_plot import density_figure
from hessent.report.plots.heatmap import heatmap_figure
from hessent.report.plots.picture import Look
from hessent.report.selection import Selection, SpectrumEntry
from hessent.spectra.derived import DerivedMeasures

FILE = "runs/adam/step-000400.spectrum.h5"


def entry(file):
    sample = sample_spectra.spectrum()
    derived = {block.name: DerivedMeasures("test", compute_measures(block), {}) for block in sample.blocks}
    return SpectrumEntry(file, sample, derived)


@pytest.mark.parametrize("kind", ["heatmap", "density"])
def test_the_small_print_names_the_file(kind):
    pytest.importorskip("matplotlib")
    for file, shown in ((FILE, FILE), ("long/" * 40 + "name.h5", "name.h5")):
        one = [entry(file)]
        figure = heatmap_figure(one, Selection(), Look()) if kind == "heatmap" else density_figure(one, (), Look())
        small_print = figure.texts[1].get_text().replace("\n", " ")
        assert shown in small_print
        assert len(max(small_print.split(" · "), key=len)) <= 70
