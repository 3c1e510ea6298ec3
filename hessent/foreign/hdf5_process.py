"""HDF5 files of strangers are read in a process of its own: a crafted one makes the library crash or hang.

A checksum is no proof of origin, because whoever changes a file can write the checksum anew; so there is no file
that is trusted, our own ones neither.  `hdf5_child.py` opens the file there, under limits of time and memory, and
writes what it found to its standard output.  This side never hands a byte of the file to the library, believes
nothing of the answer that it has not counted, and waits no longer than the size of the file justifies.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

Answer = TypeVar("Answer")

CHILD = Path(__file__).with_name("hdf5_child.py")
SECONDS = 3.0  # of computing, which any file may take, and a large one without a sign of progress
MEMORY = 256 * 2**20  # bytes beside what the arrays take
BUSY = 40  # seconds on the clock for one of computing, where others want the processor too
_SECONDS_PER_BYTE = 2.5e-7  # on the clock; slower than any disk that data are kept on
_MOST_HEADER_BYTES = 24 * 2**20
_SECONDS_TO_END = 30.0  # on the clock, for a child whose output has ended


class UnreadableError(ValueError):
    """An HDF5 file is not read.

    Parameters
    ----------
    found : str
        What is wrong with it, as a clause.
    problems : tuple of str, optional
        Single findings, where there are several.
    damaged : bool, optional
        Whether writing the file again would help; otherwise it is sound, but of a form that is not read.
    """

    def __init__(self, found: str, *, problems: tuple[str, ...] = (), damaged: bool = False) -> None:
        super().__init__(found)
        self.found = found
        self.problems = problems
        self.damaged = damaged


@dataclass(frozen=True)
class Task:
    """What the child shall send, and what that may take.

    Attributes
    ----------
    keys : tuple of str or None
        Names of arrays at the root; None for the whole tree.
    memory : int
        Bytes it may hold beside `MEMORY`.
    unpacked : int
        Bytes that all arrays of a tree may unpack to.
    seconds : float
        Of computing, until it knows what the file holds.
    """

    keys: tuple[str, ...] | None
    memory: int
    unpacked: int = 0
    seconds: float = SECONDS


@contextmanager
def conversation(
    source: BinaryIO | bytes, task: Task
) -> Iterator[tuple[Mapping[str, Any], Callable[[int], bytearray]]]:
    """Start the child on a file and yield its header, and a function that takes the bytes that follow.

    Parameters
    ----------
    source : binary file or bytes
        The file, opened at its beginning and real (it has a number), or its content.
    task : Task
        What is asked.

    Yields
    ------
    header : mapping
        What the child said; never one that says why it does not read the file.
    take : callable
        Returns the next bytes, as many as it is asked for.

    Raises
    ------
    UnreadableError
        If the file is damaged or of a form that is not read, or the child crashed or took too long.
    """
    limits = {"memory": MEMORY + task.memory, "unpacked": task.unpacked, "idle": SECONDS, "seconds": task.seconds}
    words = json.dumps({"places": _places(), "keys": task.keys, **limits})
    # -I and -S: neither the folder of the script nor any setting of the user's is searched for modules.
    command = [sys.executable, "-I", "-S", str(CHILD), words]
    given = subprocess.PIPE if isinstance(source, bytes) else source
    try:
        started = subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        )
    except OSError as error:
        raise UnreadableError(f"no process could be started to read it in ({error.strerror})") from error
    with started as child:
        waiting = BUSY * task.seconds
        try:
            header = _within(waiting, child, lambda: _ask(child, source))
            yield _understood(header, child), lambda count: _take(child, count, waiting + count * _SECONDS_PER_BYTE)
        finally:
            child.kill()


def _ask(child: subprocess.Popen[bytes], source: BinaryIO | bytes) -> bytes:
    """Give the child the content where it is not a file, and return its first line."""
    if isinstance(source, bytes):
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(source)
    assert child.stdout is not None
    return child.stdout.readline(_MOST_HEADER_BYTES)


def _take(child: subprocess.Popen[bytes], count: int, seconds: float) -> bytearray:
    """Return the next `count` bytes of the child's output."""
    buffer = bytearray(count)
    pipe: IO[bytes] | None = child.stdout
    assert pipe is not None

    def fill() -> int:
        view, done = memoryview(buffer), 0
        while done < count and (more := pipe.readinto(view[done:])):  # type: ignore[attr-defined]
            done += more
        return done

    if _within(seconds, child, fill) < count:
        raise _ended(child)
    return buffer


def _within(seconds: float, child: subprocess.Popen[bytes], work: Callable[[], Answer]) -> Answer:
    """Do something with the child's pipes, and end the child if that takes longer than `seconds`."""
    watchdog = threading.Timer(seconds, child.kill)
    watchdog.start()
    try:
        return work()
    finally:
        watchdog.cancel()


def _understood(line: bytes, child: subprocess.Popen[bytes]) -> Mapping[str, Any]:
    """Return the header, unless it says why the file is not read."""
    if not line.endswith(b"\n"):
        raise _ended(child)
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("the process that read it did not answer in its language") from error
    if not isinstance(header, dict):
        raise UnreadableError("the process that read it did not answer in its language")
    if "refused" in header:
        problems = tuple(str(problem) for problem in header["refused"])
        raise UnreadableError("it is of a form that is not read", problems=problems)
    if "unable" in header:
        raise UnreadableError(str(header["unable"]))
    if "damaged" in header:
        raise UnreadableError(f"the HDF5 library cannot read it ({header['damaged']})", damaged=True)
    return header


def _ended(child: subprocess.Popen[bytes]) -> UnreadableError:
    """Say how a child ended that did not answer, or only in part."""
    try:
        code = child.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
    if code == -signal.SIGKILL or (hasattr(signal, "SIGXCPU") and code == -signal.SIGXCPU):
        return UnreadableError("reading it takes longer, or more memory, than its size explains", damaged=True)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return UnreadableError(f"the HDF5 library crashed on it ({name})", damaged=True)
    return UnreadableError("the HDF5 library could not read all of it", damaged=True)


def _places() -> list[str]:
    """Return the folders in which the child finds what it imports: those that this process would take."""
    found = [importlib.util.find_spec(name) for name in ("hessent", "h5py", "numpy")]
    places = [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None]
    return list(dict.fromkeys(places))


def _environment() -> dict[str, str]:
    """Return the environment of the child: one thread, and no plug-ins for the library."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    plain = {"HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HDF5_", "PYTHON"))}
    return kept | single | plain


def array_at(content: bytearray, begin: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array that begins at a byte of what was taken from a conversation."""
    count = math.prod(shape)
    if not count:  # numpy refuses an empty buffer
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype, count, begin).reshape(shape)
