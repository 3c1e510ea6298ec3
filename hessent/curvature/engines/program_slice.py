"""The part of a linear program that leads from some of its inputs to some of its outputs.

A product with one block needs neither what other blocks' inputs feed (it is zero: every value of the program is
linear in its inputs) nor what leads to other blocks' outputs.  What is left of a pass from a layer to the outputs
and back is a matrix product per later layer and way; constants are shared with the whole program.

Operations that write into their arguments are followed by the storages that values lie in, known from one run on
tensors without data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.engines.linear_program import (
    Constant,
    Instruction,
    LinearProgram,
    Slot,
    storage_address,
)

_ADDITIONS = {torch.ops.aten.add.Tensor, torch.ops.aten.sub.Tensor}
# What they give does not depend on their argument's values, so it is not zero where those are.
_FILLS = {
    torch.ops.aten.full_like.default,
    torch.ops.aten.new_full.default,
    torch.ops.aten.new_ones.default,
    torch.ops.aten.ones_like.default,
}
_CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Layout:
    """How a value lies in memory, and in which storage of all that a run makes."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    storage: int


class ProgramSlices:
    """Slices of one program.

    Parameters
    ----------
    program : LinearProgram
        The whole.
    inputs : sequence of Tensor
        Any inputs of the recorded ones' shapes and strides; their values do not matter.
    """

    def __init__(self, program: LinearProgram, inputs: Sequence[Tensor]) -> None:
        self._program = program
        self._device = inputs[0].device
        self._layouts = _layouts(program, inputs)
        self._written = {
            self._layouts[slot.index].storage
            for step in program.instructions
            if step.writes
            for slot in _slots(step.operands())
        }
        self._zeros: dict[tuple[Any, ...], Constant] = {}

    def between(self, inputs: Collection[int], outputs: Sequence[int]) -> LinearProgram | None:
        """Return the program from inputs to outputs, by position; None where a value is written into zeros.

        It takes as many inputs as the whole, of which it reads those alone, and returns the outputs asked for.
        """
        zero = set(range(self._program.num_inputs)) - set(inputs)
        renamed: dict[int, Slot] = {}
        kept: list[Instruction] = []
        for step in self._program.instructions:
            slots = _slots(step.operands())
            silent = [slot for slot in slots if slot.index in zero]
            if slots and len(silent) == len(slots) and step.operation not in _FILLS:
                zero |= {slot.index for slot in step.outputs if slot is not None}
                continue
            if silent and step.writes:
                return None
            passed = self._passed_through(step, zero)
            if passed is not None:
                output = step.outputs[0]
                assert output is not None
                renamed[output.index] = renamed.get(passed.index, passed)
                continue
            kept.append(self._rewritten(step, zero, renamed))
        results = [self._value(self._program.outputs[position], zero, renamed) for position in outputs]
        return LinearProgram(
            self._without_unread(kept, results), self._program.num_inputs, self._program.num_slots, results
        )

    def _passed_through(self, step: Instruction, zero: set[int]) -> Slot | None:
        """The operand that an addition of zero returns as it is, unless its result may be written into."""
        if step.operation not in _ADDITIONS or step.keywords.get("alpha", 1) != 1:
            return None
        first, second = step.arguments[:2]
        output = step.outputs[0]
        if not (isinstance(first, Slot) and isinstance(second, Slot)) or output is None:
            return None
        if second.index in zero:
            passed = first
        elif first.index in zero and step.operation is torch.ops.aten.add.Tensor:
            passed = second
        else:
            return None
        before, after = self._layouts[passed.index], self._layouts[output.index]
        same = (before.size, before.stride, before.dtype) == (after.size, after.stride, after.dtype)
        return passed if same and not {before.storage, after.storage} & self._written else None

    def _rewritten(self, step: Instruction, zero: set[int], renamed: dict[int, Slot]) -> Instruction:
        """The instruction with zeros for what is zero, and with renamed operands."""

        def value(argument: Any) -> Any:
            if isinstance(argument, Slot):
                return self._value(argument, zero, renamed)
            return [value(part) for part in argument] if type(argument) is list else argument

        return Instruction(
            step.operation,
            [value(argument) for argument in step.arguments],
            {name: value(argument) for name, argument in step.keywords.items()},
            list(step.outputs),
            step.writes,
        )

    def _value(self, argument: Slot | Constant, zero: set[int], renamed: dict[int, Slot]) -> Slot | Constant:
        if isinstance(argument, Constant):
            return argument
        if argument.index not in zero:
            return renamed.get(argument.index, argument)
        layout = self._layouts[argument.index]
        key = (layout.size, layout.stride, layout.dtype)
        if key not in self._zeros:
            empty = torch.empty_strided(layout.size, layout.stride, dtype=layout.dtype, device=self._device)
            self._zeros[key] = Constant(empty.zero_())
        return self._zeros[key]

    def _without_unread(
        self, steps: Sequence[Instruction], results: Sequence[Slot | Constant]
    ) -> list[Instruction]:
        """Leave out what no result depends on; a write is needed where anything in its storage is."""
        needed = {result.index for result in results if isinstance(result, Slot)}
        storages = {self._layouts[index].storage for index in needed}
        kept: list[Instruction] = []
        for step in reversed(steps):
            produced = {slot.index for slot in step.outputs if slot is not None}
            touched = (
                {self._layouts[slot.index].storage for slot in _slots(step.operands())} if step.writes else set()
            )
            if not (produced & needed or touched & storages):
                continue
            if step.operation is _CONVOLUTION_BACKWARD:
                _narrow(step, needed)
            read = {slot.index for slot in _slots(step.operands())}
            needed |= read
            storages |= {self._layouts[index].storage for index in read | produced}
            kept.append(step)
        return kept[::-1]


def _narrow(step: Instruction, needed: set[int]) -> None:
    """Have a convolution's backward pass compute what is read of it alone."""
    wanted = [slot is not None and slot.index in needed for slot in step.outputs]
    mask = step.arguments[-1]
    step.arguments[-1] = [bool(old and new) for old, new in zip(mask, wanted, strict=True)]
    step.outputs = [slot if new else None for slot, new in zip(step.outputs, wanted, strict=True)]


def _slots(operands: Sequence[Any]) -> list[Slot]:
    return [operand for operand in operands if isinstance(operand, Slot)]


def _layouts(program: LinearProgram, inputs: Sequence[Tensor]) -> list[Layout]:
    """Layout of every slot, from a run on tensors without data.

    All of them stay alive until the end, so that no storage is taken twice.
    """
    values: list[Any] = [tensor.to("meta") for tensor in inputs]
    values += [None] * (program.num_slots - len(values))
    constants: dict[int, Tensor] = {}

    def fill(argument: Any) -> Any:
        if isinstance(argument, Slot):
            return values[argument.index]
        if isinstance(argument, Constant):
            key = id(argument.value)
            if key not in constants:
                constants[key] = argument.value.to("meta")
            return constants[key]
        if type(argument) is torch.device:
            return torch.device("meta")
        return [fill(part) for part in argument] if type(argument) is list else argument

    with torch.no_grad():
        for step in program.instructions:
            keywords = {name: fill(value) for name, value in step.keywords.items()}
            found = step.operation(*[fill(argument) for argument in step.arguments], **keywords)
            results = found if isinstance(found, tuple | list) else (found,)
            for slot, result in zip(step.outputs, results, strict=True):
                if slot is not None:
                    values[slot.index] = result
    return [_layout(value) for value in values]


def _layout(value: Tensor | None) -> Layout:
    if value is None:
        return Layout((), (), torch.float32, -1)
    return Layout(tuple(value.shape), value.stride(), value.dtype, storage_address(value))
