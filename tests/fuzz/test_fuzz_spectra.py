"""Spectrum files, changed and sealed again: printed or refused by the law of `reading_law.py`, nothing else."""

import pytest
from fuzzed_spectra import SPECTRA

NUMBERS = {"edited": 20, "damaged": 12, "unsealed": 8}


@pytest.mark.parametrize("kind", SPECTRA)
def test_a_fuzzed_spectrum_file_is_printed_or_refused(hold, kind):
    assert hold(SPECTRA[kind], NUMBERS[kind])[2] > 2
