"""What stands beside the bar while blocks are refined."""

from __future__ import annotations

import io

import pytest
import sample_spectra
from rich.console import Console

from hessent.cli import progress
from hessent.cli.progress import SpectrumDisplay
from hessent.measures.registry import compute_measures
from hessent.report.numbers import format_estimate
from hessent.report.progress import current_estimate


@pytest.fixture
def terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(
        progress, "messages", lambda: Console(file=stream, force_terminal=True, width=140, color_system=None)
    )
    return stream


def test_a_block_under_refinement_is_shown_with_its_gap_and_error():
    block = sample_spectra.grouped_lanczos_block()
    expected = format_estimate(compute_measures(block)["entropy_gap"]).joined()
    assert current_estimate(block) == f"{block.name}: gap {expected}"
    assert "±" in expected


def test_where_only_the_trace_is_known_it_is_shown():
    assert current_estimate(sample_spectra.trace_block()).startswith("layer2.0.conv1: trace ")


def test_the_estimate_stands_beside_the_bar_while_its_block_is_worked_on(terminal):
    block = sample_spectra.lanczos_block(name="[bold]conv")
    with SpectrumDisplay() as display:
        display.started("refining", 100)
        display.refined(block)
        display.advanced("other", 4)
        assert "gap" not in _shown(display)
        display.advanced(block.name, 4)
        assert _shown(display) == current_estimate(block)


def test_off_a_terminal_nothing_is_computed_for_the_display(monkeypatch):
    monkeypatch.setattr("hessent.report.progress.current_estimate", None)
    with SpectrumDisplay() as display:
        display.started("refining", 100)
        display.refined(sample_spectra.lanczos_block())


def _shown(display):
    return display._bar.tasks[0].fields["block"]
