"""The folder of a run: what may be written into it, and which of its checkpoints are already there.

A folder that holds checkpoints of this very run (same settings, same data) is taken up where it stopped; any
other content is refused.  `force` discards the checkpoints in it and begins anew; other files are never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.reader import SAFETENSORS_SUFFIX, open_checkpoint
from hessent.errors import StorageError, UsageError
from hessent.training.identity import differences

_OURS = re.compile(r"step-\d{6,}(\.optim)?\.safetensors")


@dataclass(frozen=True)
class Finished:
    """A checkpoint that an earlier call of the same run has saved."""

    path: str
    metadata: CheckpointMetadata


def checkpoint_path(out: str, step: int) -> str:
    """Return the path of the checkpoint after `step` updates: ``OUT/step-000123.safetensors``."""
    return os.path.join(out, f"step-{step:06d}{SAFETENSORS_SUFFIX}")


def open_run_folder(
    out: str, shared: CheckpointMetadata, milestones: Sequence[int], *, force: bool
) -> tuple[Finished, ...]:
    """Make the folder of a run ready to be written to.

    Parameters
    ----------
    out : str
        The folder, as typed; made if it is not there.
    shared : CheckpointMetadata
        What all checkpoints of the run have in common.
    milestones : sequence of int
        Steps at which the run saves, ascending.
    force : bool
        Discard the checkpoints that are there, and begin anew.

    Returns
    -------
    tuple of Finished
        The checkpoints of this run that are there, from the first milestone on without a gap.

    Raises
    ------
    UsageError
        If the folder is a file, or holds something else than this run and `force` is off.
    StorageError
        If the folder cannot be made or written.
    """
    try:
        os.makedirs(out, exist_ok=True)
        names = sorted(name for name in os.listdir(out) if not name.startswith("."))
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            "this is a file", where=out, expected="a folder for the run", fix="another --out"
        ) from error
    except OSError as error:
        raise StorageError(f"it cannot be used: {error.strerror}", where=out, fix="another --out") from error
    if force:
        for name in filter(_OURS.fullmatch, names):
            os.remove(os.path.join(out, name))
        return ()
    finished = _finished(out, milestones)
    problems = [problem for found in finished for problem in differences(found.metadata, shared)]
    if problems or (names and not finished):
        raise _refusal(out, names, list(dict.fromkeys(problems)))
    return finished


def _finished(out: str, milestones: Sequence[int]) -> tuple[Finished, ...]:
    found = []
    for step in milestones:
        path = checkpoint_path(out, step)
        if not os.path.exists(path):
            break
        found.append(Finished(path, open_checkpoint(path).metadata))
    return tuple(found)


def _refusal(out: str, names: Sequence[str], problems: Sequence[str]) -> UsageError:
    if problems:
        return UsageError(
            "there is a run of other settings",
            where=out,
            problems=problems,
            fix="another --out, the settings of that run to go on with it, or --force to discard its checkpoints",
        )
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return UsageError(
        f"the folder is not empty: {listed}",
        where=out,
        expected="an empty or new folder, or a run of the same settings",
        fix="another --out, or --force, which discards step-….safetensors files and leaves all others",
    )
