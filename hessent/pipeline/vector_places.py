"""Where the vectors of a run go that do not fit in `--memory`: host memory beside a GPU, then a file.

The file is made beside the output, else in the folder for temporary files, and takes three tenths of what is free
on that disk at most.  A folder that lies in memory itself is passed over: nothing would be gained.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hessent.curvature.selfcheck import PRODUCTS_PER_BLOCK
from hessent.eigensolver.overflow import Overflow
from hessent.eigensolver.settings import LEAST_ROOM, SolverSettings, is_joint, joint_probes, sampled_matvecs
from hessent.pipeline.resources import available_memory
from hessent.report.preflight import size_text

# Vectors in float64 that a step takes for every column while it lasts: the column as it is asked for and the sum of
# its products, then the image, what is left of it and the factors of that.
_OF_A_STEP = 8
_SHARE = 0.3  # of the free disk: the journal holds the vectors a second time, and others need some too
_IN_MEMORY = ("tmpfs", "ramfs")


def overflow_for(device: torch.device, output: Path | None) -> Overflow:
    """Return what vectors may take beyond the memory of the device.

    Parameters
    ----------
    device : torch.device
        Where products are computed.
    output : Path or None
        The file that the result goes to.
    """
    host = available_memory(torch.device("cpu")) if device.type == "cuda" else 0
    folders = [Path(tempfile.gettempdir())] if output is None else [output.parent, Path(tempfile.gettempdir())]
    for folder in folders:
        if os.access(folder, os.W_OK | os.X_OK) and not lies_in_memory(folder):
            return Overflow(host, int(_SHARE * shutil.disk_usage(folder).free), str(folder))
    return Overflow(host)


def lies_in_memory(folder: Path) -> bool:
    """Whether files in a folder take memory instead of a disk."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.is_file():
        return False
    number = folder.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    for line in mounts.read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == device:
            return right.split()[0] in _IN_MEMORY
    return False


@dataclass(frozen=True)
class PlannedVectors:
    """Bytes of a sampled block's vectors by place, as far as products are planned (at first)."""

    memory: int
    host: int
    file: int

    @property
    def total(self) -> int:
        """All together."""
        return self.memory + self.host + self.file


def planned_vectors(settings: SolverSettings, size: int, itemsize: int, spent: int) -> PlannedVectors:
    """Return where the vectors of a sampled block go.

    Parameters
    ----------
    settings : SolverSettings
        Those of the block.
    size, itemsize : int
        Parameters of the block, and bytes of each of them.
    spent : int
        Products already spent on it.
    """
    each = size * itemsize
    vectors, room = sampled_matvecs(settings, size, spent), settings.room(size, itemsize)
    if not settings.only_trace and not is_joint(settings, size, itemsize):
        return PlannedVectors(each * min(vectors, max(room, LEAST_ROOM)), 0, 0)
    in_memory = min(vectors, room)
    on_host = min(vectors - in_memory, settings.overflow.host // each)
    in_file = min(vectors - in_memory - on_host, settings.overflow.file // each)
    least = min(vectors, LEAST_ROOM) - in_memory - on_host - in_file  # kept in any case
    return PlannedVectors(each * (in_memory + max(least, 0)), each * on_host, each * in_file)


def step_bytes(size: int, columns: int) -> int:
    """Return what a step of a sampled block takes beside the vectors that it keeps.

    Parameters
    ----------
    size, columns : int
        Parameters of the block, and vectors that are multiplied at once.
    """
    return _OF_A_STEP * torch.float64.itemsize * size * columns


def bytes_of_all_steps(settings: SolverSettings, sizes: Sequence[int], *, one_by_one: bool) -> int:
    """Return what the steps of sampled blocks take that are under way at the same time.

    Parameters
    ----------
    settings : SolverSettings
    sizes : sequence of int
        Parameters of each block.
    one_by_one : bool
        Whether blocks are multiplied one after another.  Two steps count then: what a block does between products
        goes on while the next one is multiplied.
    """
    taken = sorted(step_bytes(size, joint_probes(settings, size, PRODUCTS_PER_BLOCK)) for size in sizes)
    return sum(taken[-2:] if one_by_one else taken)


class SpillNotes:
    """Tells that vectors go to a file: once for all blocks of which it was planned, and once for each other block.

    Parameters
    ----------
    planned : mapping of str to PlannedVectors
        The vectors of every sampled block.
    folder : str or None
        Where the file is.
    notify : callable
        Told the sentences.
    """

    def __init__(
        self, planned: Mapping[str, PlannedVectors], folder: str | None, notify: Callable[[str], None]
    ) -> None:
        self._planned, self._folder, self._notify = planned, folder, notify
        self._told: set[str] = set()

    def spilled(self, block: str, nbytes: int) -> None:
        """Take note that `nbytes` more of a file are in use for a block."""
        if block in self._told:
            return
        planned = {name: vectors for name, vectors in self._planned.items() if vectors.file > 0}
        if block not in planned:  # it needs more products than were planned
            planned = {block: replace(self._planned[block], file=nbytes)}
        self._told |= planned.keys()
        names = f"'{block}'" if len(planned) == 1 else f"{len(planned):,} blocks"
        total = sum(vectors.total for vectors in planned.values())
        filed = sum(vectors.file for vectors in planned.values())
        self._notify(
            f"vectors of {names} ({size_text(total)}) exceed --memory: "
            f"{size_text(filed)} of them are kept in a file in {self._folder}"
        )
