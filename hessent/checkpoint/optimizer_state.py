"""Reading the optimizer's state that lies beside a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hessent.checkpoint.directory import file_in_directory
from hessent.checkpoint.metadata import from_text
from hessent.checkpoint.optimizer_names import optimizer_state_path, require_belonging, split_states
from hessent.checkpoint.promotion import promote
from hessent.checkpoint.reader import Checkpoint
from hessent.checkpoint.safetensors_files import SafetensorsFile
from hessent.errors import CheckpointError


@dataclass(frozen=True)
class OptimizerState:
    """The state of an optimizer by parameter.

    Attributes
    ----------
    path : str
        The file it was read from.
    states : mapping of str to mapping of str to torch.Tensor
        Parameter to state ("exp_avg", "momentum_buffer", "step", …) to tensor; floating ones promoted.
    sha256 : str
        Digest of what is stored.
    """

    path: str
    states: Mapping[str, Mapping[str, torch.Tensor]]
    sha256: str

    @property
    def state_names(self) -> tuple[str, ...]:
        """All names of states, sorted."""
        return tuple(sorted({key for state in self.states.values() for key in state}))


def find_optimizer_state(path: str) -> str | None:
    """Return the path of the sibling with the optimizer's state, or None where there is none.

    Raises
    ------
    CheckpointError
        `path` is a directory that is not a checkpoint.
    """
    sibling = optimizer_state_path(file_in_directory(path) if os.path.isdir(path) else path)
    return sibling if os.path.lexists(sibling) else None


def read_optimizer_state(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> OptimizerState | None:
    """Read the optimizer's state that belongs to a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        The opened weights.
    dtype : torch.dtype, default torch.float32
        For floating tensors.

    Returns
    -------
    OptimizerState or None
        None where there is no such file.

    Raises
    ------
    CheckpointError
        The file is damaged, was saved at another step, or does not belong to these weights.
    """
    path = find_optimizer_state(checkpoint.path)
    if path is None:
        return None
    file = SafetensorsFile.open(path)
    step, expected = from_text(file.header.metadata, path).step, checkpoint.metadata.step
    if step is not None and expected is not None and step != expected:
        raise CheckpointError(
            f"the optimizer's state is of step {step}, the weights are of step {expected}",
            where=path,
            fix="put the two files of one step together again",
        )
    loaded = promote(file.read(), dtype, path)
    states = split_states(loaded.tensors, path)
    require_belonging(states, checkpoint.shapes, path)
    return OptimizerState(path, states, loaded.sha256)
