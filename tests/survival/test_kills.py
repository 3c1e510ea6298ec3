"""Killed at any moment, a measurement leaves readable files and loses little; its end is that of one left alone."""

from __future__ import annotations

import random
import time

import pytest
from started_commands import QUICK, Command, kill, seconds_of

import hessent


class Pace:
    """A measurement that nobody disturbs, and how long kills may wait so that several meet one run."""

    def __init__(self, folder) -> None:
        self.whole = Command(folder / "whole.spectrum.h5", *QUICK)
        whole = seconds_of(self.whole)
        start = seconds_of(self.whole)  # typed again it only reads its file
        self.longest = start + (whole - start) / 6

    def killed_to_its_end(self, command: Command, moments: random.Random, most: int) -> int:
        """Kill a measurement again and again, so many times at most, until it ends; return the number of kills."""
        kills = 0
        while kills < most and kill(command.start(), moments.uniform(0.1, self.longest)):
            kills += 1
            if command.target.exists():
                hessent.load(command.target)  # readable, or this raises
        command.finish()
        assert command.target.read_bytes() == self.whole.target.read_bytes()
        assert not command.journal.exists()
        return kills


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    pace = Pace(tmp_path)
    assert pace.killed_to_its_end(Command(tmp_path / "killed.spectrum.h5", *QUICK), random.Random(0), most=3) >= 2


@pytest.mark.slow
def test_two_hundred_kills_over_twenty_runs(tmp_path):
    pace, kills, runs = Pace(tmp_path), 0, 0
    while runs < 20 or kills < 200:
        command = Command(tmp_path / f"killed-{runs}.spectrum.h5", *QUICK)
        kills += pace.killed_to_its_end(command, random.Random(runs), most=20)
        runs += 1


@pytest.mark.slow
def test_the_main_job_loses_less_than_a_minute_per_kill(tmp_path):
    command = Command(tmp_path / "main.spectrum.h5")
    moments, met = random.Random(1), 0
    for _ in range(4):
        if kill(command.start(), moments.uniform(30.0, 90.0)):
            met += 1
            assert time.time() - command.last_saved() < 60.0
    assert met
    command.finish()
    assert hessent.load(command.target).complete
