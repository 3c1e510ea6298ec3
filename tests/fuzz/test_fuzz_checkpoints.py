"""Checkpoints, damaged and made up: taken or refused by the law of `reading_law.py`, nothing else."""

import pytest
from fuzzed_checkpoints import CHECKPOINTS
from fuzzed_pickles import PICKLES

CHEAP = ("damaged", "shards", "trainer", "optimizer", "metadata")


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_fuzzed_checkpoint_is_read_or_refused(hold, kind):
    codes = hold(CHECKPOINTS[kind], 50 if kind in CHEAP else 25)
    assert codes[2] > 2  # they were not all harmless


@pytest.mark.parametrize("kind", PICKLES)
def test_a_fuzzed_torch_file_is_read_or_refused(hold, kind):
    codes = hold(PICKLES[kind], 40)
    assert codes[0] > 2  # some came as far as torch
    assert codes[2] > 2
