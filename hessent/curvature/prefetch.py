"""Data read ahead by a thread, so that a device that works by itself never waits for the next micro-batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_AHEAD = 2  # micro-batches: one that is being moved, one that is being read
_PATIENCE = 0.1  # seconds between two looks at whether anybody still listens


def prefetched(items: Iterable[Item], prepare: Callable[[Item], Item]) -> Iterator[Item]:
    """Yield prepared items in order, while a thread reads and prepares those that come next.

    Parameters
    ----------
    items : iterable
        What is read.  Only the thread touches it.
    prepare : callable
        Applied to every item in the thread, such as a copy to pinned memory.

    Raises
    ------
    Exception
        Whatever reading or preparing raises, after the items before it.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def offer(entry: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                offer((prepare(item), None))
        except BaseException as error:  # handed to whoever waits for the item
            offer((None, error))
        else:
            offer((None, StopIteration()))

    reader = threading.Thread(target=read, name="read ahead", daemon=True)
    reader.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item unless there is an error
    finally:
        stopped.set()
        reader.join()
