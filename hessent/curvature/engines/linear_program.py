"""A straight-line program of tensor operations: what `Recorder` writes down, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """The place of a value that depends on the inputs."""

    index: int


@dataclass(eq=False)
class Constant:
    """A value that does not depend on the inputs."""

    value: Tensor


@dataclass
class Instruction:
    """One operation: its outputs go to slots, None for outputs that are not tensors."""

    operation: Any
    arguments: list[Any]
    keywords: dict[str, Any]
    outputs: list[Slot | None]
    writes: bool
    finished: list[int] = field(default_factory=list)  # slots that nothing reads afterwards

    def operands(self) -> list[Any]:
        """Return all arguments, those inside lists one by one."""
        return flat(self.arguments, self.keywords)


class LinearProgram:
    """The recorded operations, ready to run.

    Parameters
    ----------
    instructions : sequence of Instruction
        In the order in which they were recorded.
    num_inputs : int
        Inputs lie in the first slots.
    num_slots : int
        Values that depend on the inputs, the inputs among them.
    outputs : sequence of Slot or Constant
        What a run returns.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        num_inputs: int,
        num_slots: int,
        outputs: Sequence[Slot | Constant],
    ) -> None:
        self.outputs = list(outputs)
        self.num_inputs, self.num_slots = num_inputs, num_slots
        self.instructions = _needed(instructions, self.outputs)
        self._steps = [_prepared(instruction) for instruction in self.instructions]

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def nbytes(self) -> int:
        """Bytes of the constants, shared storages counted once."""
        storages: dict[int, int] = {}
        for instruction in self.instructions:
            for operand in instruction.operands():
                if isinstance(operand, Constant) and (address := storage_address(operand.value)):
                    storages[address] = operand.value.untyped_storage().nbytes()
        return sum(storages.values())

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs for other inputs, of the recorded ones' shapes, strides and dtype."""
        values: list[Any] = [*inputs, *[None] * (self.num_slots - self.num_inputs)]
        with torch.no_grad():
            for operation, template, places, keywords, outputs, finished in self._steps:
                arguments = template.copy()
                for place, source in places:
                    arguments[place] = (
                        values[source] if type(source) is int else [_filled(part, values) for part in source]
                    )
                if keywords:
                    named = {name: _filled(part, values) for name, part in keywords.items()}
                    found = operation(*arguments, **named)
                else:
                    found = operation(*arguments)
                if len(outputs) == 1 and type(found) is Tensor:
                    if outputs[0] is not None:
                        values[outputs[0]] = found
                else:
                    for index, result in zip(outputs, found, strict=True):
                        if index is not None:
                            values[index] = result
                for index in finished:
                    values[index] = None
        return [_filled(output, values) for output in self.outputs]


Step = tuple[Any, list[Any], list[tuple[int, Any]], dict[str, Any], list[int | None], list[int]]


def _prepared(instruction: Instruction) -> Step:
    """Put constants in their places, and note where values go: what is left to do on every run costs little."""
    template: list[Any] = []
    places: list[tuple[int, Any]] = []
    for place, argument in enumerate(instruction.arguments):
        template.append(argument.value if type(argument) is Constant else argument)
        if type(argument) is Slot:
            places.append((place, argument.index))
        elif type(argument) is list and any(type(part) in (Slot, Constant) for part in argument):
            places.append((place, argument))
    outputs = [None if slot is None else slot.index for slot in instruction.outputs]
    return instruction.operation, template, places, instruction.keywords, outputs, instruction.finished


def _filled(argument: Any, values: list[Any]) -> Any:
    if type(argument) is Slot:
        return values[argument.index]
    return argument.value if type(argument) is Constant else argument


def _needed(instructions: Sequence[Instruction], outputs: Sequence[Slot | Constant]) -> list[Instruction]:
    """Leave out what no output depends on, and note where every value is read last.

    An operation that writes into its arguments is always kept: its effect can be read through any alias.
    """
    needed = {output.index for output in outputs if isinstance(output, Slot)}
    kept: list[Instruction] = []
    for instruction in reversed(instructions):
        produced = {slot.index for slot in instruction.outputs if slot is not None}
        if not (instruction.writes or produced & needed):
            continue
        read = {value.index for value in instruction.operands() if isinstance(value, Slot)}
        instruction.finished = sorted((read | produced) - needed)
        needed |= read | produced
        kept.append(instruction)
    return kept[::-1]


def storage_address(tensor: Tensor) -> int:
    """Return the address of a tensor's storage, 0 where it has none (a symbolic zero)."""
    return int(tensor.untyped_storage()._cdata) if torch._C._has_storage(tensor) else 0


def flat(arguments: Sequence[Any], keywords: dict[str, Any]) -> list[Any]:
    """Return all arguments, those in lists one by one; operations take no lists of lists."""
    found: list[Any] = []
    for argument in (*arguments, *keywords.values()):
        if isinstance(argument, list | tuple):
            found.extend(argument)
        else:
            found.append(argument)
    return found
