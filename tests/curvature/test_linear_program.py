"""Recorded programs: run again, they are the linear function that was recorded; what cannot be one is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hessent.curvature.engines.linear_program import LinearProgram
from hessent.curvature.engines.recorder import Recorder

MATRIX = torch.arange(12.0).reshape(3, 4)


def recorded(function, *shapes: tuple[int, ...]) -> LinearProgram:
    inputs = [torch.zeros(shape) for shape in shapes]
    with Recorder(inputs) as recorder:
        outputs = function(*inputs)
    return recorder.program(outputs)


def check(function, *shapes: tuple[int, ...]) -> LinearProgram:
    """The program agrees with the function at inputs that were not recorded, and leaves no trace between runs."""
    program = recorded(function, *shapes)
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        inputs = [torch.randn(shape, generator=generator) for shape in shapes]
        for found, expected in zip(
            program.run([x.clone() for x in inputs]), function(*[x.clone() for x in inputs]), strict=True
        ):
            torch.testing.assert_close(found, expected)
    return program


def test_operations_that_no_input_reaches_are_not_run_again():
    program = check(lambda x: [MATRIX.exp().sum(dim=0).log() * x], (4,))
    assert len(program) == 1


def test_operations_that_no_output_needs_are_left_out():
    def function(x: Tensor) -> list[Tensor]:
        _ = (x * 3).cumsum(dim=0)
        return [x * 2]

    assert len(check(function, (4,))) == 1


def test_views_and_lists_of_tensors_are_followed():
    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        left, right = x.view(2, 2).unbind(0)
        return [torch.cat([left, MATRIX[0], right + y]), torch.stack([y, y]).sum(dim=0)]

    check(function, (4,), (2,))


def test_slices_written_into_a_constant_do_not_outlive_the_run():
    def function(x: Tensor) -> list[Tensor]:
        buffer = torch.ones(6)
        buffer[:4] = x
        buffer[3:] += 1
        return [buffer[2:] * 1, buffer.view(2, 3).sum(dim=0)]

    check(function, (4,))


def test_a_view_taken_before_a_constant_is_written_into_sees_the_write():
    def function(x: Tensor) -> list[Tensor]:
        buffer = torch.zeros(4)
        window = buffer[1:3]
        buffer.copy_(x)
        return [window * 2]

    check(function, (4,))


def test_a_constant_overwritten_after_it_was_read_keeps_its_value_for_the_reader():
    def function(x: Tensor) -> list[Tensor]:
        factor = torch.full((4,), 3.0)
        product = x * factor
        scaled = x * factor[:2].sum()
        factor.fill_(5.0)
        return [product, scaled, x * factor]

    check(function, (4,))


def test_a_constant_read_and_then_filled_from_an_input_keeps_both_values():
    def function(x: Tensor) -> list[Tensor]:
        factor = torch.full((4,), 3.0)
        product = x * factor
        factor.copy_(product)
        return [product + factor, product * 1]

    check(function, (4,))


def test_values_written_over_in_place_are_followed():
    def function(x: Tensor) -> list[Tensor]:
        y = x * 2
        before = y.sum()
        y[1:].mul_(MATRIX[0, 1:])
        return [y, before * torch.ones(2)]

    check(function, (4,))


def test_an_alias_that_no_operation_announces_is_followed():
    def function(x: Tensor) -> list[Tensor]:
        y = x * 2
        alias = torch.empty(0).set_(y.untyped_storage(), 1, (2,), (2,))
        return [alias * 3]

    check(function, (4,))


def test_outputs_that_depend_on_no_input_are_constants():
    check(lambda x: [MATRIX.sum(dim=0), x * 1], (4,))


@pytest.mark.parametrize("read", [lambda x: x.sum().item(), lambda x: bool((x == 0).all()), lambda x: x.equal(x)])
def test_a_python_value_read_from_an_input_is_refused(read):
    with pytest.raises(NotImplementedError, match="Python value"):
        recorded(lambda x: [x * float(read(x))], (4,))


def test_constants_are_kept_once_and_never_copied():
    weight = torch.randn(50, 40)

    def function(x: Tensor) -> list[Tensor]:
        return [weight @ x, weight.T @ (weight @ x), weight[3:, :].sum(dim=0) @ x * weight[0, 0]]

    assert recorded(function, (40,)).nbytes <= weight.nbytes + 3 * 40 * 4


@pytest.mark.parametrize("name", ["gelu_backward", "silu_backward", "mish_backward"])
def test_the_slope_of_an_activation_is_computed_once(name):
    operation = getattr(torch.ops.aten, name)
    program = check(lambda x: [operation(x, MATRIX - 5.0)], (3, 4))
    (step,) = program.instructions
    assert step.operation is torch.ops.aten.mul.Tensor
