"""A slice of a linear program gives what the whole gives with zeros elsewhere, and does less."""

import pytest
import torch
from torch.nn import functional

from hessent.curvature.engines.program_slice import ProgramSlices
from hessent.curvature.engines.recorder import Recorder

A, B = torch.linspace(-1, 1, 16).reshape(4, 4), torch.linspace(0, 2, 16).reshape(4, 4)


def layers(x, y, z):
    """A chain: what x feeds passes through both matrices, what z feeds through none."""
    first = x @ A
    second = (first + y) @ B
    third = second - z.t()
    return [third.sum(dim=0), first * 2.0, (third * B).mean(dim=1)]


def scaled_in_place(x, y, z):
    """Means that are divided where they lie, as torch's own formulas do."""
    mean = (x * A).sum(dim=1)
    mean.div_(4.0)
    other = (y * B).sum(dim=1)
    other.div_(4.0)
    return [mean + other, other, z + 0.0]


def written_into_zeros(x, y, z):
    both = x * 1.0
    both.add_(y * A)
    return [both.sum(dim=0), z + 0.0, y + 0.0]


def filled(x, y, z):
    """Shapes are read of zeros, and the values are not zero."""
    return [x * torch.ones_like(y), torch.full_like(z, 2.0) * y, x.new_ones(4, 4) * z]


def convolution(x, y, z):
    images = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
    weight = torch.linspace(0, 1, 9).reshape(1, 1, 3, 3)
    back = torch.ops.aten.convolution_backward(
        x.reshape(1, 1, 4, 4).expand(2, 1, 4, 4), images, weight, [0], [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
        [True, True, False],
    )  # fmt: skip
    return [back[0].sum(dim=0), back[1], functional.pad(y, (1, 1)) + 0.0 * functional.pad(z, (1, 1))]


def inputs(*active):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 4, generator=generator) * (index in active) for index in range(3)]


def recorded(function):
    tangents = inputs(0, 1, 2)
    with Recorder(tangents) as recorder:
        outputs = function(*tangents)
    return recorder.program(outputs)


@pytest.mark.parametrize("function", [layers, scaled_in_place, filled, convolution])
@pytest.mark.parametrize("active", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (2, 0)])
def test_a_slice_gives_what_the_whole_gives_with_zeros_elsewhere(function, active, wanted):
    program = recorded(function)
    values = inputs(*active)
    expected = program.run(values)
    part = ProgramSlices(program, values).between(active, wanted)
    found = part.run([value if index in active else None for index, value in enumerate(values)])
    again = part.run([value if index in active else None for index, value in enumerate(values)])
    for position, result, repeated in zip(wanted, found, again, strict=True):
        torch.testing.assert_close(result, expected[position])
        torch.testing.assert_close(repeated, expected[position])
    assert len(part) <= len(program)


def test_what_other_inputs_feed_and_other_outputs_need_is_left_out():
    slices = ProgramSlices(recorded(layers), inputs())
    whole = len(slices.between((0, 1, 2), (0, 1, 2)))
    assert len(slices.between((2,), (0,))) <= 4  # a transpose, a difference, a sum
    assert len(slices.between((0,), (1,))) == 2  # a product, a scaling
    assert len(slices.between((1,), (1,))) == 0  # y does not reach it
    assert whole >= 8


def test_a_convolution_computes_only_the_gradient_that_is_read():
    slices = ProgramSlices(recorded(convolution), inputs())
    for wanted, mask in ((0, [True, False, False]), (1, [False, True, False])):
        (step,) = [
            step
            for step in slices.between((0,), (wanted,)).instructions
            if step.operation is torch.ops.aten.convolution_backward.default
        ]
        assert step.arguments[-1] == mask


def test_a_value_written_into_zeros_cannot_be_sliced_and_is_said_so():
    slices = ProgramSlices(recorded(written_into_zeros), inputs())
    assert slices.between((1,), (0,)) is None
    assert slices.between((0, 1), (0,)) is not None
