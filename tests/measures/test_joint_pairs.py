"""Differences by the joint Krylov spaces of both runs: their sums, what two probes tell, and what it is worth."""

import dataclasses
import math

import numpy as np
import pytest
from oracles import network_like
from small_matrices import STUDENT_T, exact_block, solve
from small_matrices import MatrixOperator as Matrix

from hessent.measures.joint_differences import joint_differences
from hessent.measures.joint_sums import JointSums, Sampled, Terms
from hessent.measures.paired import differences
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.probe_space import ProbeSpace
from hessent.spectra.recurrences import Outliers, ProbeRuns

SAME = {"same_seed": True, "same_samples": True}
T_OF_9 = 2.26215716  # two-sided 95 % quantile of Student's t, from a printed table


def drawn(eigenpairs, rng, probes=5, deflated=0):
    """A block of probes in a space that is all there is, the largest pairs deflated, and the unit probes (p, n)."""
    values, vectors = eigenpairs
    starts = rng.standard_normal((probes, len(values)))
    starts /= np.linalg.norm(starts, axis=1)[:, None]
    largest = np.sort(np.argsort(-np.abs(values))[:deflated])
    block = dataclasses.replace(
        exact_block(values),
        method="lanczos",
        eigenvalues=None,
        outliers=Outliers(values[largest], np.zeros(deflated)),
        probes=ProbeRuns(np.ones((probes, 1)), np.ones((probes, 0)), np.zeros(probes)),
        lambda_max=(float(values[-1]), 0.0),
        lambda_min=(float(values[0]), 0.0),
        space=ProbeSpace(values, starts @ vectors),
    )
    return block, starts


def symmetric(size, rng):
    matrix = rng.standard_normal((size, size))
    return (matrix + matrix.T) / 2


def trace_terms(sums):
    return Terms.of(lambda s: float(s[0]), [lambda values: values], sums.values)


def near_pair(step, size=160, seed=8):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    first = (basis * network_like(size)) @ basis.T
    change = np.eye(size) + step * rng.standard_normal((size, size)) / math.sqrt(size)
    second = change @ first @ change.T
    return Matrix((second + second.T) / 2), Matrix((first + first.T) / 2)


def without_space(block: BlockSpectrum) -> BlockSpectrum:
    return dataclasses.replace(block, space=None)


def test_sums_are_those_of_the_matrix_left_after_deflation_by_dense_algebra():
    rng = np.random.default_rng(1)
    matrix, size, deflated = symmetric(30, rng), 30, 4
    values, vectors = np.linalg.eigh(matrix)
    block, starts = drawn((values, vectors), rng, deflated=deflated)
    order = np.argsort(-np.abs(values))
    known, rest = vectors[:, order[:deflated]], vectors[:, order[deflated:]]
    left = (starts @ rest) @ rest.T
    left /= np.linalg.norm(left, axis=1)[:, None]
    forms = (size - deflated) * left @ matrix @ left.T
    each = np.trace(known.T @ matrix @ known) + np.diag(forms)
    sums = JointSums.of(block)
    found = sums.sampled(trace_terms(sums), sums.deflated.astype(float))
    assert found.value == pytest.approx(each.mean())
    assert np.allclose(found.each, each)
    # Two probes see the matrix without its mean: what they have in common is no error.
    centred = forms - np.diag(forms).mean() * left @ left.T
    assert np.allclose(found.crossed, centred[np.triu_indices(5, 1)])


def test_pairs_that_are_given_back_in_part_leave_the_sum_unbiased():
    rng = np.random.default_rng(2)
    matrix = symmetric(40, rng)
    eigenpairs, shares = np.linalg.eigh(matrix), np.zeros(40)
    shares[[0, 1, -1]] = 1.0, 0.3, 0.6
    found = []
    for _ in range(4000):
        block, _ = drawn(eigenpairs, rng, probes=2, deflated=6)
        sums = JointSums.of(block)
        found.append(sums.sampled(trace_terms(sums), shares).value)
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - np.trace(matrix)) <= 4 * error


def test_the_width_is_made_of_each_probes_scatter_and_of_every_pair():
    each, crossed = np.array([1.0, 2.0, 4.0, 0.0, 3.0]), np.linspace(-1.0, 1.0, 10)
    found = Sampled(2.0, each, crossed).half_width
    variance = (((each - 2.0) ** 2).sum() + 2 * (crossed**2).sum()) / 14
    assert found == pytest.approx(T_OF_9 * math.sqrt(variance / 5))
    assert Sampled(2.0, each[:1], crossed[:0]).half_width == math.inf


def test_intervals_from_pairs_of_probes_hold_as_often_as_they_say_and_are_narrower():
    rng = np.random.default_rng(3)
    held, widths, scatters = 0, [], []
    matrices = [symmetric(60, rng) for _ in range(2)]
    truth, draws = np.trace(matrices[0]) - np.trace(matrices[1]), 600
    eigenpairs = [np.linalg.eigh(matrix) for matrix in matrices]
    for _ in range(draws):
        seed = rng.integers(1 << 30)
        runs = [JointSums.of(drawn(pairs, np.random.default_rng(seed))[0]) for pairs in eigenpairs]
        first, second = (sums.sampled(trace_terms(sums), np.zeros(60)) for sums in runs)
        found = first.minus(second)
        held += abs(found.value - truth) <= found.half_width
        widths.append(found.half_width)
        scatters.append(STUDENT_T[4] * found.each.std(ddof=1) / math.sqrt(5))
    assert 0.93 * draws <= held <= 0.98 * draws
    assert np.mean(widths) <= 0.9 * np.mean(scatters)
    assert np.std(widths) <= 0.7 * np.std(scatters)


def test_where_the_last_deflated_vectors_turn_the_pairs_are_given_back():
    # Neighbouring eigenvectors mix: the last deflated one of one matrix is half left to the probes of the other.
    rng = np.random.default_rng(4)
    first = np.diag(np.r_[np.geomspace(30.0, 10.0, 10), np.linspace(10.0, 9.5, 20), np.geomspace(3.0, 0.1, 30)])
    change = 0.02 * symmetric(60, rng)
    eigenpairs = [np.linalg.eigh(matrix) for matrix in (first + change, first)]
    gains, errors = [], []
    for seed in range(30):
        runs = [drawn(pairs, np.random.default_rng(seed), deflated=15)[0] for pairs in eigenpairs]
        sums = [JointSums.of(run) for run in runs]
        whole = [own.sampled(trace_terms(own), own.deflated.astype(float)) for own in sums]
        found = joint_differences(*runs, ("trace",), 1.0, None)["trace"]
        gains.append(whole[0].minus(whole[1]).half_width / found.sampling)
        errors.append(abs(found.value - np.trace(change)) <= 1.3 * found.sampling)
    assert np.median(gains) >= 1.5
    assert sum(errors) >= 27


def test_one_file_without_the_space_pairs_as_it_did():
    runs = [solve(operator, seed=1, max_matvecs=80, rtol=0.0).spectrum for operator in near_pair(0.01)]
    expected = differences(*map(without_space, runs), **SAME)
    assert expected["trace"].paired
    assert differences(runs[0], without_space(runs[1]), **SAME) == expected


def test_a_space_that_is_not_that_of_the_outliers_is_left_alone():
    run, reference = (solve(operator, seed=1, max_matvecs=80, rtol=0.0).spectrum for operator in near_pair(0.01))
    moved = dataclasses.replace(run.space, values=run.space.values * (1 + 1e-6))
    stranger = dataclasses.replace(run, space=moved)
    assert joint_differences(stranger, reference, ("trace",), 1.0, None) == {}
    assert differences(stranger, reference, **SAME) == differences(without_space(run), reference, **SAME)


def test_entropy_and_its_gap_differ_by_the_same_amount():
    runs = [solve(operator, seed=2, max_matvecs=80, rtol=0.0).spectrum for operator in near_pair(0.02)]
    for alpha in (1.0, 2.0, math.inf):
        found = differences(*runs, **SAME, alpha=alpha)
        assert found["entropy"].value == pytest.approx(-found["entropy_gap"].value, rel=1e-9)
        assert found["entropy"].half_width == pytest.approx(found["entropy_gap"].half_width, rel=1e-6)
