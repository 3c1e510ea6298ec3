"""What was found out by timing stands: whoever asks again, or at the same moment, goes by the same answer."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from same_numbers import CASES, problem

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines import threads
from hessent.curvature.engines.remembered import found_once

QUESTION = {"what": "engine", "blocks": [["layer.weight", 3]]}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HESSENT_CACHE", str(tmp_path))
    return tmp_path / "tuned"


def asked(answer, question=QUESTION, fits=lambda known: "engine" in known):
    """Ask with a clock that would answer so."""
    return found_once(question, lambda: {"engine": answer}, fits=fits)["engine"]


def test_the_first_answer_stands(cache):
    assert asked("first") == "first"
    assert asked("second") == "first"
    assert asked("second", {**QUESTION, "what": "other"}) == "second"
    assert len(list(cache.iterdir())) == 2  # and nothing half-written beside them


def test_whoever_is_still_timing_when_another_has_written_goes_by_what_it_wrote(cache):
    found = found_once(QUESTION, lambda: {"engine": asked("quicker") + " slower"}, fits=lambda known: True)
    assert found == {"engine": "quicker"}
    assert asked("later") == "quicker"


def test_all_who_time_at_the_same_moment_agree(cache):
    barrier = threading.Barrier(8)

    def timed(number):
        def find():
            barrier.wait()
            return {"engine": str(number)}

        return found_once(QUESTION, find, fits=lambda known: True)["engine"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(timed, range(8)))) == 1


def test_a_file_system_without_hard_links_serves_as_well(cache, monkeypatch):
    def refused(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    found = found_once(QUESTION, lambda: {"engine": asked("quicker") + " slower"}, fits=lambda known: True)
    assert found == {"engine": "quicker"}
    assert asked("later") == "quicker"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"answer": {"engine": "x"}}', b"[" * 50_000])
def test_a_spoiled_answer_is_replaced(cache, content):
    asked("first")
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    assert asked("second") == "second"
    assert asked("third") == "second"


def test_an_answer_that_does_not_fit_is_replaced(cache):
    asked("first")
    assert asked("second", fits=lambda known: known["engine"] == "second") == "second"
    assert asked("third") == "second"


def test_questions_of_any_length_are_remembered(cache):
    long = {**QUESTION, "blocks": [[f"transformer.h.{number}.attn.c_attn.weight", 7] for number in range(5000)]}
    assert asked("first", long) == asked("second", long) == "first"


def test_without_a_folder_to_write_to_everyone_times_for_themselves(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HESSENT_CACHE", str(tmp_path / "file"))
    assert [asked("first"), asked("second")] == ["first", "second"]


def test_the_number_of_threads_is_timed_once(cache, monkeypatch):
    made = problem(CASES["mlp, mse"], 9)
    made.measure_loss()
    timed = []
    monkeypatch.setattr(threads, "_quickest", lambda graph, block: timed.append(block) or 2)
    whole = Block(FULL, tuple(made.parameters), made.num_params)
    before = torch.get_num_threads()
    try:
        for _ in range(2):
            torch.set_num_threads(2)
            HessianEngine(made, memory=2**30, engine="retained").choose([(whole, 10)])
            assert torch.get_num_threads() == 2
        torch.set_num_threads(3)
        HessianEngine(made, memory=2**30, engine="retained").choose([(whole, 10)])
    finally:
        torch.set_num_threads(before)
    assert timed == [whole] * 2
