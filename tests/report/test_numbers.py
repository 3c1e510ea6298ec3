"""Numbers are rounded by their error, outwards where they bound, and never read as better known than they are."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hessent.estimate import Estimate
from hessent.report.numbers import UNKNOWN, at_most, format_estimate, format_number


def plus_minus(value, error):
    return format_estimate(Estimate(value, value - error, value + error)).joined()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.345, 0.4321, "12.3 ± 0.4"),
        (12.345, 0.1321, "12.35 ± 0.13"),
        (-0.0123, 0.0021, "-0.012 ± 0.002"),
        (1234.5, 57.0, "1230 ± 60"),
        (0.1, 3.0, "0 ± 3"),
        (-0.1, 3.0, "0 ± 3"),
        (0.012345, 0.00042, "0.0123 ± 4e-4"),
        (1.2345e-5, 4.2e-7, "1.23e-5 ± 4e-7"),
        (1.2345e7, 4.2e5, "1.23e7 ± 4e5"),
        (12.3456789, 1e-9, "12.35 ± 1e-9"),
        (0.0, 0.5, "0.0 ± 0.5"),
        (0.0, 5e-7, "0 ± 5e-7"),
        (2.0, 0.0, "2.000 ± 0"),
        (9.97, 0.0996, "9.97 ± 0.10"),
    ],
)
def test_a_number_is_rounded_by_its_error(value, error, text):
    assert plus_minus(value, error) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.61234, "0.6123"),
        (12345.6, "12346"),
        (1.23456e5, "1.235e5"),
        (2e-4, "2.000e-4"),
        (0.0, "0"),
        (-3.0, "-3.000"),
    ],
)
def test_an_exact_number_has_four_digits_and_no_error(number, text):
    assert format_estimate(Estimate.exactly(number)).joined() == text == format_number(number)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.42, 0.61, "0.42–0.61"),
        (0.4249, 0.6001, "0.42–0.61"),
        (0.1, 0.9, "0.10–0.90"),
        (0.0, 1.0, "0.00–1.00"),
        (0.0056, 0.015, "0.005–0.015"),
        (0.9984, 1.0, "0.998–1.000"),
        (0.01, 0.76, "0.01–0.76"),
        (3.2, 711.0, "3–711"),
        (0.61231, 0.61239, "0.6123–0.6124"),
        (-0.2, 0.3, "-0.20…0.30"),
        (1.21e-5, 3.49e-5, "1.2e-5–3.5e-5"),
        (0.0, 4.2e-4, "0–4.2e-4"),
        (0.5, 0.5, "0.5000"),
    ],
)
def test_a_bracket_is_rounded_outwards(low, high, text):
    assert format_estimate(Estimate((low + high) / 2, low, high), "bracket").joined() == text


def test_a_bound_is_rounded_to_its_safe_side():
    assert format_estimate(Estimate(41.69, 41.69, None)).joined() == "≥ 41.6"
    assert format_estimate(Estimate(0.1234, None, 0.1234)).joined() == "≤ 0.124"
    assert format_estimate(Estimate(50.0, 41.69, 60.0), "lower-bound").joined() == "41.6"
    assert format_estimate(Estimate(1e9, 1.2345e9, None)).joined() == "≥ 1.23e9"
    assert at_most(3.01e-8) == "4e-8"
    assert at_most(1e-8) == "1e-8"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (10.0, 5.0, 1000.0, "5–1000"),
        (10.0, 9.0, 10.1, "9.0–10.1"),
        (0.9, 0.462, 0.9998, "0.46–1.00"),  # a share of 1.4 cannot be
        (3256.0, 1698.0, 6238.0, "1698–6238"),
        (12.34, 12.33, 12.37, "12.33–12.37"),
        (-1.0, -3.0, 0.25, "-3.0…0.3"),
        (1.2345e7, 1.2245e7, 1.2745e7, "1.22e7–1.28e7"),
        (1.2345e-5, 1.2335e-5, 1.2375e-5, "1.233e-5–1.238e-5"),
        (2.0, 2.0, 3.0, "2.0–3.0"),
        (0.5, 0.5 - 0.06, 0.5 + 0.094, "0.44–0.60"),
    ],
)
def test_a_lopsided_interval_is_shown_by_its_ends(value, low, high, text):
    assert format_estimate(Estimate(value, low, high)).joined() == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (10.0, 7.0, 14.0, "10 ± 4"),  # one side is a third longer
        (100.0, 97.58, 103.52, "100 ± 4"),  # nearly one and a half times
        (12.3456789, 12.3456788, 12.3456799, "12.35 ± 1e-6"),  # in digits that are not shown
    ],
)
def test_an_interval_that_is_lopsided_a_little_or_out_of_sight_keeps_its_error(value, low, high, text):
    assert format_estimate(Estimate(value, low, high)).joined() == text


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.floats(1e-9, 1e6))
def test_what_is_shown_never_reaches_much_beyond_the_interval(value, below, above):
    low, high = value - below, value + above
    text = format_estimate(Estimate(value, low, high)).joined()
    if " ± " not in text:
        return
    middle, error = numbers_in(text)
    rounding = 0.51 * error + 5.1e-4 * abs(value)  # of the value shown
    slack = 0.1 * error if error > 1e-3 * abs(value) else error
    longer = max(value - low, high - value)
    assert middle - error >= low - (longer / 3 + rounding + slack)
    assert middle + error <= high + (longer / 3 + rounding + slack)


def test_what_is_unknown_says_so():
    assert format_estimate(Estimate.unknown("too noisy")).joined() == UNKNOWN
    assert format_estimate(Estimate(2.0, None, None)).joined() == "≈ 2.000"
    assert format_number(math.nan) == UNKNOWN


def numbers_in(text):
    return [float(part) for part in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


reals = st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12)


@given(reals, st.floats(1e-12, 1e12))
def test_the_shown_value_lies_within_half_a_unit_of_the_shown_error_or_of_its_fourth_digit(value, error):
    text = plus_minus(value, error)
    shown_value, shown_error = numbers_in(text)
    half_width = ((value + error) - (value - error)) / 2
    if half_width > 0:
        assert shown_error == pytest.approx(half_width, rel=0.34)
        assert abs(shown_value - value) <= max(0.51 * shown_error, 5.1e-4 * abs(value))
    assert len(text) <= 24


@given(reals, st.floats(0.0, 1e12))
def test_a_shown_bracket_contains_the_interval(low, width):
    high = low + width
    shown = numbers_in(format_estimate(Estimate(low, low, high), "bracket").joined().replace("–", " "))
    if high > low:
        slack = 1e-11 * max(abs(low), abs(high))
        assert shown[0] <= low + slack
        assert shown[1] >= high - slack
