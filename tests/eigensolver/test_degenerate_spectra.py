"""Spectra that break eigensolvers: repeated, missing, tiny, huge and too few eigenvalues."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from oracles import DenseOperator, network_like, true_gap
from small_matrices import MatrixOperator, solve, solver_for

from hessent.eigensolver.probes import gaussian_vectors
from hessent.eigensolver.requests import answer
from hessent.measures.gradient import GRADIENT_MEASURES
from hessent.measures.quadrature import gauss_rules
from hessent.measures.registry import compute_measures

REPEATED = np.r_[np.full(5, 10.0), 9.0, 8.0, 7.0, np.linspace(0.013, 1.0, 292)]
FEW_VECTORS = 8 * 310 * 300  # bytes: too few for a joint space, enough to keep the vectors of every probe


@functools.cache
def operator_of(name):
    return DenseOperator(
        {
            "network": network_like(300),
            "repeated": REPEATED,
            "rank three": np.r_[np.zeros(997), 1.0, 2.0, 5.0],
            "many copies": np.r_[np.full(30, 10.0), 9.0, 8.0, 7.0, np.linspace(0.01, 1.0, 267)],
            "few values": np.repeat(np.geomspace(1e-3, 10.0, 8), 50),
        }[name]
    )


def holds(estimate, truth, slack=1e-9):
    return estimate.low - slack * abs(truth) <= truth <= estimate.high + slack * abs(truth)


@pytest.mark.parametrize("scale", [1e-14, 1e4])
@pytest.mark.parametrize("values", [network_like(200), REPEATED[:150]], ids=["network", "repeated"])
def test_the_same_spectrum_at_another_scale_gives_the_same_answers_scaled(values, scale):
    plain = solve(DenseOperator(values), max_matvecs=200).spectrum
    scaled = solve(DenseOperator(scale * values), max_matvecs=200).spectrum
    assert (scaled.num_matvecs, scaled.status) == (plain.num_matvecs, plain.status)
    assert scaled.outliers.values == pytest.approx(scale * plain.outliers.values, rel=1e-6, abs=0)
    expected = compute_measures(plain)
    for name, estimate in compute_measures(scaled).items():
        unit = scale if name in ("trace", "abs_trace", "lambda_max", "lambda_min") else 1.0
        if name == "condition_lower_ritz":
            continue  # hangs on the smallest Ritz value, which is rounding here
        if name in GRADIENT_MEASURES:
            continue  # of a gradient, and a bare operator has none
        for end in ("value", "low", "high"):
            number = getattr(expected[name], end)
            assert getattr(estimate, end) == pytest.approx(unit * number, rel=1e-4, abs=1e-9 * unit), (name, end)


def test_rank_three_in_a_thousand():
    block = solve(operator_of("rank three")).spectrum
    assert np.sort(block.outliers.values)[-3:] == pytest.approx([1.0, 2.0, 5.0], rel=1e-9)
    assert block.converged
    measures = compute_measures(block)
    assert measures["trace"].value == pytest.approx(8.0, rel=1e-9)
    assert measures["entropy_gap"].value == pytest.approx(true_gap(operator_of("rank three").eigenvalues), rel=1e-6)
    assert measures["effective_rank"].value == pytest.approx(
        math.exp(math.log(1000) - measures["entropy_gap"].value)
    )
    assert measures["positive_ratio"].value == pytest.approx(0.003, abs=1e-9)
    assert measures["zero_ratio"].value == pytest.approx(0.997, abs=1e-9)


@pytest.mark.parametrize("settings", [{}, {"rtol": 0.0}, {"basis_memory": 1}])
def test_a_block_of_less_than_half_rank_keeps_its_extremes(settings):
    values = np.r_[np.zeros(33), np.geomspace(1e-3, 1.0, 31)]
    for seed in range(4):
        block = solve(DenseOperator(values), seed=seed, **settings).spectrum
        measures = compute_measures(block)
        assert block.lambda_max[0] == pytest.approx(1.0)
        assert abs(block.lambda_min[0]) <= 1e-10
        assert holds(measures["trace"], values.sum())


@pytest.mark.parametrize("settings", [{}, {"rtol": 0.0}, {"max_matvecs": 50}, {"num_probes": 4, "num_steps": 30}])
def test_the_zero_operator_is_zero_and_ends(settings):
    operator = DenseOperator(np.zeros(60))
    block = solve(operator, **settings).spectrum
    measures = compute_measures(block)
    for name in ("trace", "abs_trace", "lambda_max", "lambda_min", "positive_ratio", "negative_ratio"):
        assert (measures[name].low, measures[name].value, measures[name].high) == (0.0, 0.0, 0.0), name
    assert measures["zero_ratio"].low == 1.0
    assert measures["entropy_gap"].reason == "the matrix is zero"
    assert operator.num_matvecs == block.num_matvecs <= 60


@pytest.mark.parametrize("settings", [{}, {"rtol": 0.0}, {"max_matvecs": 50}, {"num_probes": 4, "num_steps": 30}])
@pytest.mark.parametrize("scale", [1e-14, -1.0, 1e4])
def test_a_multiple_of_the_identity_is_flat_and_ends(settings, scale):
    operator = DenseOperator(np.full(60, scale))
    block = solve(operator, **settings).spectrum
    measures = compute_measures(block)
    assert measures["trace"].value == pytest.approx(60 * scale)
    assert measures["entropy_gap"].high == pytest.approx(0.0, abs=1e-10)
    assert measures["condition_lower_ritz"].value == pytest.approx(1.0)
    assert operator.num_matvecs == block.num_matvecs <= 60


@pytest.mark.parametrize("settings", [{}, {"rtol": 0.0}, {"max_matvecs": 30}, {"num_probes": 2, "num_steps": 400}])
@pytest.mark.parametrize("values", [[3.0], [-3.0], [1.0, 2.0], [1.0, 2.0, 2.0, 2.0, 3.0, 3.0], list(range(1, 10))])
def test_fewer_dimensions_than_steps(values, settings):
    operator = DenseOperator(np.array(values, dtype=float))
    block = solve(operator, **settings).spectrum
    measures = compute_measures(block)
    assert operator.num_matvecs == block.num_matvecs
    assert holds(measures["trace"], sum(values))
    assert holds(measures["entropy_gap"], true_gap(np.array(values)), slack=1e-9)
    if len(values) <= 2:  # every eigenvalue stands alone: the answer is exact
        assert measures["trace"].value == pytest.approx(sum(values))
        assert measures["entropy_gap"].value == pytest.approx(true_gap(np.array(values)), abs=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-4])
@pytest.mark.parametrize("copies", [1, 2, 4, 8, 16])
def test_a_cluster_comes_out_whole_or_the_block_says_that_it_may_not(copies, spread):
    values = REPEATED.copy()
    values[5 : 5 + copies] = 20.0 * (1 + spread * np.linspace(0, 1, copies))
    operator = DenseOperator(values)
    for settings in ({}, {"num_probes": 12}, {"basis_memory": FEW_VECTORS}):
        block = solve(operator, **settings).spectrum
        found = int((np.abs(block.outliers.values / 20.0 - 1) < 1e-3).sum())
        assert found <= copies  # never a copy too many
        assert found == copies or block.multiplicity == "lower bound"
        trace = compute_measures(block)["trace"]
        assert abs(trace.value - values.sum()) <= 2 * trace.half_width + 1e-9


def test_more_probes_than_copies_bring_all_of_them_out():
    solver = solve(operator_of("repeated"), num_probes=8)
    found = solver.spectrum.outliers.values
    assert found[-8:] == pytest.approx([7.0, 8.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0], rel=1e-6)
    assert solver.spectrum.multiplicity == "whole"
    assert solve(operator_of("repeated"), num_probes=4).spectrum.multiplicity == "lower bound"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_copies_that_a_short_search_cannot_see_are_found_by_the_probes(sign):
    # Twenty steps from one start vector: rounding has no time to bring the copies in.
    operator = DenseOperator(sign * REPEATED)
    solver = solver_for(operator, basis_memory=FEW_VECTORS)
    operator.num_matvecs = 0
    answer(solver.first_look(), operator)
    found = np.sort(np.abs(solver.spectrum.outliers.values))
    assert found[-8:] == pytest.approx([7.0, 8.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0], rel=1e-4)
    assert solver.spectrum.num_matvecs == operator.num_matvecs


@pytest.mark.parametrize("name", ["many copies", "few values"])
def test_what_the_search_for_missed_copies_leaves_is_not_hidden_from_the_probes(name):
    # Every round of probes shows at most one direction each of an eigenspace.  Probes that were used to find copies
    # have no component along the others left; the ones that measure must, or the trace comes out too small.
    operator = operator_of(name)
    errors = []
    for seed in range(10):
        block = solve(operator, seed=seed, num_probes=4, num_steps=30).spectrum
        outliers = block.outliers.values
        complement = (block.size - len(outliers)) * float(block.probes.alphas[:, 0].mean())
        errors.append(outliers.sum() + complement - operator.eigenvalues.sum())
    assert abs(np.mean(errors)) <= 4 * np.std(errors, ddof=1) / math.sqrt(len(errors))


def test_deflated_vectors_are_orthonormal_eigenvectors_even_after_missed_ones_joined():
    for name in ("repeated", "many copies", "few values"):
        operator = operator_of(name)
        solver = solver_for(operator, basis_memory=8 * 310 * operator.size)
        answer(solver.first_look(), operator)
        pairs = solver._route._state.pairs
        rows = pairs.vectors
        gram = rows @ rows.T
        assert float((gram - torch.eye(len(rows))).abs().max()) < 1e-12
        residuals = (rows @ operator_of(name).matrix - torch.as_tensor(pairs.values)[:, None] * rows).norm(dim=1)
        assert residuals.numpy() == pytest.approx(pairs.residuals, abs=1e-10)
        assert (residuals.numpy() <= 1.01e-2 * np.abs(pairs.values)).all()
        assert len(rows) < operator_of(name).size


@pytest.mark.parametrize("value", [50.0, -50.0])
def test_a_top_eigenvector_without_a_component_along_the_start_vector_is_found(value):
    size = 160
    start = gaussian_vectors(size, 1, seed=0, key="block/outliers")[0].numpy()
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(np.column_stack([start, rng.standard_normal((size, size - 1))]))
    values = np.r_[rng.uniform(0.1, 20.0, size - 1), value]  # the last column is orthogonal to the start vector
    operator = MatrixOperator((basis * values) @ basis.T)
    block = solve(operator, num_probes=4, num_steps=30).spectrum
    extreme = block.lambda_max[0] if value > 0 else block.lambda_min[0]
    assert extreme == pytest.approx(value, rel=1e-6)
    assert block.outliers.values[np.argmax(np.abs(block.outliers.values))] == pytest.approx(value, rel=1e-6)


def test_glued_wilkinson_matrices_keep_their_trace_and_gain_no_copies():
    wilkinson = np.diag(np.abs(np.arange(-10.0, 11.0))) + np.diag(np.ones(20), 1) + np.diag(np.ones(20), -1)
    matrix = np.kron(np.eye(5), wilkinson)
    for joint in range(21, 105, 21):
        matrix[joint - 1, joint] = matrix[joint, joint - 1] = 1e-8
    operator = MatrixOperator(matrix)
    block = solve(operator, num_probes=12).spectrum  # five copies of pairs
    outliers = block.outliers.values
    for value in np.unique(np.round(outliers, 3)):
        copies = int((np.abs(outliers - value) < 0.01).sum())
        assert copies <= int((np.abs(operator.eigenvalues - value) < 0.02).sum()), value
    measures = compute_measures(block)
    assert holds(measures["trace"], operator.eigenvalues.sum())
    assert holds(measures["entropy_gap"], true_gap(operator.eigenvalues))
    assert measures["lambda_max"].value == pytest.approx(operator.eigenvalues[-1], rel=1e-6)


def test_extremes_are_the_outermost_ritz_values_and_inner_bounds_of_the_spectrum():
    for values in (network_like(300), -network_like(300), np.linspace(-1.0, 1.0, 300)):
        operator = DenseOperator(values)
        for seed in range(3):
            block = solve(operator, seed=seed, max_matvecs=60).spectrum
            nodes = np.concatenate([rule.nodes for rule in gauss_rules(block.probes, block.probes.num_steps)])
            ritz = np.r_[nodes, block.outliers.values]
            assert ritz.max() <= block.lambda_max[0] <= values.max() * (1 + 1e-10) + 1e-12
            assert ritz.min() >= block.lambda_min[0] >= values.min() - 1e-10 * np.abs(values).max()


def test_a_name_and_a_seed_choose_the_random_vectors_and_nothing_else_does():
    operator = operator_of("network")
    first = solve(operator, seed=1, max_matvecs=100).spectrum
    again = solve(operator, seed=1, max_matvecs=100).spectrum
    assert dataclasses.asdict(first.probes)["alphas"].tolist() == again.probes.alphas.tolist()
    for other in (solve(operator, seed=2, max_matvecs=100), solve(operator, seed=1, name="twin", max_matvecs=100)):
        assert not np.allclose(other.spectrum.probes.alphas, first.probes.alphas)


def test_a_first_look_does_not_change_the_final_answer_beyond_its_price():
    operator = operator_of("network")
    solver = solver_for(operator)
    operator.num_matvecs = 0
    answer(solver.first_look(), operator)
    look = solver.spectrum
    assert (look.status, look.converged) == ("first look", False)
    assert look.num_matvecs == operator.num_matvecs <= 200
    assert holds(compute_measures(look)["trace"], operator.eigenvalues.sum())
    answer(solver.finish(), operator)
    assert solver.spectrum.num_matvecs == operator.num_matvecs
    assert holds(compute_measures(solver.spectrum)["trace"], operator.eigenvalues.sum())
    assert compute_measures(solver.spectrum)["trace"].half_width < compute_measures(look)["trace"].half_width
