"""The file is kept up to date while blocks are refined, at a small share of the time."""

from __future__ import annotations

import itertools

import pytest
import sample_spectra
import torch
from cases import cases, seeded

import hessent
from hessent.pipeline import recorder as module
from hessent.pipeline.observer import Silent
from hessent.pipeline.recorder import Recorder


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def recording(clock, target, *, seconds_per_write):
    """A recorder whose snapshots take that long, and the times at which it began one."""
    spectrum, written = sample_spectra.spectrum(), []

    def assemble():
        written.append(clock.now)
        clock.now += seconds_per_write
        return spectrum

    return Recorder(Silent(), assemble, target), spectrum, written


def refine(recorder, spectrum, clock, *, seconds, every):
    end = clock.now + seconds
    while clock.now < end:
        clock.now += every
        recorder.refined(spectrum.blocks[0])


def test_snapshots_come_a_minute_apart_where_writing_is_quick(clock, tmp_path):
    recorder, spectrum, written = recording(clock, tmp_path / "run.h5", seconds_per_write=0.1)
    refine(recorder, spectrum, clock, seconds=305, every=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(written)]
    assert len(written) >= 5
    assert min(gaps) >= 60


@pytest.mark.parametrize("seconds_per_write", [2.0, 20.0])
def test_slow_writing_takes_three_percent_of_the_time_at_most(clock, tmp_path, seconds_per_write):
    recorder, spectrum, written = recording(clock, tmp_path / "run.h5", seconds_per_write=seconds_per_write)
    begin = clock.now
    refine(recorder, spectrum, clock, seconds=10_000, every=5)
    assert len(written) > 1
    # The first snapshot comes before anything is known of its cost.
    assert (len(written) - 1) * seconds_per_write <= 0.03 * (clock.now - begin)


def test_a_quick_run_writes_nothing_before_its_first_look(clock, tmp_path):
    recorder, spectrum, written = recording(clock, tmp_path / "run.h5", seconds_per_write=0.1)
    refine(recorder, spectrum, clock, seconds=20, every=1)
    assert written == []
    recorder.first_look(spectrum.blocks)
    assert len(written) == 1
    assert hessent.load(tmp_path / "run.h5").block("full").name == "full"


def test_the_observer_behind_is_told_of_every_refinement(clock, tmp_path):
    told = []

    class Watching(Silent):
        def refined(self, block):
            told.append(block.name)

    spectrum = sample_spectra.spectrum()
    recorder = Recorder(Watching(), lambda: spectrum, tmp_path / "run.h5")
    for block in spectrum.blocks:
        recorder.refined(block)
    assert told == [block.name for block in spectrum.blocks]


def test_what_a_killed_run_leaves_can_be_read_and_says_that_it_is_not_complete(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(module, "_SHARE", float("inf"))
    target, left = tmp_path / "run.spectrum.h5", []

    class Reading(Silent):
        def refined(self, block):
            left.append(hessent.load(target))  # what would be there, were the process killed now

    case = next(case for case in cases() if case.name == "mlp, mse")
    problem = hessent.Problem(seeded(case.model), case.loss, case.batches(4, 4, 1), dtype=torch.float64)
    found = hessent.spectrum(problem, method="lanczos", rtol=0.0, max_matvecs=40, out=target, observer=Reading())
    assert left
    assert not any(spectrum.complete for spectrum in left)
    assert [block.name for block in left[-1].blocks] == [block.name for block in found.blocks]
    assert all(block.groups is not None for block in left[-1].blocks)
    assert hessent.load(target).complete
