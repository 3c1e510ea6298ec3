"""The process that opens an HDF5 file of unknown origin; `hdf5_process.py` starts it and talks to nobody else.

    python -I -S hdf5_child.py '{"places": […], "keys": null | […], "memory": …, …}' < FILE

The file is its standard input, and it knows no path.  Before the HDF5 library sees a byte, limits are set by which
the system ends this process: computing time, memory, no further open file, no byte written to a disk, no core dump.
Only hard links are followed, each object is entered once, and of what lies in other files nothing is read.

Standard output: one line of JSON, then the bytes of the arrays it lists, in that order, native and C-contiguous.
It imports nothing of hessent but the files beside it: it must start at once and hold nothing worth losing.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any

TASK: dict[str, Any] = json.loads(sys.argv[1])
sys.path += TASK["places"]

try:
    import h5py
    import numpy as np

    from hessent.foreign.child_datasets import FAILURES, roots, send
    from hessent.foreign.child_limits import Patience, RefusedError, open_no_more, set_limits
    from hessent.foreign.child_tree import Tree
except ImportError as error:
    print(json.dumps({"unable": f"its reader could not start: {error}"}))  # noqa: T201
    sys.exit(0)


def opened() -> Any:
    """Open standard input: by its number where it is a file, so that it need not stand in memory twice."""
    file = opened_by_number() if stat.S_ISREG(os.fstat(0).st_mode) and os.path.exists("/dev/fd/0") else None
    if file is None:
        file = h5py.h5f.open_file_image(sys.stdin.buffer.read())
    open_no_more()
    return file


def opened_by_number() -> Any:
    """Open standard input, a file; None where another was put in its place since: it has no name any more."""
    try:
        return h5py.h5f.open(b"/dev/fd/0", h5py.h5f.ACC_RDONLY)
    except OSError:
        if os.fstat(0).st_nlink:
            raise
    os.lseek(0, 0, os.SEEK_SET)
    return None


def say(header: dict[str, Any]) -> None:
    """Send the line that goes before the arrays."""
    sys.stdout.buffer.write(json.dumps(header).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def answer(file: Any, patience: Patience) -> list[Any]:
    """Send the header, and return the arrays whose bytes follow it."""
    root = h5py.h5g.open(file, b"/")
    if TASK["keys"] is None:
        tree = Tree(TASK["unpacked"], patience)
        tree.walk(root)
        say({"groups": tree.groups})
        return tree.arrays
    header, found = roots(root, TASK["keys"])
    say(header)
    return found


def main() -> int:
    """Answer for one file; 0 where everything was sent."""
    set_limits(TASK["memory"])
    patience = Patience(TASK["idle"], TASK["seconds"])
    try:
        found = answer(opened(), patience)
    except RefusedError as error:
        say({"refused": error.args})
        return 0
    except FAILURES as error:
        say({"damaged": f"{error or type(error).__name__}"})
        return 0
    try:
        for values in found:
            if isinstance(values, np.ndarray):
                sys.stdout.buffer.write(values.data)
                sys.stdout.buffer.write(bytes(-values.nbytes % 8))  # so that the next one is aligned
            else:
                send(values, patience)
        sys.stdout.buffer.flush()
    except FAILURES:
        return 1  # the header is out: that too few bytes follow it says the rest
    return 0


if __name__ == "__main__":
    os._exit(main())  # what lies about in a library that met a hostile file is not tidied up
