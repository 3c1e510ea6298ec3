"""Vectors beyond `--memory`: where they go, what is said of it, and that the numbers do not depend on it."""

import json
import tempfile
from pathlib import Path

import jsonschema
import pytest
import torch
from cases import cases, seeded
from small_run import trained_mlp

import hessent
from hessent.__main__ import main
from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.settings import LEAST_ROOM, SolverSettings
from hessent.pipeline import vector_places
from hessent.pipeline.observer import Silent
from hessent.pipeline.vector_places import PlannedVectors, SpillNotes, lies_in_memory, overflow_for, planned_vectors
from hessent.report.schema import load_schema

CPU = torch.device("cpu")
CASE = next(case for case in cases() if case.name == "mlp, mse")


@pytest.fixture
def on_disk(monkeypatch):
    """Folders for tests may lie in memory; here they count as lying on a disk."""
    monkeypatch.setattr(vector_places, "lies_in_memory", lambda folder: False)


class Listening(Silent):
    def __init__(self):
        self.notes = []

    def noted(self, message):
        self.notes.append(message)


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


@pytest.mark.usefixtures("on_disk")
def test_the_file_goes_beside_the_output_and_takes_three_tenths_of_the_free_disk(tmp_path, monkeypatch):
    free = 1000
    monkeypatch.setattr(vector_places.shutil, "disk_usage", lambda folder: type("usage", (), {"free": free}))
    assert overflow_for(CPU, tmp_path / "a.spectrum.h5") == Overflow(0, 300, str(tmp_path))
    for output in (None, tmp_path / "nowhere" / "a.spectrum.h5"):
        assert overflow_for(CPU, output) == Overflow(0, 300, tempfile.gettempdir())


def test_a_folder_in_memory_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_places, "lies_in_memory", lambda folder: folder == tmp_path)
    assert overflow_for(CPU, tmp_path / "a.spectrum.h5").folder == tempfile.gettempdir()
    monkeypatch.setattr(vector_places, "lies_in_memory", lambda folder: True)
    assert overflow_for(CPU, tmp_path / "a.spectrum.h5") == Overflow()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no folder in memory to look at")
def test_a_folder_in_memory_is_known_from_the_table_of_mounts():
    assert lies_in_memory(Path("/dev/shm"))
    assert not lies_in_memory(Path("/proc"))


@pytest.mark.parametrize("only_trace", [False, True])
def test_planned_vectors_fill_memory_then_host_then_file(only_trace):
    size, each = 1000, 4000
    beyond = Overflow(host=each * 20, file=each * 400, folder="scratch")
    settings = SolverSettings(basis_memory=each * 10, overflow=beyond, only_trace=only_trace)
    planned = planned_vectors(settings, size, 4, spent=3)
    vectors = 60 if only_trace else 160
    assert (planned.memory, planned.host, planned.file) == (each * 10, each * 20, each * (vectors - 30))
    assert planned.total == each * vectors


def test_few_vectors_stay_in_memory():
    settings = SolverSettings(basis_memory=10, overflow=Overflow(file=4000 * 300, folder="scratch"))
    planned = planned_vectors(settings, 1000, 4, spent=3)
    assert (planned.memory, planned.host, planned.file) == (LEAST_ROOM * 4000, 0, 0)


GIB = 2**30


def told_of(planned, *spills):
    told = []
    notes = SpillNotes(planned, "scratch", told.append)
    for block in spills:
        notes.spilled(block, GIB)
    return told


def test_the_file_is_told_of_once():
    assert told_of(
        {"conv": PlannedVectors(GIB, 0, 0), "full": PlannedVectors(GIB, 0, 3 * GIB)}, "full", "full"
    ) == ["vectors of 'full' (4.0 GiB) exceed --memory: 3.0 GiB of them are kept in a file in scratch"]


def test_all_planned_blocks_share_a_note():
    planned = {name: PlannedVectors(GIB, GIB, GIB) for name in ("conv", "fc", "full")}
    assert told_of(planned, "fc", "full", "conv") == [
        "vectors of 3 blocks (9.0 GiB) exceed --memory: 3.0 GiB of them are kept in a file in scratch"
    ]


def test_more_vectors_than_were_planned_are_told_of_too():
    planned = {"conv": PlannedVectors(GIB, 0, 0), "full": PlannedVectors(GIB, 0, 3 * GIB)}
    assert told_of(planned, "full", "conv", "conv")[1:] == [
        "vectors of 'conv' (2.0 GiB) exceed --memory: 1.0 GiB of them are kept in a file in scratch"
    ]


@pytest.mark.usefixtures("on_disk")
def test_a_dry_run_says_what_goes_to_the_file(capsys):
    words = ("spectrum", trained_mlp(), "--dry-run", "--method", "lanczos", "--memory", "100K")
    document = json.loads(run(capsys, *words, "--json"))
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    room = 0.3 * document["memory"]["available"]
    assert 0.5 * room <= document["memory"]["basis"] <= room
    assert document["memory"]["folder"] == str(trained_mlp().parent)
    kept = sum(block["basis_bytes"] + block["file_bytes"] for block in document["blocks"])
    assert document["memory"]["journal"] == kept
    for block in document["blocks"]:
        assert (
            block["basis_bytes"] + block["file_bytes"]
            == (block["matvecs"] - PRODUCTS_PER_BLOCK) * 4 * block["size"]
        )
    assert document["memory"]["file"] == sum(block["file_bytes"] for block in document["blocks"])
    assert f"further vectors in a file in {trained_mlp().parent}" in " ".join(run(capsys, *words).split())


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("only", [None, "trace"])
def test_a_run_in_little_memory_says_so_and_gives_the_numbers_of_one_in_much(tmp_path, only):
    found = []
    for memory in (2**30, 2**14):
        problem = hessent.Problem(seeded(CASE.model), CASE.loss, CASE.batches(4, 4, 1), dtype=torch.float64)
        observer = Listening()
        spectrum = hessent.spectrum(
            problem,
            blocks="full",
            method="auto" if only else "lanczos",
            max_matvecs=30,
            only=only,
            memory=memory,
            out=tmp_path / f"{memory}.spectrum.h5",
            observer=observer,
        )
        found.append((spectrum, [note for note in observer.notes if "vectors of 'full'" in note]))
    (much, no_notes), (little, notes) = found
    assert no_notes == []
    assert len(notes) == 1
    assert f"are kept in a file in {tmp_path}" in notes[0]
    assert little.measures()["full"]["trace"].value == pytest.approx(
        much.measures()["full"]["trace"].value, rel=1e-9
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1073741824.spectrum.h5", "16384.spectrum.h5"]
