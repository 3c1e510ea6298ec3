"""A network and its optimizer, to the disk and back without losing a bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hessent.checkpoint.matching import load_into
from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.optimizer_state import read_optimizer_state
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import CheckpointError


def save(path: str, model: nn.Module, optimizer: torch.optim.Optimizer, metadata: CheckpointMetadata) -> None:
    """Write a checkpoint and, where the optimizer has any, its state beside it.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        if tensors:
            states[name] = tensors
    save_checkpoint(path, model.state_dict(), metadata, states or None)


def restore(path: str, model: nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype) -> None:
    """Put a network and its optimizer back to where `save` found them.

    Parameters
    ----------
    path : str
        The checkpoint.
    model, optimizer
        Built with the settings of the run.
    dtype : torch.dtype
        Of the run; the stored numbers are taken as they are.

    Raises
    ------
    CheckpointError
        If a file is damaged, or the optimizer's state is gone.
    """
    checkpoint = open_checkpoint(path)
    load_into(model, checkpoint.load(dtype).tensors, where=path)
    found = read_optimizer_state(checkpoint, dtype)
    if found is None:
        if checkpoint.metadata.step and _keeps_state(optimizer):
            raise CheckpointError(
                "the optimizer's state beside it is gone, so the run cannot go on from here",
                where=path,
                fix="put the ….optim.safetensors file back, or begin anew with --force",
            )
        return
    for name, parameter in model.named_parameters():
        for key, value in found.states.get(name, {}).items():
            # Adam counts its steps on the CPU, whatever the device.
            optimizer.state[parameter][key] = value if value.ndim == 0 else value.to(parameter.device)


def _keeps_state(optimizer: torch.optim.Optimizer) -> bool:
    return any(group.get("momentum", 1) != 0 for group in optimizer.param_groups)
