"""A measurement that was stopped goes on where it was and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from cases import cases, seeded
from small_run import trained_mlp

import hessent
from hessent.__main__ import main
from hessent.errors import UsageError
from hessent.journal.documents import read_document, render
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.observer import Silent
from hessent.pipeline.parts import Part
from hessent.pipeline.request import SpectrumRequest
from hessent.pipeline.spectrum_run import run_spectrum
from hessent.spectra.hdf5_reader import load
from hessent.spectra.merging import merge


class Stopping(Silent):
    """Asks for the end after so many products."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most
        self.matvecs = 0
        self.notes: list[str] = []

    def noted(self, message: str) -> None:
        self.notes.append(message)

    def advanced(self, block: str, matvecs: int) -> None:
        self.matvecs += matvecs

    def should_stop(self) -> bool:
        return self.matvecs >= self.most


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors"))


def request_for(checkpoint: Path, name: str, **changes) -> SpectrumRequest:
    """Two exact layers and the whole matrix, sampled."""
    request = SpectrumRequest(
        checkpoint=str(checkpoint),
        accuracy=Accuracy(method="lanczos", max_matvecs=160),
        engine="retained",
        out=str(checkpoint.with_name(name)),
    )
    return replace(request, **changes)


ROUTES = {
    "sampled": {},
    "sampled to a tolerance": {"accuracy": Accuracy(method="lanczos", rtol=0.05)},
    "exact": {"accuracy": Accuracy(method="exact"), "full": False},
    "trace only": {"accuracy": Accuracy(only="trace", max_matvecs=120)},
    "graphs rebuilt": {"engine": "lockstep"},
    "few vectors": {"accuracy": Accuracy(method="lanczos", max_matvecs=160), "memory": 400_000},
}


@pytest.mark.parametrize("route", ROUTES)
def test_stopped_again_and_again_it_ends_with_the_same_bytes(checkpoint, route):
    changes = ROUTES[route]
    whole = run_spectrum(request_for(checkpoint, "whole.spectrum.h5", **changes), Stopping())
    asked = request_for(checkpoint, "stopped.spectrum.h5", **changes)
    runs, spent, outcome = 0, 0, None
    while outcome is None or not outcome.spectrum.complete:
        observer = Stopping(most=150)
        outcome = run_spectrum(asked, observer)
        runs, spent = runs + 1, spent + observer.matvecs
    assert runs >= 2
    assert outcome.path.read_bytes() == whole.path.read_bytes()
    assert not outcome.path.with_name("stopped.spectrum.h5.partial").exists()
    # Nothing that was finished is computed again.
    assert spent == sum(block.num_matvecs - 4 for block in whole.spectrum.blocks)


def test_a_stop_leaves_a_readable_file_and_what_goes_on_from_it(checkpoint):
    asked = request_for(checkpoint, "run.spectrum.h5")
    outcome = run_spectrum(asked, Stopping(most=100))
    assert not outcome.spectrum.complete
    assert not load(outcome.path).complete
    assert outcome.path.with_name("run.spectrum.h5.partial").is_dir()


def test_a_signal_ends_with_its_exit_code_and_the_command_goes_on(checkpoint, capsys, monkeypatch):
    words = ["spectrum", str(checkpoint), "--method", "lanczos", "--engine", "retained"]
    assert main([*words, "-o", str(checkpoint.with_name("whole.spectrum.h5"))]) == 0
    target = checkpoint.with_name("stopped.spectrum.h5")
    from hessent.pipeline.served_products import ServedProducts

    answer, calls = ServedProducts.answer, []

    def answer_then_signal(self, requests):
        calls.append(1)
        if len(calls) == 12:
            signal.raise_signal(signal.SIGTERM)
        return answer(self, requests)

    monkeypatch.setattr(ServedProducts, "answer", answer_then_signal)
    assert main([*words, "-o", str(target)]) == 75
    assert "the same command goes on" in capsys.readouterr().err
    assert main([*words, "-o", str(target)]) == 0
    assert target.read_bytes() == checkpoint.with_name("whole.spectrum.h5").read_bytes()


def test_what_was_stopped_with_other_settings_is_refused_with_the_differences(checkpoint, capsys):
    run_spectrum(request_for(checkpoint, "run.spectrum.h5"), Stopping(most=100))
    checkpoint.with_name("run.spectrum.h5").unlink()  # as if it had been killed before the first look
    other = request_for(checkpoint, "run.spectrum.h5", seed=7, engine="lockstep")
    with pytest.raises(UsageError) as raised:
        run_spectrum(other, Silent())
    text = str(raised.value)
    assert "seed: 0" in text
    assert "engine" in text
    assert "--force" in text
    assert raised.value.exit_code == 2
    assert run_spectrum(other, Silent(), force=True).spectrum.complete
    assert not checkpoint.with_name("run.spectrum.h5.partial").exists()


def test_out_of_time_it_goes_on_when_typed_again(checkpoint):
    whole = run_spectrum(request_for(checkpoint, "whole.spectrum.h5"), Silent())
    first = run_spectrum(request_for(checkpoint, "run.spectrum.h5", max_time=0.0), Silent())
    assert not first.spectrum.complete
    second = run_spectrum(request_for(checkpoint, "run.spectrum.h5"), Silent())
    assert second.path.read_bytes() == whole.path.read_bytes()


def test_parts_merged_are_the_bytes_of_one_process(checkpoint, capsys):
    whole = run_spectrum(request_for(checkpoint, "whole.spectrum.h5"), Silent())
    files = []
    for number in (1, 2, 3):
        asked = request_for(checkpoint, f"run.units-{number}-of-3.spectrum.h5", part=Part(number, 3))
        outcome = run_spectrum(asked, Stopping(most=60))
        if not outcome.spectrum.settings["units"]["done"]:
            assert main(["merge", str(outcome.path), "-o", str(checkpoint.with_name("no.h5"))]) == 2
            assert "stopped early" in capsys.readouterr().err
            outcome = run_spectrum(asked, Silent())
        assert not outcome.spectrum.complete  # a part is not the whole
        assert main(["summary", str(outcome.path)]) == 0
        assert f"INCOMPLETE: part {number} of 3 of the blocks" in capsys.readouterr().out
        assert run_spectrum(asked, Silent()).computed is False
        files.append(str(outcome.path))
    assert {b.name for f in files for b in load(f).blocks} == {b.name for b in whole.spectrum.blocks}
    assert merge({file: load(file) for file in files}).complete
    assert main(["merge", *reversed(files)]) == 0
    merged = checkpoint.with_name("run.spectrum.h5")
    assert merged.read_bytes() == whole.path.read_bytes()
    assert main(["merge", *files]) == 2  # it is there already
    assert "--force" in capsys.readouterr().err


def test_a_part_in_the_place_of_another_is_refused(checkpoint):
    asked = request_for(checkpoint, "run.spectrum.h5", part=Part(1, 3))
    run_spectrum(asked, Silent())
    for other in (Part(2, 3), None):
        with pytest.raises(UsageError, match="units: 1/3 in the file"):
            run_spectrum(replace(asked, part=other), Silent())


def test_from_python_too_a_stopped_measurement_goes_on(tmp_path):
    case = cases()[0]
    problem = hessent.Problem(seeded(case.model), case.loss, case.batches(len(case.inputs)))
    whole = hessent.spectrum(problem, method="lanczos", engine="retained", out=tmp_path / "whole.spectrum.h5")
    for most in (60, float("inf")):
        hessent.spectrum(
            problem,
            method="lanczos",
            engine="retained",
            out=tmp_path / "run.spectrum.h5",
            observer=Stopping(most=most),
        )
    assert whole.measures()
    assert (tmp_path / "run.spectrum.h5").read_bytes() == (tmp_path / "whole.spectrum.h5").read_bytes()


def test_a_damaged_state_is_computed_again_and_told(checkpoint):
    whole = run_spectrum(request_for(checkpoint, "whole.spectrum.h5"), Silent())
    asked = request_for(checkpoint, "run.spectrum.h5")
    run_spectrum(asked, Stopping(most=200))
    folder = checkpoint.with_name("run.spectrum.h5.partial")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["schema"] == "hessent.journal/1"
    for file in folder.rglob("*"):
        if file.is_file() and file.parent.name in ("states", "units"):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
    observer = Stopping()
    outcome = run_spectrum(asked, observer)
    assert any("computed again" in note for note in observer.notes)
    assert outcome.path.read_bytes() == whole.path.read_bytes()


def test_a_journal_that_outlived_its_run_goes_with_the_next_command(checkpoint, monkeypatch):
    asked = request_for(checkpoint, "run.spectrum.h5")
    with monkeypatch.context() as patch:
        patch.setattr("hessent.journal.journal.Journal.discard", lambda journal: [])  # killed just before it
        run_spectrum(asked, Silent())
    left = checkpoint.with_name("run.spectrum.h5.partial")
    assert left.is_dir()
    assert run_spectrum(asked, Silent()).computed is False
    assert not left.exists()


@pytest.mark.parametrize("content", [{}, {"choices": 3}, {"choices": None, "facts": {}}, {"facts": [1]}])
def test_choices_that_hessent_did_not_write_are_refused(checkpoint, content):
    asked = request_for(checkpoint, "run.spectrum.h5")
    run_spectrum(asked, Stopping(most=100))
    settled = checkpoint.with_name("run.spectrum.h5.partial") / "settled.json"
    good = read_document(settled)
    settled.write_bytes(render(content))
    with pytest.raises(UsageError, match="hessent did not write"):
        run_spectrum(asked, Silent())
    settled.write_bytes(render({**good, "facts": {"symmetry": "x"}}))
    with pytest.raises(UsageError, match="hessent did not write"):
        run_spectrum(asked, Silent())
    assert run_spectrum(asked, Silent(), force=True).spectrum.complete
