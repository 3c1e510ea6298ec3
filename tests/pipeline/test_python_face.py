"""The Python face gives what the command gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import cases, columns_of, dense_hessian, seeded
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hessent
from hessent.errors import UsageError

CASE = next(case for case in cases() if case.name == "mlp, mse")


def problem(dtype: torch.dtype = torch.float64) -> hessent.Problem:
    return hessent.Problem(seeded(CASE.model), CASE.loss, CASE.batches(4, 4, 1), dtype=dtype)


def test_operator_multiplies_by_the_hessian():
    hessian, _ = dense_hessian(seeded(CASE.model), CASE.inputs, CASE.targets, CASE.mean_loss)
    operator = hessent.operator(problem())
    v = torch.randn(operator.size, dtype=torch.float64)
    assert torch.allclose(operator.matvec(v), hessian @ v, rtol=1e-10, atol=1e-12)
    assert operator.num_matvecs == 1
    block = hessent.operator(problem(), block="0")
    rows = columns_of(seeded(CASE.model), ("0.weight", "0.bias"))
    V = torch.randn(block.size, 3, dtype=torch.float64)
    assert torch.allclose(block.matmat(V), hessian[rows][:, rows] @ V, rtol=1e-10, atol=1e-12)
    assert block.num_matvecs == 3


def test_an_unknown_block_is_refused():
    with pytest.raises(UsageError, match="no block 'nought'"):
        hessent.operator(problem(), block="nought")


def test_spectrum_in_memory_and_from_file_are_the_same(tmp_path):
    found = hessent.spectrum(problem(), out=tmp_path / "run.spectrum.h5")
    loaded = hessent.load(tmp_path / "run.spectrum.h5")
    assert found.measures() == loaded.measures()
    hessian, _ = dense_hessian(seeded(CASE.model), CASE.inputs, CASE.targets, CASE.mean_loss)
    assert found.measures()["full"]["trace"].value == pytest.approx(float(hessian.trace()))
    assert np.allclose(found.block("full").eigenvalues, torch.linalg.eigvalsh(hessian).numpy(), atol=1e-12)


def test_a_data_loader_with_dict_inputs_and_a_callable_loss_works():
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * scale

    torch.manual_seed(0)
    inputs, targets = torch.randn(7, 5), torch.randn(7, 2)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=3)
    batches = [({"x": x, "scale": torch.full((len(x), 1), 2.0)}, y) for x, y in loader]
    by_name = hessent.spectrum(hessent.Problem(Takes(), "mse", batches), full=False)
    by_function = hessent.spectrum(hessent.Problem(Takes(), nn.functional.mse_loss, batches), full=False)
    expected = 4 * 2 * (inputs.square().sum() / 7 + 1)  # 2/(N·2) Σ (‖x‖² + 1) scale² for each of two outputs
    for found in (by_name, by_function):
        assert found.measures()["linear"]["trace"].value == pytest.approx(float(expected), rel=1e-5)


def test_frozen_parameters_are_constants():
    model = seeded(CASE.model)
    model[0].weight.requires_grad_(False)
    frozen = hessent.Problem(model, CASE.loss, CASE.batches(9), dtype=torch.float64)
    assert frozen.num_params == sum(p.numel() for p in model.parameters()) - model[0].weight.numel()
    assert hessent.spectrum(frozen).complete
