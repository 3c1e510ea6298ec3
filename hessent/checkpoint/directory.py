"""A directory as a checkpoint: the layout of Hugging Face, and those that are refused.

A `checkpoint-<step>/` holds `model.safetensors`, or an index with shards, or `pytorch_model.bin`, and the step in
`trainer_state.json`.  A directory of torch.distributed.checkpoint (`.metadata` and `*.distcp`) can only be read by
unpickling `.metadata` freely, that is, by running whatever it says: it is refused.
"""

from __future__ import annotations

import os
from typing import Any

from hessent.checkpoint.listing import printable, shown_list
from hessent.checkpoint.regular_file import open_regular
from hessent.checkpoint.strict_json import parse_object
from hessent.errors import CheckpointError

SAFE_FILES = ("model.safetensors", "model.safetensors.index.json")
TORCH_FILE = "pytorch_model.bin"
TRAINER_FILES = (*SAFE_FILES, TORCH_FILE)
TRAINER_STATE = "trainer_state.json"
# Beyond that it is the log of a very long run, and not worth the memory for two numbers.
MAX_TRAINER_STATE = 8 * 2**20
CONVERTER = "python -m torch.distributed.checkpoint.format_utils"


def is_checkpoint_directory(path: str) -> bool:
    """Tell whether a directory is one checkpoint (readable or not) rather than a folder of several."""
    return any(os.path.lexists(os.path.join(path, name)) for name in TRAINER_FILES) or _is_distributed(_names(path))


def file_in_directory(path: str) -> str:
    """Find the one file in a directory that holds its weights.

    Parameters
    ----------
    path : str
        The directory, as typed.

    Returns
    -------
    str
        `model.safetensors` or its index; where there is neither, `pytorch_model.bin`.

    Raises
    ------
    CheckpointError
        There is none of them, both of the first, or it is a distributed checkpoint.
    """
    names = _names(path)
    if _is_distributed(names):
        raise CheckpointError(
            "this is a checkpoint of torch.distributed; reading it would run code from its .metadata file",
            where=path,
            fix=f"where you trust it: {CONVERTER} dcp_to_torch {path} model.pt",
        )
    found = [name for name in SAFE_FILES if name in names] or [name for name in (TORCH_FILE,) if name in names]
    if len(found) == 1:
        return os.path.join(path, found[0])
    if found:
        raise CheckpointError(
            f"it holds both {' and '.join(found)}", where=path, fix=f"name one: {os.path.join(path, found[0])}"
        )
    if TORCH_FILE + ".index.json" in names:
        raise CheckpointError(
            "its shards are pickles (pytorch_model.bin.index.json)",
            where=path,
            fix="where it was made: model.save_pretrained(DIR, safe_serialization=True)",
        )
    inside = shown_list(sorted(names), 8) if names else "nothing"
    raise CheckpointError(
        f"this directory is not a checkpoint; it holds {inside}",
        where=path,
        expected=f"exactly one of {', '.join(TRAINER_FILES)}",
        fix="name one checkpoint file in it",
    )


def trainer_steps(folder: str) -> tuple[int | None, int | None]:
    """Read the step and the length of the run from `trainer_state.json`.

    Returns
    -------
    tuple of (int or None, int or None)
        `global_step` and `max_steps`; None where the file or the entry is missing or no count, or the file is
        larger than 8 MB.

    Raises
    ------
    CheckpointError
        The file is there but is not a readable JSON object.
    """
    path = os.path.join(folder, TRAINER_STATE)
    if not os.path.lexists(path):
        return None, None
    with open_regular(path) as (handle, stamp):
        if stamp.size > MAX_TRAINER_STATE:
            return None, None
        state = parse_object(handle.read(MAX_TRAINER_STATE), path, "trainer state")
    step, total_steps = (_count(state.get(key)) for key in ("global_step", "max_steps"))
    if step is not None and total_steps is not None and total_steps < max(step, 1):
        total_steps = None
    return step, total_steps


def _count(found: Any) -> int | None:
    return found if type(found) is int and 0 <= found < 2**63 else None


def _names(path: str) -> set[str]:
    try:
        return set(os.listdir(path))
    except OSError as error:
        raise CheckpointError(
            f"the directory cannot be read ({error.strerror})", where=path, fix=f"chmod u+rx {printable(path)}"
        ) from error


def _is_distributed(names: set[str]) -> bool:
    return ".metadata" in names or any(name.endswith(".distcp") for name in names)
