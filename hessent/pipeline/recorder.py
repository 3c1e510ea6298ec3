"""Writing the spectrum file while a measurement runs, so that little is lost whenever it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from hessent.measures.written import MeasuredWriter
from hessent.pipeline.observer import Observer
from hessent.spectra.model import BlockSpectrum, Spectrum

_SECONDS_BETWEEN = 60.0
_SHARE = 0.03  # of the time may go into snapshots


class Recorder:
    """An observer that passes progress on and keeps the file up to date.

    The first look is written at once.  While blocks are refined the file is rewritten every 60 s at most, and so
    seldom that writing takes no more than about 3 % of the time.

    Parameters
    ----------
    observer : Observer
        Told of everything.
    assemble : callable
        Returns what is known so far.
    target : path-like
        The file.
    """

    def __init__(
        self, observer: Observer, assemble: Callable[[], Spectrum], target: str | os.PathLike[str]
    ) -> None:
        self._observer = observer
        self._assemble = assemble
        self._target = target
        self._next = time.monotonic() + _SECONDS_BETWEEN  # when the next snapshot may be written
        self._writer = MeasuredWriter()
        self.noted = observer.noted
        self.started = observer.started
        self.advanced = observer.advanced
        self.should_stop = observer.should_stop

    def first_look(self, blocks: Sequence[BlockSpectrum]) -> None:
        """Write a readable snapshot and show it."""
        self.write()
        self._observer.first_look(blocks)

    def refined(self, block: BlockSpectrum) -> None:
        """Write a snapshot if it is time for one."""
        if time.monotonic() >= self._next:
            self.write()
        self._observer.refined(block)

    def write(self) -> Spectrum:
        """Write what is known so far and return it.

        Raises
        ------
        StorageError
            If the file cannot be written; the one that was there is then still whole.
        """
        begin = time.monotonic()
        spectrum = self._assemble()
        self._writer.write(self._target, spectrum)
        end = time.monotonic()
        self._next = end + max(_SECONDS_BETWEEN, (end - begin) / _SHARE)
        return spectrum
