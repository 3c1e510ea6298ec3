"""Data in every format, and their names: opened or refused by the law of `reading_law.py`, nothing else."""

import pytest
from fuzzed_data import DATA

NUMBERS = {"npz": 40, "safetensors": 40, "hdf5": 8, "tokens": 24, "cifar10": 6, "names": 24}


@pytest.mark.parametrize("kind", DATA)
def test_fuzzed_data_are_opened_or_refused(hold, kind):
    assert hold(DATA[kind], NUMBERS[kind])[2] > 2
