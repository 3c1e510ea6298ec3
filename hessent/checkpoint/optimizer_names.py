"""How the state of an optimizer is named: a sibling file, and `PARAMETER/STATE` for each of its tensors.

`step-000400.safetensors` has its state in `step-000400.optim.safetensors`, where Adam's first moment of
`conv1.weight` is the tensor `conv1.weight/exp_avg`.  Names instead of torch's running numbers: numbers depend on
the order in which a program happened to list its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from hessent.checkpoint.listing import capped, shown
from hessent.errors import CheckpointError

OPTIMIZER_SUFFIX = ".optim.safetensors"
# States that hold one number per weight.  Others (a step counter, the factors of a matrix) have their own shape.
ELEMENTWISE_STATES = frozenset(
    {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "exp_hessian_diag_sq", "square_avg", "sum"}
)
_SUFFIXES = (".safetensors.index.json", ".safetensors", ".pth.tar", ".pt", ".pth", ".bin", ".ckpt", ".tar")


def optimizer_state_path(path: str) -> str:
    """Return the name of the sibling that holds the optimizer's state of a checkpoint file."""
    suffix = next((suffix for suffix in _SUFFIXES if path.endswith(suffix)), "")
    return path[: len(path) - len(suffix)] + OPTIMIZER_SUFFIX


def states_by_name(
    parameters: Iterable[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer
) -> dict[str, dict[str, torch.Tensor]]:
    """Collect the tensors of an optimizer's state under the names of the parameters.

    Parameters
    ----------
    parameters : iterable of (str, nn.Parameter)
        `model.named_parameters()`.
    optimizer : torch.optim.Optimizer
        Whose state is keyed by the same parameters.

    Returns
    -------
    dict of str to dict of str to torch.Tensor
        Parameter to state to tensor; plain numbers (a step counter) as scalars; parameters without state left out.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in parameters:
        state = {
            key: value if isinstance(value, torch.Tensor) else _scalar(value)
            for key, value in optimizer.state.get(parameter, {}).items()
            if isinstance(value, (torch.Tensor, int, float))
        }
        if state:
            found[name] = state
    return found


def _scalar(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else torch.int64)


def flatten_states(
    states: Mapping[str, Mapping[str, torch.Tensor]], weights: Mapping[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Give every tensor of a state its name in the file.

    Raises
    ------
    CheckpointError
        A name could not be taken apart again, or a state does not belong to the weights.
    """
    slashed = [key for state in states.values() for key in state if "/" in key or not key]
    if slashed:
        raise CheckpointError(f"the state {shown(slashed[0])} has a name with '/' or none", where=where)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    require_belonging(states, shapes, where)
    return {f"{name}/{key}": tensor for name, state in states.items() for key, tensor in state.items()}


def split_states(flat: Mapping[str, torch.Tensor], where: str) -> dict[str, dict[str, torch.Tensor]]:
    """Undo `flatten_states`; the state's name is what follows the last "/".

    Raises
    ------
    CheckpointError
        A name has no "/".
    """
    wrong = [name for name in flat if not all(name.rpartition("/")[::2])]
    if wrong:
        raise CheckpointError(
            "this is not the state of an optimizer",
            where=where,
            problems=capped([shown(name) for name in wrong]),
            expected="names of the form PARAMETER/STATE",
        )
    states: dict[str, dict[str, torch.Tensor]] = {}
    for full, tensor in flat.items():
        name, _, key = full.rpartition("/")
        states.setdefault(name, {})[key] = tensor
    return states


def require_belonging(
    states: Mapping[str, Mapping[str, torch.Tensor]], shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Check that every state belongs to a weight and, where it is elementwise, has its shape.

    Raises
    ------
    CheckpointError
        Some do not; all are listed.
    """
    problems = [f"{shown(name)} is not a tensor of the checkpoint" for name in states if name not in shapes]
    problems += [
        f"{shown(f'{name}/{key}')} is {tuple(tensor.shape)}, its weight is {shapes[name]}"
        for name, state in states.items()
        if name in shapes
        for key, tensor in state.items()
        if key in ELEMENTWISE_STATES and tuple(tensor.shape) != shapes[name]
    ]
    if problems:
        raise CheckpointError(
            "the optimizer's state does not belong to these weights", where=where, problems=capped(problems)
        )
