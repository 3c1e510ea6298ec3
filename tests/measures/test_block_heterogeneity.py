"""Distances between spectra: the laws of a metric, and what noise alone makes of them."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from oracles import network_like
from small_matrices import MatrixOperator as Matrix
from small_matrices import exact_block, sampled_block, solve

from hessent.measures.heterogeneity import distance, divergence, heterogeneity, profile

RNG = np.random.default_rng(4)
SPECTRA = {
    "network": network_like(80),
    "power": 1.0 / np.arange(1, 81) ** 1.5,
    "scaled": 30.0 * network_like(80),
    "mirrored": -network_like(80),
    "few": np.array([1.0, 2.0, -0.5]),
    "zero": np.zeros(5),
    "random": RNG.standard_normal(60),
}


def test_it_is_a_metric_between_zero_and_one():
    profiles = {name: profile(exact_block(values)) for name, values in SPECTRA.items()}
    between = {(a, b): distance(profiles[a], profiles[b]) for a, b in itertools.product(profiles, repeat=2)}
    for (a, b), found in between.items():
        assert 0.0 <= found <= 1.0
        assert found == between[b, a]
        assert (found == 0.0) == (a == b)
        for c in profiles:
            assert found <= between[a, c] + between[c, b] + 1e-12


def test_divergence_of_coins_is_that_of_the_textbook():
    # A fair coin against one that always shows heads: ½·log₂(4/3) + ½·(½·log₂(2/3) + ½·log₂(2)).
    expected = 0.5 * math.log2(4 / 3) + 0.5 * (0.5 * math.log2(2 / 3) + 0.5)
    assert divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(expected)
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_spectra_with_nothing_in_common_are_at_distance_one():
    positive, negative = np.array([1.0, 2.0]), np.array([-1.0, -2.0])
    found = heterogeneity([exact_block(values) for values in (positive, negative, np.zeros(3), 1e5 * positive)])
    assert found.distances == pytest.approx(1.0 - np.eye(4))
    assert not found.floors.any()


def test_shares_count_and_not_sizes():
    values = network_like(40)
    found = heterogeneity([exact_block(values, name="a"), exact_block(np.tile(values, 3), name="b")])
    assert found.names == ("a", "b")
    assert found.distances[0, 1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["network", "random", "power"])
def test_a_small_change_of_every_eigenvalue_is_a_small_distance(name):
    own = profile(exact_block(SPECTRA[name]))
    steps = [distance(own, profile(exact_block(SPECTRA[name] * (1.0 + step)))) for step in (1e-1, 1e-2, 1e-3)]
    assert steps[0] < 0.25
    assert steps == sorted(steps, reverse=True)
    assert steps[2] < 0.03


def test_rules_that_closed_give_the_profile_of_the_eigenvalues_on_average():
    values = SPECTRA["random"]
    exact = profile(exact_block(values))
    found = np.mean([profile(sampled_block(values, steps=60, seed=seed)).shares for seed in range(50)], axis=0)
    assert found.sum() == pytest.approx(1.0)
    assert divergence(found, exact.shares) < 2e-3


def test_profiles_of_which_only_the_trace_is_known_are_left_out():
    block = exact_block(np.ones(5))
    only = dataclasses.replace(block, eigenvalues=None, trace_estimates=np.ones(3), name="only")
    assert heterogeneity([only, block]).names == ("block",)
    with pytest.raises(ValueError, match="only"):
        profile(only)


def test_one_probe_tells_nothing_apart():
    found = heterogeneity([sampled_block(SPECTRA["random"], probes=1), exact_block(SPECTRA["power"])])
    assert found.floors[0, 1] == 1.0


@pytest.mark.parametrize(("name", "budget"), [("network", 60), ("power", 60), ("random", 60), ("network", 120)])
def test_the_floor_is_what_other_seeds_make_of_one_operator(name, budget):
    size = 160
    values = {"network": network_like(size), "power": 1.0 / np.arange(1, size + 1) ** 1.1,
              "random": np.random.default_rng(3).standard_normal(size)}[name]  # fmt: skip
    basis = np.linalg.qr(np.random.default_rng(8).standard_normal((size, size)))[0]
    matrix = (basis * values) @ basis.T
    operator = Matrix((matrix + matrix.T) / 2)
    blocks = [solve(operator, seed=seed, max_matvecs=budget, rtol=0.0).spectrum for seed in range(8)]
    found = heterogeneity(blocks)
    pairs = np.triu_indices(8, 1)
    shown, predicted = (float(np.sqrt((part[pairs] ** 2).mean())) for part in (found.distances, found.floors))
    assert shown < 0.3
    assert 0.5 < shown / predicted < 2.0
