"""Spectra without a group, from projections: dense matrices say what they must be."""

import dataclasses

import numpy as np
import pytest
from grouped_matrices import (
    average,
    exact_with_groups,
    sampled_with_groups,
    symmetric_groups,
    with_groups,
    without,
)
from oracles import network_like
from small_matrices import exact_block

from hessent.measures.left_out import spectra_without_groups, traces_without_groups
from hessent.measures.quadrature import gauss_rules, with_exact_weights
from hessent.measures.spectral_functions import absolute, absolute_log, identity
from hessent.measures.weighted_spectrum import WeightedSpectrum
from hessent.spectra.recurrences import DataGroups

ITEMS = (7, 16, 16, 5, 20)


def orthonormal(size, columns, rng):
    return np.linalg.qr(rng.standard_normal((size, columns)))[0]


def leading_subspace_apart(matrices, items, deflated):
    """The same groups, each without what couples the deflated eigenvectors of the whole to the rest."""
    values, vectors = np.linalg.eigh(average(matrices, items))
    V = vectors[:, np.argsort(-np.abs(values))[:deflated]]
    inside = V @ V.T
    outside = np.eye(len(inside)) - inside
    return inside @ matrices @ inside + outside @ matrices @ outside


@pytest.mark.parametrize("deflated", [0, 6])
def test_whole_bases_give_what_the_matrices_themselves_give(deflated):
    # One probe along each direction of the complement, each with a basis of all of it: nothing is left to chance.
    rng, size = np.random.default_rng(0), 24
    matrices = leading_subspace_apart(symmetric_groups(len(ITEMS), size, rng), ITEMS, deflated)
    values, vectors = np.linalg.eigh(average(matrices, ITEMS))
    rest = vectors[:, np.argsort(-np.abs(values))[deflated:]]
    starts = rest @ orthonormal(size - deflated, size - deflated, rng)
    none_simple = np.zeros(0)
    block = sampled_with_groups(
        matrices, ITEMS, deflated=deflated, starts=starts, steps=size - deflated, simple=none_simple
    )
    found = spectra_without_groups(block)
    truth = [average(matrices, ITEMS), *(without(matrices, ITEMS, j) for j in range(len(ITEMS)))]
    assert len(found) == len(truth)
    for spectrum, matrix in zip(found, truth, strict=True):
        expected = WeightedSpectrum.of(np.linalg.eigvalsh(matrix))
        assert spectrum.largest == pytest.approx(expected.largest, rel=1e-8)
        assert spectrum.smallest == pytest.approx(expected.smallest, rel=1e-8)
        functions = [identity, absolute, absolute_log, np.square]
        assert spectrum.sums(functions) == pytest.approx(expected.sums(functions), rel=1e-8)


def test_eigenvalues_without_each_group_are_taken_as_they_are():
    matrices = symmetric_groups(len(ITEMS), 15, np.random.default_rng(1))
    found = spectra_without_groups(exact_with_groups(matrices, ITEMS))
    for spectrum, matrix in zip(found[1:], (without(matrices, ITEMS, j) for j in range(5)), strict=True):
        assert spectrum.sums([identity])[0] * spectrum.scale == pytest.approx(np.trace(matrix))
        assert spectrum.largest == pytest.approx(np.linalg.eigvalsh(matrix)[-1])


def one_matrix_for_all_groups(steps, deflated, *, values=None, probes=4):
    """Four groups with the same matrix, so that leaving one out changes nothing."""
    values = network_like(150) if values is None else values
    matrices = np.broadcast_to(np.diag(values), (4, len(values), len(values)))
    starts = np.random.default_rng(2).standard_normal((len(values), probes))
    return sampled_with_groups(matrices, (3, 1, 1, 5), deflated=deflated, starts=starts, steps=steps)


@pytest.mark.parametrize("deflated", [0, 5])
def test_the_whole_matrix_is_read_as_its_rules_read_it_exact_weights_included(deflated):
    block = one_matrix_for_all_groups(30, deflated)
    plain = gauss_rules(block.probes, 30)
    exact = with_exact_weights(plain, 150 - deflated)
    assert any((a.weights != b.weights).any() for a, b in zip(plain, exact, strict=True))
    for spectrum in spectra_without_groups(block):
        for nodes, weights, rule in zip(spectrum.nodes, spectrum.weights, exact, strict=True):
            assert nodes == pytest.approx(rule.nodes, abs=1e-10 * 200)
            assert weights == pytest.approx(rule.weights, abs=1e-9)


def test_a_basis_shorter_than_the_recurrence_is_read_as_far_as_it_goes():
    block = one_matrix_for_all_groups(30, 5)
    short = dataclasses.replace(block.groups, probes=block.groups.probes[:, :3, :12, :12])
    spectra = spectra_without_groups(dataclasses.replace(block, groups=short))
    exact = with_exact_weights(gauss_rules(block.probes, 12)[:3], 145)
    for nodes, weights, rule in zip(spectra[0].nodes, spectra[0].weights, exact, strict=True):
        assert nodes == pytest.approx(rule.nodes, abs=1e-8)
        assert weights == pytest.approx(rule.weights, abs=1e-8)


def test_bases_of_another_space_than_the_probes_keep_their_random_weights():
    # The block's own recurrences say nothing of how far such a basis is from closed.
    block = one_matrix_for_all_groups(30, 5)
    fewer = dataclasses.replace(block.groups, outliers=block.groups.outliers[:, :4, :4])
    spectrum = spectra_without_groups(dataclasses.replace(block, groups=fewer))[0]
    assert spectrum.dimension == 146
    for weights, rule in zip(spectrum.weights, gauss_rules(block.probes, 30), strict=True):
        assert weights == pytest.approx(rule.weights, abs=1e-9)


def test_padding_after_a_closed_recurrence_adds_no_eigenvalue_zero():
    block = one_matrix_for_all_groups(3, 0, values=-np.repeat([1.0, 4.0, 9.0], 10))
    padded = np.pad(block.groups.probes, ((0, 0), (0, 0), (0, 2), (0, 2)))
    runs = dataclasses.replace(
        block.probes,
        alphas=np.pad(block.probes.alphas, ((0, 0), (0, 2))),
        betas=np.column_stack([block.probes.betas, np.zeros((4, 2))]),
        last_betas=np.zeros(4),
    )
    groups = dataclasses.replace(block.groups, probes=padded)
    for spectrum in spectra_without_groups(dataclasses.replace(block, probes=runs, groups=groups)):
        assert (spectrum.smallest, spectrum.largest) == pytest.approx((-9.0, -1.0))


def test_projections_of_an_exact_block_do_without_recurrences():
    block = one_matrix_for_all_groups(20, 5)
    exact = with_groups(exact_block(network_like(150)), block.groups)
    for spectrum in spectra_without_groups(exact):
        assert spectrum.nodes == pytest.approx(np.array([r.nodes for r in gauss_rules(block.probes, 20)]), abs=1e-8)
        assert spectrum.weights.sum(axis=1) == pytest.approx(np.ones(4))


def test_where_nothing_was_kept_nothing_is_known():
    block = exact_block(network_like(30))
    assert spectra_without_groups(block) is None
    assert spectra_without_groups(with_groups(block, DataGroups(np.array([4, 4])))) is None
    alone = DataGroups(np.array([8]), left_out=network_like(30)[None], traces=np.array([3.0]))
    assert spectra_without_groups(with_groups(block, alone)) is None
    assert traces_without_groups(alone) is None


def test_traces_of_the_groups_combine_by_their_items():
    groups = DataGroups(np.array([10, 30]), traces=np.array([4.0, 8.0]))
    assert traces_without_groups(groups) == pytest.approx([7.0, 8.0, 4.0])


def test_a_share_moves_smoothly_with_the_threshold_and_counts_what_is_known():
    block = one_matrix_for_all_groups(20, 5)
    spectrum = spectra_without_groups(block)[0]
    thresholds = np.linspace(0.05, 3.0, 2001)
    shares = [spectrum.share_beyond(x, sign=1.0) for x in thresholds]
    assert (np.diff(shares) <= 1e-12).all()
    assert np.abs(np.diff(shares)).max() < 0.01
    assert shares[0] == pytest.approx((network_like(150) > 0.05).mean(), abs=0.1)
    known = WeightedSpectrum.of(np.array([-3.0, -1.0, 0.5, 0.5, 2.0]))
    assert known.share_beyond(0.5, sign=1.0) == pytest.approx(1 / 5)
    assert known.share_beyond(0.5, sign=-1.0) == pytest.approx(2 / 5)
