"""What a module asks of a checkpoint: its tensors by name, which names are one tensor, and which do not matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class ModuleNames:
    """The tensors of a module.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        Parameters and persistent buffers that matter, in the module's order; the module's own tensors.
    groups : tuple of tuple of str
        The names of `tensors`, those of one tensor together (tied weights); most groups have one name.
    counters : mapping of str to Tensor
        The batch counters of normalisation layers.
    transient : frozenset of str
        Buffers that the module makes itself and does not save.
    """

    tensors: Mapping[str, Tensor]
    groups: tuple[tuple[str, ...], ...]
    counters: Mapping[str, Tensor]
    transient: frozenset[str]

    @property
    def required(self) -> set[str]:
        """Names that a checkpoint may hold; of each group at least one."""
        return set(self.tensors)

    def forgives(self, name: str) -> bool:
        """Tell whether a name is not compared, whichever side has it."""
        return name in self.transient or self.is_counter(name)

    @staticmethod
    def is_counter(name: str) -> bool:
        """Tell whether a name is that of a batch counter."""
        return name.rpartition(".")[2] == COUNTER


def module_names(model: nn.Module) -> ModuleNames:
    """List the tensors of a module.

    Parameters
    ----------
    model : nn.Module
        On a real device: a module on "meta" has no values to fill.

    Returns
    -------
    ModuleNames
        In the order of `model.state_dict()`.
    """
    saved = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    assert not any(value.is_meta for value in saved.values()), "a module on the meta device cannot be loaded into"
    counters = {name: value for name, value in saved.items() if ModuleNames.is_counter(name)}
    tensors = {name: value for name, value in saved.items() if name not in counters}
    groups: dict[object, list[str]] = {}
    for name, value in tensors.items():
        groups.setdefault(_identity(value), []).append(name)
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return ModuleNames(tensors, tuple(map(tuple, groups.values())), counters, frozenset(buffers - saved.keys()))


def _identity(tensor: Tensor) -> object:
    if not tensor.numel():
        return id(tensor)
    return (tensor.data_ptr(), tensor.shape, tensor.stride())
