"""Snapshots, a second thread, and the order in which blocks are worked on leave no trace in the numbers."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from same_numbers import CASES, differences, measurement, problem

from hessent.eigensolver import scheduler
from hessent.measures.written import MeasuredWriter
from hessent.pipeline import block_work, measure, recorder
from hessent.pipeline.observer import Silent
from hessent.pipeline.recorder import Recorder
from hessent.spectra.provenance import CheckpointInfo, DataInfo

CASE = CASES["mlp, mse"]


def run(engine="retained", observer=None):
    made = measurement(problem(CASE, 4, 4, 1), engine=engine, max_matvecs=60)
    made.run(observer(made) if observer else Silent())
    assert made.complete
    return made.spectra()


def test_snapshots_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(recorder, "_SHARE", 1e9)
    written = []
    original = MeasuredWriter.write

    def counted(self, path, spectrum):
        written.append(path)
        original(self, path, spectrum)

    monkeypatch.setattr(MeasuredWriter, "write", counted)

    def recording(made):
        checkpoint = CheckpointInfo("a", "0" * 64, "mlp")
        data = DataInfo("d", 9, 9, "0" * 64)
        return Recorder(Silent(), lambda: made.spectrum(checkpoint, data, {}), tmp_path / "a.spectrum.h5")

    assert not list(differences(run(), run(observer=recording)))
    assert len(written) > 2


@pytest.mark.parametrize("engine", ["retained", "lockstep"])
def test_a_second_thread_changes_nothing(monkeypatch, engine):
    used = []

    def threads(number):
        def spare(device, threads):
            used.append(number)
            return ThreadPoolExecutor(number) if number else contextlib.nullcontext()

        return spare

    found = []
    for number in (0, 1):
        monkeypatch.setattr(measure, "spare_thread", threads(number))
        found.append(run(engine))
    assert used == [0, 1]
    assert not list(differences(*found))


def test_the_order_of_work_changes_nothing(monkeypatch):
    expected, turns = run(), []

    def by_name(solvers):
        turns.append([solver.name for solver in solvers])
        return sorted(solvers, key=lambda solver: solver.name)

    for module in (scheduler, block_work):
        monkeypatch.setattr(module, "widest_first", by_name)
    assert not list(differences(expected, run()))
    assert any(len(solvers) > 1 for solvers in turns)
