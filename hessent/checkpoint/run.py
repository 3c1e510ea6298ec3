"""A training run: a directory with the checkpoints of one training in it, put in order.

What counts is what a checkpoint says about its own step; the number in a file's name stands in only where none of
them says anything, because a name is easily wrong.  Two runs mixed in one folder would give a curve of neither, so
that is refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from hessent.checkpoint.directory import is_checkpoint_directory
from hessent.checkpoint.listing import capped, printable, shown, shown_list
from hessent.checkpoint.optimizer_names import OPTIMIZER_SUFFIX
from hessent.checkpoint.reader import INDEX_SUFFIX, SAFETENSORS_SUFFIX, TORCH_SUFFIXES, Checkpoint, open_checkpoint
from hessent.checkpoint.shards import read_weight_map
from hessent.errors import CheckpointError

# What training programs put beside the weights under the same endings.
_NOT_WEIGHTS = re.compile(
    r"(optimizer|scheduler|scaler|training_args|rng_state\w*|random_states\w*|sampler\w*)\.\w+"
)
_STEP_IN_NAME = re.compile(r"(?:step|checkpoint|ckpt|iter|model|epoch)[-_=]?([0-9]{1,15})(?![0-9])")
# An `arrays:` data file may lie beside the checkpoints that name it.
_DATA_ARRAYS = {"x", "y"}


@dataclass(frozen=True)
class RunEntry:
    """One checkpoint of a run.

    Attributes
    ----------
    path : str
        Below the directory as typed.
    step : int
        Optimizer steps done (or, where only names tell, the number in the name).
    progress : float
        Share of the run, 0…1.
    """

    path: str
    step: int
    progress: float


@dataclass(frozen=True)
class Run:
    """The checkpoints of a training run.

    Attributes
    ----------
    path : str
        The directory as typed.
    checkpoints : tuple of RunEntry
        By step, ascending.
    notes : tuple of str
        Sentences: what was left out, and where the steps come from.
    """

    path: str
    checkpoints: tuple[RunEntry, ...]
    notes: tuple[str, ...] = ()


def open_run(directory: str) -> Run:
    """Find the checkpoints directly inside a directory and put them in order.

    Parameters
    ----------
    directory : str
        As typed.

    Returns
    -------
    Run
        With at least one checkpoint.

    Raises
    ------
    CheckpointError
        There are none; some cannot be read; steps are missing, repeated or of two kinds; or the checkpoints are of
        different runs.  All that is concerned is listed.
    """
    if not os.path.isdir(directory):
        raise CheckpointError(
            "this is not a directory" if os.path.lexists(directory) else "there is no such directory",
            where=directory,
            expected="a directory with the checkpoints of one run",
        )
    paths, notes = _candidates(directory)
    opened = [checkpoint for checkpoint in _open_all(paths, directory) if set(checkpoint.tensors) != _DATA_ARRAYS]
    if not opened:
        raise CheckpointError(
            "there are no checkpoints in it",
            where=directory,
            expected=f"*{SAFETENSORS_SUFFIX}, *{INDEX_SUFFIX}, *{', *'.join(TORCH_SUFFIXES)} or checkpoint-N/",
        )
    _require_one_run(opened, directory)
    steps = _steps(opened, directory, notes)
    known_totals = [checkpoint.metadata.total_steps for checkpoint in opened if checkpoint.metadata.total_steps]
    total_steps = max([*known_totals, *steps.values()])
    entries = [RunEntry(path, step, step / total_steps if total_steps else 0.0) for path, step in steps.items()]
    return Run(directory, tuple(sorted(entries, key=lambda entry: entry.step)), tuple(notes))


def _candidates(directory: str) -> tuple[list[str], list[str]]:
    """List what looks like a checkpoint, without the shards of an index, links to others, and companions."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise CheckpointError(f"the directory cannot be read ({error.strerror})", where=directory) from error
    folders = [name for name in names if _is_checkpoint_folder(os.path.join(directory, name))]
    if is_checkpoint_directory(directory) and not folders:
        return [directory], []
    files = [
        name for name in names if _looks_like_weights(name) and not os.path.isdir(os.path.join(directory, name))
    ]
    notes = []
    if is_checkpoint_directory(directory):
        # The final weights that a trainer puts beside its checkpoint-N/ repeat the last of these.
        files = []
        notes.append(f"only the {len(folders)} folders were read, not the weights beside them")
    shards = {
        shard
        for name in files
        if name.endswith(INDEX_SUFFIX)
        for shard in read_weight_map(os.path.join(directory, name)).values()
    }
    kept = [name for name in (*files, *folders) if name not in shards]
    links = [name for name in kept if _links_to_one_of(directory, name, kept)]
    if links:
        notes.append(f"links to other checkpoints were left out: {shown_list(links)}")
    return [os.path.join(directory, name) for name in kept if name not in links], notes


def _looks_like_weights(name: str) -> bool:
    if name.startswith(".") or name.endswith(OPTIMIZER_SUFFIX) or _NOT_WEIGHTS.fullmatch(name):
        return False
    return name.endswith((SAFETENSORS_SUFFIX, INDEX_SUFFIX, *TORCH_SUFFIXES))


def _is_checkpoint_folder(path: str) -> bool:
    return os.path.isdir(path) and is_checkpoint_directory(path)


def _links_to_one_of(directory: str, name: str, others: list[str]) -> bool:
    path = os.path.join(directory, name)
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    return any(target == os.path.join(os.path.realpath(directory), other) for other in others if other != name)


def _open_all(paths: list[str], directory: str) -> list[Checkpoint]:
    opened, problems = [], []
    for path in paths:
        try:
            opened.append(open_checkpoint(path))
        except CheckpointError as error:
            problems.append(f"{printable(os.path.basename(path))}: {error.found}")
    if problems:
        raise CheckpointError(
            f"{len(problems)} of {len(paths)} checkpoints cannot be read",
            where=directory,
            problems=capped(problems),
            fix="move them out of the folder, or save them again",
        )
    return opened


def _require_one_run(opened: list[Checkpoint], directory: str) -> None:
    for what in ("total_steps", "arch", "seed"):
        values: dict[object, str] = {}
        for checkpoint in opened:
            values.setdefault(getattr(checkpoint.metadata, what), os.path.basename(checkpoint.path))
        values.pop(None, None)
        if len(values) > 1:
            raise CheckpointError(
                "the checkpoints of different runs are mixed in it",
                where=directory,
                problems=capped([f"{shown(name)} has {what} {value}" for value, name in values.items()]),
                fix="one folder for each run",
            )


def _steps(opened: list[Checkpoint], directory: str, notes: list[str]) -> dict[str, int]:
    told = {checkpoint.path: checkpoint.metadata.step for checkpoint in opened}
    steps = {path: step for path, step in told.items() if step is not None}
    if not steps:
        steps = {path: number for path in told if (number := _number_in_name(path)) is not None}
        notes.append("the checkpoints do not say their steps; the numbers in their names were taken")
    silent = [path for path in told if path not in steps]
    if silent:
        raise CheckpointError(
            f"{len(silent)} of {len(opened)} checkpoints do not say their step",
            where=directory,
            problems=capped([shown(os.path.basename(path)) for path in silent]),
            expected="hessent.step in the metadata of all, or a number such as step-000123 in the names of all",
            fix="move what does not belong to the run out of the folder",
        )
    by_step: dict[int, list[str]] = {}
    for path, step in steps.items():
        by_step.setdefault(step, []).append(os.path.basename(path))
    repeated = [f"step {step}: {shown_list(names)}" for step, names in sorted(by_step.items()) if len(names) > 1]
    if repeated:
        raise CheckpointError(
            "several checkpoints are of one step",
            where=directory,
            problems=capped(repeated),
            fix="keep one of each step in the folder, one folder for each run",
        )
    return steps


def _number_in_name(path: str) -> int | None:
    numbers = _STEP_IN_NAME.findall(os.path.basename(os.path.normpath(path)))
    return int(numbers[-1]) if numbers else None
