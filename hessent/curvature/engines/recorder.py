"""Records a straight-line program from one run of a function that is linear in its inputs.

Recording watches every operation below autograd.  Those that no input reaches are constants: their results are kept
where a recorded operation reads them, never copied.  Those that an input reaches are written down and run again for
other inputs.  A tensor is known by the storage it lies in, so that views, and aliases that no operation announces,
are followed.  A Python number read from a tensor that depends on an input cannot be followed and is refused.

Writing values that depend on an input into a constant is common (a buffer of zeros filled by slices): the buffer,
as it was then, becomes a part of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from hessent.curvature.engines.linear_program import (
    Constant,
    Instruction,
    LinearProgram,
    Slot,
    flat,
    storage_address,
)

_READS_SHAPES_ONLY = frozenset(
    {torch.ops.aten.is_same_size.default, torch.ops.aten._has_same_storage_numel.default}
)
# Operations that multiply their first argument, element by element, by a function of the second.
_SCALES = frozenset(
    {
        torch.ops.aten.gelu_backward.default,
        torch.ops.aten.mish_backward.default,
        torch.ops.aten.silu_backward.default,
        torch.ops.aten.softplus_backward.default,
    }
)


class Recorder(TorchDispatchMode):
    """Records the operations that inputs reach, while it is entered.

    Parameters
    ----------
    inputs : sequence of Tensor
        Each alone in its storage.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._instructions: list[Instruction] = []
        self._num_slots = self._num_inputs = len(inputs)
        # By address; the weak references keep addresses from being used again, and no memory but that.
        self._places: dict[int, dict[Any, Slot]] = {}
        self._watched: list[StorageWeakRef] = []
        self._constants: dict[int, dict[Any, Constant]] = {}
        for index, tensor in enumerate(inputs):
            self._place(tensor, Slot(index))

    def program(self, outputs: Sequence[Tensor]) -> LinearProgram:
        """Return what was recorded, as the way from the inputs to these outputs."""
        ends = [self._find(output) or Constant(output) for output in outputs]
        return LinearProgram(self._instructions, self._num_inputs, self._num_slots, ends)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and write it down if an input reaches it."""
        kwargs = kwargs or {}
        if func in _READS_SHAPES_ONLY:
            return func(*args, **kwargs)
        leaves = [leaf for leaf in flat(args, kwargs) if isinstance(leaf, Tensor)]
        written = _written(func, args, kwargs) if func._schema.is_mutable else []
        if not any(self._is_followed(leaf) for leaf in leaves):
            for tensor in written:
                self._keep_what_was_read(tensor)
            return func(*args, **kwargs)
        for tensor in written:
            if not self._is_followed(tensor):
                self._keep_what_was_read(tensor)
                self._adopt(tensor)
        arguments = [self._reference(argument) for argument in args]
        keywords = {name: self._reference(value) for name, value in kwargs.items()}
        found = func(*args, **kwargs)
        results = found if isinstance(found, tuple | list) else (found,)
        outputs = [self._output(func, result) for result in results]
        if func in _SCALES and isinstance(arguments[0], Slot) and isinstance(arguments[1], Constant):
            # Once and for all what it multiplies by, instead of the function on every run.
            factor = func(torch.ones_like(args[1]), *args[1:], **kwargs)
            func, arguments, keywords = torch.ops.aten.mul.Tensor, [arguments[0], Constant(factor)], {}
        self._instructions.append(Instruction(func, arguments, keywords, outputs, writes=bool(written)))
        return found

    def _output(self, func: Any, result: Any) -> Slot | None:
        if result is None:
            return None
        if not isinstance(result, Tensor) or not storage_address(result):
            raise NotImplementedError(f"{func} reads a Python value from a tensor that depends on the vector")
        return self._place(result, self._new_slot())

    def _reference(self, value: Any) -> Any:
        """Slot of a followed tensor, or the constant that it is; what is no tensor stays."""
        if isinstance(value, list | tuple):
            return [self._reference(part) for part in value]
        if not isinstance(value, Tensor):
            return value
        slot = self._find(value)
        if slot is not None:
            return slot
        address = storage_address(value)
        if not address:
            return Constant(value)
        # A constant holds its storage, so that the address stays its own.
        return self._constants.setdefault(address, {}).setdefault(_geometry(value), Constant(value))

    def _is_followed(self, tensor: Tensor) -> bool:
        return storage_address(tensor) in self._places

    def _find(self, tensor: Tensor) -> Slot | None:
        """Slot of a tensor; an alias that no operation announced is cut out of one that lies in its storage."""
        places = self._places.get(storage_address(tensor))
        if places is None:
            return None
        slot = places.get(_geometry(tensor))
        if slot is None:
            (dtype, *_), known = next(iter(places.items()))
            if dtype != tensor.dtype or tensor.is_conj() or tensor.is_neg():
                raise NotImplementedError("a tensor that depends on the vector is read as another type")
            slot = self._place(tensor, self._new_slot())
            geometry = [known, list(tensor.size()), list(tensor.stride()), tensor.storage_offset()]
            self._append(torch.ops.aten.as_strided.default, geometry, slot)
        return slot

    def _adopt(self, tensor: Tensor) -> None:
        """Make the buffer that a constant lies in a part of the program, with the values it has now."""
        buffer = _whole_storage(tensor)
        slot = self._place(buffer, self._new_slot())
        self._append(torch.ops.aten.clone.default, [Constant(buffer.clone())], slot)

    def _keep_what_was_read(self, tensor: Tensor) -> None:
        """Before a constant is overwritten: give the operations that read it a copy of their own."""
        constants = self._constants.pop(storage_address(tensor), {}).values()
        if any(constant.value.dtype != tensor.dtype for constant in constants):
            raise NotImplementedError("a constant is overwritten as another type")
        if constants:
            copy = _whole_storage(tensor).clone()
        for constant in constants:
            old = constant.value
            constant.value = copy.as_strided(old.size(), old.stride(), old.storage_offset())

    def _new_slot(self) -> Slot:
        self._num_slots += 1
        return Slot(self._num_slots - 1)

    def _place(self, tensor: Tensor, slot: Slot) -> Slot:
        address = storage_address(tensor)
        if address not in self._places:
            self._watched.append(StorageWeakRef(tensor.untyped_storage()))  # type: ignore[no-untyped-call]
            self._places[address] = {}
        self._places[address][_geometry(tensor)] = slot
        return slot

    def _append(self, operation: Any, arguments: list[Any], output: Slot) -> None:
        self._instructions.append(Instruction(operation, arguments, {}, [output], writes=False))


def _geometry(tensor: Tensor) -> tuple[Any, ...]:
    flags = tensor.is_conj(), tensor.is_neg()
    return tensor.dtype, tensor.storage_offset(), tuple(tensor.size()), tuple(tensor.stride()), flags


def _whole_storage(tensor: Tensor) -> Tensor:
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())


def _written(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """Tensors that an operation writes into, by its schema."""
    named = dict(zip([argument.name for argument in func._schema.arguments], args, strict=False)) | kwargs
    written = [
        named.get(argument.name)
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [leaf for leaf in flat(written, {}) if isinstance(leaf, Tensor)]
