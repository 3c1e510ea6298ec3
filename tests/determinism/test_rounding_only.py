"""How the work is cut (micro-batches, vectors at once, which engine) changes results by rounding, and by no more.

The bound.  A product of the mean loss over N items is Σ_B P_B / N with one float32 partial product P_B per
micro-batch; they are summed and divided in float64, so the sum adds nothing.  A partial product is a backward pass:
its error is at most c·u·‖H_B‖·‖v‖ for the micro-batch's summed Hessian H_B, u the unit roundoff of the products
(6e-8 in float32) and c a small number that grows with the depth of the net and with the logarithm of the length of
its sums.  Since Σ_B ‖H_B‖ ≤ Σ_i n_i ‖H_i‖ over single samples i, for any way of cutting

    ‖computed − H v‖ ≤ c · u · S · ‖v‖,   S = Σ_i n_i ‖H_i‖ / N.

(S, not ‖H‖: where samples' curvatures cancel, what remains keeps their rounding.)  On these nets c ≤ 3 was
measured, over all engines and four ways of cutting; 10 is allowed here.

Measures that follow from a fixed number of products then agree within a small multiple of the products' noise:
c' = 200 roundings is allowed (at most 60 was measured), relative to the scale of each: the absolute trace for sums
of eigenvalues, the largest absolute eigenvalue for the extremes.  Of an entropy every one of n shares may move by a
rounding of the largest eigenvalue, and the sum by Σ δp log(1/p): n max|λ| / Σ|λ| roundings, times the logarithm of
the smallest share that counts, for which 60 is allowed.  With a tolerance instead
of a budget a run may decide to stop one step earlier or later; results then agree within their intervals.
"""

from __future__ import annotations

import functools

import pytest
import torch
from cases import Case, dense_hessian, seeded
from same_numbers import CASES, ENGINES, measurement, problem
from torch import Tensor

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.eigensolver.probes import gaussian_vectors
from hessent.measures.registry import compute_measures
from hessent.pipeline.observer import Silent

C_PRODUCTS = 10
C_MEASURES = 200
C_ENTROPIES = 60
CUTS = ((9,), (4, 4, 1), (1,) * 9)


@functools.cache
def truth(name: str) -> tuple[Tensor, float]:
    """The Hessian of a case whose samples are one item each, and S."""
    case = CASES[name]
    hessian, _ = dense_hessian(seeded(case.model), case.inputs, case.targets, case.mean_loss)
    total = 0.0
    for inputs, targets in case.batches(*(1,) * 9):
        own = problem(case, 9, dtype=torch.float64).with_batches([(inputs, targets)])
        own.measure_loss()
        whole = Block(FULL, tuple(own.parameters), own.num_params)
        operator = HessianEngine(own, memory=2**30, engine="batched").operator(whole)
        matrix = operator.matmat(torch.eye(whole.size, dtype=torch.float64))
        total += float(torch.linalg.matrix_norm(matrix, 2))
    return hessian, total / 9


def unit_columns(hessian: Tensor) -> Tensor:
    """Random unit vectors, and what the matrix turns them into, which points where the curvature is large."""
    V = gaussian_vectors(len(hessian), 5, seed=0, key="columns").T
    V = torch.hstack([V, hessian @ V])
    return V / V.norm(dim=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp, mse", "convolution+batchnorm"])
def test_products_differ_from_the_truth_by_a_few_roundings_however_they_are_cut(name, dtype):
    hessian, scale = truth(name)
    V = unit_columns(hessian)
    allowed = C_PRODUCTS * torch.finfo(dtype).eps / 2 * scale
    for engine in ENGINES if name == "mlp, mse" else ("retained", "lockstep", "batched"):
        for cut in CUTS:
            made = problem(CASES[name], *cut, dtype=dtype)
            made.measure_loss()
            whole = Block(FULL, tuple(made.parameters), made.num_params)
            found = HessianEngine(made, memory=2**30, engine=engine).operator(whole).matmat(V)
            worst = float((found - hessian @ V).norm(dim=0).max())
            assert 0 < worst <= allowed, (engine, cut)


def test_columns_asked_for_together_or_one_by_one_give_the_same_product_up_to_rounding():
    hessian, scale = truth("mlp, mse")
    V = unit_columns(hessian)
    for engine in ENGINES:
        made = problem(CASES["mlp, mse"], 4, 4, 1)
        made.measure_loss()
        operator = HessianEngine(made, memory=2**30, engine=engine).operator(
            Block(FULL, tuple(made.parameters), made.num_params)
        )
        together = operator.matmat(V)
        for column in range(V.shape[1]):
            gap = float((operator.matvec(V[:, column]) - together[:, column]).norm())
            assert gap <= C_PRODUCTS * torch.finfo(torch.float32).eps * scale


@pytest.mark.parametrize("name", ["mlp, mse", "gpt, tied head, ignored tokens"])
def test_the_measures_of_a_run_differ_by_a_small_multiple_of_the_noise(name):
    case = CASES[name]
    first = measured(case, (4, 4, 1), "retained")
    scale_of = {"trace": "abs_trace", "abs_trace": "abs_trace", "lambda_max": "largest", "lambda_min": "largest"}
    for cut, engine in (((2, 3, 2, 2), "retained"), ((9,), "lockstep"), ((4, 4, 1), "batched")):
        for block, (unit, values) in measured(case, cut, engine).items():
            own_unit, expected = first[block]
            for key in ("trace", "abs_trace", "lambda_max", "lambda_min", "entropy", "entropy_gap"):
                if key in scale_of:
                    allowed = C_MEASURES * expected[scale_of[key]]
                else:
                    allowed = C_ENTROPIES * expected["size"] * expected["largest"] / expected["abs_trace"]
                gap = abs(values[key] - expected[key])
                assert gap <= allowed * max(unit, own_unit), (block, key, cut, engine)


def measured(case: Case, cut: tuple[int, ...], engine: str) -> dict[str, tuple[float, dict[str, float]]]:
    """By block: the noise of its products (no less than one rounding), and its measures."""
    run = measurement(problem(case, *cut), engine=engine)
    run.run(Silent())
    found = {}
    for block in run.spectra():
        values = {key: estimate.value or 0.0 for key, estimate in compute_measures(block).items()}
        values["largest"] = max(abs(values["lambda_max"]), abs(values["lambda_min"]))
        values["size"] = block.size
        found[block.name] = max(block.noise, torch.finfo(torch.float32).eps), values
    return found
