"""Configurations and typed options: taken or refused by the law of `reading_law.py`, nothing else."""

import pytest
from fuzzed_checks import CHECKS
from fuzzed_settings import SETTING_CASES


@pytest.mark.parametrize("kind", SETTING_CASES)
def test_fuzzed_settings_are_taken_or_refused(hold, kind):
    assert hold(SETTING_CASES[kind], 30)[2] > 2


@pytest.mark.parametrize("kind", CHECKS)
def test_fuzzed_checks_are_decided_or_refused(hold, kind):
    assert hold(CHECKS[kind], 24)[2] > 2
