"""The per-tensor figures of one sign-vector product."""

import math

import numpy as np
import pytest

from hessent.measures.tensors import NOISE_FLOOR, tensor_measures
from hessent.spectra.model import TensorProbe


def probe(sums, gaps):
    names = tuple(f"tensor{index}" for index in range(len(sums)))
    return TensorProbe(names, np.full(len(sums), 10), np.array(sums, dtype=float), np.array(gaps, dtype=float))


def test_the_four_figures_are_their_definitions():
    sums, gaps = [3.0, -1.0, 0.0, 0.5, -0.25], [0.1, 0.4, 0.3, 0.9, 0.2]
    found = tensor_measures(probe(sums, gaps))
    mean = math.fsum(gaps) / 5
    assert found == {
        "tensor_positive_ratio": pytest.approx(2 / 5),
        "tensor_abs_trace": pytest.approx(4.75),
        "tensor_gap_mean": pytest.approx(mean),
        "tensor_gap_std": pytest.approx(math.sqrt(math.fsum((g - mean) ** 2 for g in gaps) / 5)),
    }


def test_ratios_over_62_tensors_are_multiples_of_one_62nd():
    sums = np.r_[np.ones(40), -np.ones(22)]
    assert tensor_measures(probe(sums, np.zeros(62)))["tensor_positive_ratio"] * 62 == pytest.approx(40)


def test_the_noise_floor_is_the_gap_of_independent_gaussian_entries():
    rng = np.random.default_rng(0)
    magnitudes = np.abs(rng.standard_normal(2_000_000))
    q = magnitudes / magnitudes.sum()
    gap = math.log(len(q)) + float((q * np.log(q)).sum())
    assert gap == pytest.approx(NOISE_FLOOR, abs=2e-3)
    # In closed form: (ψ(1) + ln 2)/2 − ln √(2/π), ψ(1) = −γ.
    euler = 0.5772156649015329
    assert pytest.approx((math.log(2) - euler) / 2 - math.log(math.sqrt(2 / math.pi)), abs=5e-5) == NOISE_FLOOR
