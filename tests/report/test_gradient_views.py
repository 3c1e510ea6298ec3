"""What is told of gradients: enclosures as ranges, reasons where nothing is known, sizes of mini-batches."""

import dataclasses

import numpy as np
import pytest
import sample_spectra

import hessent
from hessent import __version__
from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures
from hessent.report.checks.table import check_table
from hessent.report.comparison_tables import comparison_tables
from hessent.report.plain import to_csv, to_markdown
from hessent.report.plots.heatmap import column_scores
from hessent.report.selection import Selection, SpectrumEntry
from hessent.report.summary import summary_tables
from hessent.report.tables import Column, Table, footnotes
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.gradients import GradientAlong

TOP, NEGATIVE, GAP = "gradient_top_share", "gradient_negative_share", "batch_gradient_gap"


def entry(converged=6, name="full", shares=0.1, **changes):
    """A block of which the first so many of twelve leading eigenvectors have converged."""
    values = np.sort(np.linspace(1.0, 3.0, 12))
    residuals = np.where(np.arange(12) >= 12 - converged, 1e-9, 0.1)
    block = sample_spectra.with_gradient(sample_spectra.lanczos_block(name, seed=5))
    along = GradientAlong(np.full(12, shares / 1.3), values, residuals)
    gradient = dataclasses.replace(block.gradient, **{"along": along, **changes})
    return SpectrumEntry("a.h5", sample_spectra.spectrum([dataclasses.replace(block, gradient=gradient)]))


def share_of(found):
    return compute_measures(found.spectrum.block("full"))[TOP]


def notes(found, *measures):
    selection = Selection(measures) if measures else Selection()
    return footnotes(summary_tables(found, selection)[0])


def test_an_enclosure_has_the_middle_as_its_value():
    share = share_of(entry())
    assert (share.low, share.high) == (pytest.approx(6 * 0.1 / 1.3, abs=1e-6), 1.0)
    assert share.value == pytest.approx((share.low + 1.0) / 2)
    assert not share.exact
    assert share.reason is None
    assert share_of(entry(0)) == Estimate.unknown(share_of(entry(0)).reason)


@pytest.mark.parametrize(
    ("kind", "number", "outcome"),
    [
        ("max", 1.5, "holds"),
        ("min", 0.4, "holds"),
        ("max", 0.4, "violated"),
        ("min", 1.1, "violated"),
        ("max", 0.73, "unsure"),
        ("min", 0.73, "unsure"),
    ],
)
def test_a_rule_on_an_enclosure_is_decided_by_where_all_of_it_lies(kind, number, outcome):
    found = entry()
    report = hessent.check(found.spectrum, [{"measure": TOP, kind: number}])
    assert (report.outcome, report.failed) == (outcome, outcome == "violated")
    assert "0.46–1.00" in to_markdown([check_table(report)])


def test_where_nothing_is_enclosed_no_rule_passes():
    report = hessent.check(entry(0).spectrum, [{"measure": TOP, "max": 1}])
    assert report.failed
    assert report.results[0].is_unknown


def test_a_comparison_shows_ranges_and_the_difference_of_their_ends():
    one, other = entry(), entry(shares=0.05)
    found = hessent.compare(one.spectrum, other.spectrum, measures=[TOP])
    assert "0.46–1.00" in to_markdown(comparison_tables(found))
    difference, (a, b) = found.differences[0].measures[TOP], (share_of(other), share_of(one))
    assert (difference.low, difference.high) == pytest.approx((a.low - b.high, a.high - b.low))


def test_a_range_has_no_footnote_of_what_is_unknown():
    assert not any(note.startswith("—") for note in notes(entry(), TOP))
    assert any(note.startswith("— too few leading eigenvectors converged") for note in notes(entry(0), TOP))


def test_a_reason_of_what_is_shown_by_its_ends_stands_beside_no_dash():
    cells = (Estimate(None, 0.0, 0.5, reason="below the noise"), Estimate.unknown("never measured"))
    table = Table((Column("a", "a", "estimate"), Column("b", "b", "estimate")), (cells,))
    assert footnotes(table) == ["a–b below the noise (a; 1 number)", "— never measured (b; 1 number)"]


def test_the_line_on_the_whole_model_has_ranges_or_the_reason():
    assert any(note.startswith("its ‖g‖²: 0.46–1.00 along the 10 leading") for note in notes(entry()))
    (unknown,) = (note for note in notes(entry(0)) if note.startswith("its ‖g‖²"))
    assert "— (too few leading eigenvectors converged" in unknown
    assert "along negative curvature" in unknown
    (missing,) = (note for note in notes(entry(along=None)) if note.startswith("its ‖g‖²"))
    assert missing.startswith("its ‖g‖² along eigenvectors is unknown: ")
    assert missing.count("were not kept") == 1


def test_a_table_with_measures_of_batches_says_their_size():
    found = entry(batch_size=48)
    assert any("mini-batches of 48 samples" in note for note in notes(found, GAP))
    assert not any("mini-batches" in note for note in notes(found, TOP))
    header, row = to_csv(summary_tables(found, Selection())).splitlines()[:2]
    assert row.split(",")[header.split(",").index("mini_batch_size")] == "48"


def test_enclosures_that_files_kept_without_a_value_are_derived_again():
    found = entry()
    known = compute_measures(found.spectrum.block("full"))
    kept = {**known, TOP: Estimate(None, known[TOP].low, 1.0, reason="too few")}
    older = dataclasses.replace(found, derived={"full": DerivedMeasures(__version__, kept)})
    assert older.measures_of(found.spectrum.block("full"), 1.0)[TOP] == known[TOP]


def test_a_heat_map_colours_no_enclosure_that_may_be_low_or_high():
    ends = [(0.10, 0.11), (0.20, 0.21), (0.40, 0.41), (0.05, 0.95)]
    column = [Estimate((low + high) / 2, low, high) for low, high in ends]
    scores = column_scores([*column, Estimate(None, 0.1, 0.2, reason="?"), Estimate.unknown("?")], "bracket")
    assert np.isfinite(scores).tolist() == [True, True, True, False, False, False]
    assert scores[0] < scores[1] < scores[2]
    assert scores[:3] == pytest.approx(column_scores(column[:3], "bracket"))
    assert np.isfinite(column_scores(column, "estimate")).all()


def drawn(measure, estimates):
    """Return the dots, and the ends of the bars, of a run's line in a picture."""
    pytest.importorskip("matplotlib")
    from hessent.report.plots.picture import Look, drawing, new_figure
    from hessent.report.plots.run_plot import draw_line

    with drawing(Look()):
        axes = new_figure(3.0, 2.0).add_subplot()
        draw_line(axes, list(enumerate(estimates)), "#000000", measure)
        joined = np.asarray(axes.get_lines()[0].get_ydata(), dtype=float)
        dots = [y for line in axes.get_lines() if line.get_marker() in "o^v" for y in line.get_ydata()]
        segments = [part for bar in axes.collections for part in bar.get_segments()]
    return joined, dots, [(part[0][1], part[1][1]) for part in segments]


@pytest.mark.parametrize("measure", [TOP, NEGATIVE, "positive_ratio"])
def test_an_enclosure_is_drawn_as_a_bar_without_a_dot_and_joined_to_nothing(measure):
    enclosed, exact = Estimate(0.625, 0.25, 1.0), Estimate.exactly(0.5)
    joined, dots, bars = drawn(measure, [exact, enclosed, exact, Estimate(None, 0.1, 0.2, reason="?")])
    assert np.isnan(joined).tolist() == [False, True, False, True]
    assert dots == [0.5, 0.5]
    assert [pytest.approx((0.25, 1.0)), pytest.approx((0.1, 0.2))] == [bar for bar in bars if bar[0] < bar[1]]


def test_an_estimate_is_drawn_with_its_dot():
    joined, dots, bars = drawn("trace", [Estimate(2.0, 1.0, 3.0), Estimate(4.0, 3.5, 4.5), Estimate.unknown("?")])
    assert joined[:2].tolist() == dots == [2.0, 4.0]
    assert np.isnan(joined[2])
    assert bars == [(1.0, 3.0), (3.5, 4.5)]
