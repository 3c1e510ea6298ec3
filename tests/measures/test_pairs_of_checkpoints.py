"""Paired intervals on a trained net's own Hessians, one and ten Adam steps apart; the truth by dense algebra."""

import math

import exact_nets
import numpy as np
import pytest
import torch
from small_matrices import MatrixOperator, solve
from torch.nn import functional

from hessent.measures.paired import differences

STEPS = (0, 1, 10)
SEEDS = 60


def matrices():
    """Dense Hessians of a small net after a training and some steps more."""
    inputs, targets = exact_nets.training_images()
    model, _ = exact_nets.trained("small")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    found = {}
    for step, batch in enumerate(torch.randperm(len(inputs), generator=generator).split(64)):
        if step in STEPS:
            found[step] = exact_nets.dense_hessian(model, inputs[:192], targets[:192])
        if step == STEPS[-1]:
            return found
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    raise AssertionError("one epoch is too short")


def truths(values):
    shares = np.abs(values) / np.abs(values).sum()
    shares = shares[shares > 0]
    gap = math.log(len(values)) + float((shares * np.log(shares)).sum())
    return {"trace": values.sum(), "abs_trace": np.abs(values).sum(), "entropy_gap": gap}


@pytest.mark.slow
def test_intervals_hold_between_checkpoints_of_one_run_and_are_narrower_than_apart():
    operators = {step: MatrixOperator(matrix) for step, matrix in matrices().items()}
    expected = {step: truths(operator.eigenvalues) for step, operator in operators.items()}
    held, gains = {}, {}
    for seed in range(SEEDS):
        runs = {
            step: solve(operator, seed=seed, max_matvecs=250, rtol=0.0).spectrum
            for step, operator in operators.items()
        }
        for step in STEPS[1:]:
            found, apart = (
                differences(runs[step], runs[0], same_seed=same_seed, same_samples=True)
                for same_seed in (True, False)
            )
            for name, value in expected[step].items():
                own = found[name]
                held.setdefault((step, name), []).append(own.low <= value - expected[0][name] <= own.high)
                gains.setdefault((step, name), []).append(apart[name].half_width / own.half_width)
    assert min(map(sum, held.values())) >= 0.93 * SEEDS
    for name, least in (("trace", 2.0), ("abs_trace", 2.5), ("entropy_gap", 2.5)):
        assert np.median(gains[10, name]) >= least, name
        assert np.median(gains[1, name]) >= 4.0, name
