"""NaN and infinity are named where they arise: weights, inputs, the sample of a loss, the tensor of a product."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hessent.__main__ import main
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.writer import save_checkpoint
from hessent.curvature.blocks import FULL, Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.problem import Problem
from hessent.data.array_pair import dataset_of_arrays
from hessent.data.stream import BatchStream
from hessent.errors import DataError, NonFiniteError

NET = """
import torch

class Kinked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.linear = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(self.first(x)).abs().pow(1.5)

def make():
    return Kinked()

def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 3, generator=generator)
    inputs[7] = 0
    return inputs, torch.randn(12, 2, generator=generator)
"""


def kinked() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A net whose outputs go through abs(h)^1.5: loss and gradient are finite where h = 0, curvature is not."""
    scope: dict = {"__name__": "net"}
    exec(NET, scope)
    torch.manual_seed(0)
    model = scope["make"]()
    nn.init.zeros_(model.first.bias)
    nn.init.zeros_(model.linear.bias)
    return model, *scope["data"]()


def cut(inputs, targets, size=5):
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def whole(problem):
    return Block(FULL, tuple(problem.parameters), problem.num_params)


def test_weights_and_buffers_are_named_before_anything_is_computed():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        model[0].weight[1, 0] = float("nan")
        model[1].running_var[2] = float("inf")
    with pytest.raises(NonFiniteError) as error:
        Problem(model, "mse", [])
    assert "'0.weight': 1 NaN and 0 infinite of 6 values" in str(error.value)
    assert "'1.running_var': 0 NaN and 1 infinite of 3 values" in str(error.value)


@pytest.mark.parametrize("what", ["inputs", "targets"])
def test_inputs_and_targets_are_named_before_the_model_sees_them(what, monkeypatch):
    model, inputs, targets = kinked()
    {"inputs": inputs, "targets": targets}[what][8, 1] = float("inf")
    problem = Problem(model, "mse", cut(inputs, targets))
    seen = []
    original = Problem.outputs
    monkeypatch.setattr(Problem, "outputs", lambda self, value: seen.append(value) or original(self, value))
    with pytest.raises(
        DataError, match=rf"the {what} of micro-batch 1 hold 0 NaN and 1 inf(.|\n)*first in sample 8 "
    ):
        problem.measure_loss()
    assert len(seen) == 1  # the micro-batch before


def test_a_loss_that_is_not_finite_names_micro_batch_sample_and_its_number_in_the_data():
    inputs = torch.ones(20, 2)
    inputs[13] = 1e30
    dataset = dataset_of_arrays(inputs, torch.zeros(20, 1), name="somewhere")
    model = nn.Linear(2, 1)
    stream = BatchStream(dataset, samples=18, batch_size=4, seed=1)
    place = stream.order.tolist().index(13)
    with pytest.raises(NonFiniteError) as error:
        Problem(model, "mse", stream).measure_loss()
    assert f"the loss of micro-batch {place // 4} is inf" in str(error.value)
    assert f"first in sample {place} (number 13 of the data set, counted from 0)" in str(error.value)


@pytest.mark.parametrize("engine", ["retained", "lockstep", "batched"])
def test_a_product_that_is_not_finite_names_block_micro_batch_and_tensor(engine):
    model, inputs, targets = kinked()
    problem = Problem(model, "mse", cut(inputs, targets))
    problem.measure_loss()
    served = HessianEngine(problem, memory=2**30, engine=engine)
    block = Block("some", ("first.bias", "linear.weight"), 9)
    with pytest.raises(NonFiniteError) as error:
        served.products([(whole(problem), torch.zeros(20, 1)), (block, torch.ones(9, 2))][1:])
    assert "a product with block 'some' is not finite" in str(error.value)
    assert "micro-batch 1 (samples 5 to 9, counted from 0): first in 'first.bias'" in str(error.value)


def test_an_engine_that_is_at_fault_is_named(monkeypatch):
    model, inputs, targets = kinked()
    problem = Problem(model, "mse", cut(inputs[:7], targets[:7]))
    problem.measure_loss()
    served = HessianEngine(problem, memory=2**30, engine="batched")
    original = DoubleBackward.products
    monkeypatch.setattr(
        DoubleBackward,
        "products",
        lambda self, block, V: original(self, block, V) * (float("nan") if self._at_once > 1 else 1.0),
    )
    with pytest.raises(NonFiniteError, match=r"the engine 'batched' is at fault(.|\n)*--engine retained"):
        served.products([(whole(problem), torch.ones(20, 1, dtype=torch.float64))])
    V = torch.ones(20, 1)
    V[3] = float("nan")
    with pytest.raises(NonFiniteError, match="because the vector it is multiplied with is not: 1 NaN"):
        served.products([(whole(problem), V)])


def test_a_place_for_which_there_is_no_memory_is_left_out(monkeypatch):
    model, inputs, targets = kinked()
    problem = Problem(model, "mse", cut(inputs, targets))
    problem.measure_loss()
    served = HessianEngine(problem, memory=2**30, engine="retained")
    with pytest.raises(NonFiniteError):
        served.products([(whole(problem), torch.ones(20, 1))])  # the graphs are kept now

    def out_of_memory(*_, **__):
        raise MemoryError

    monkeypatch.setattr(DoubleBackward, "__init__", out_of_memory)
    with pytest.raises(NonFiniteError, match="a product with block 'full' is not finite"):
        served.products([(whole(problem), torch.ones(20, 1))])


def test_the_command_ends_with_3_and_the_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    model, *_ = kinked()
    save_checkpoint("a.safetensors", dict(model.state_dict()), CheckpointMetadata())
    words = ("--arch", "net.py:make", "--data", "net.py:data", "--loss", "mse", "--batch-size", "12")
    code = main(["spectrum", "a.safetensors", *words])
    err = capsys.readouterr().err
    assert code == 3, err
    assert "a product with block 'first' is not finite\n" in err or "a product with block 'full'" in err
    assert "micro-batch 0 (samples 0 to 11" in err
    assert "Traceback" not in err
    assert not (tmp_path / "a.spectrum.h5").exists()
