"""Writing a spectrum together with its measures, for readers that cannot wait until they are derived."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures, error_budget
from hessent.spectra.hdf5_writer import write_spectrum
from hessent.spectra.model import BlockSpectrum, Spectrum


@dataclass(frozen=True)
class _Measured:
    """A block with its measures and the parts of their errors."""

    block: BlockSpectrum
    measures: dict[str, Estimate]
    budget: dict[str, dict[str, float | None]]


class MeasuredWriter:
    """Writes spectra of one run; what a block's measures are is computed again only where the block has changed."""

    def __init__(self) -> None:
        self._measured: dict[str, _Measured] = {}

    def write(self, path: str | os.PathLike[str], spectrum: Spectrum) -> None:
        """Write a spectrum with its measures at Rényi order 1 and the default threshold.

        Parameters
        ----------
        path : path-like
            Target; an existing file is replaced by a rename.
        spectrum : Spectrum
            What was measured.

        Raises
        ------
        StorageError
            If the file cannot be written; the one that was there is then still whole.
        """
        measured = {block.name: self._measures_of(block) for block in spectrum.blocks}
        write_spectrum(
            path,
            spectrum,
            measures={name: known.measures for name, known in measured.items()},
            budgets={name: known.budget for name, known in measured.items()},
        )

    def _measures_of(self, block: BlockSpectrum) -> _Measured:
        """Measures and error budget of a block; most blocks are what they were when last written."""
        known = self._measured.get(block.name)
        if known is None or known.block is not block:
            known = _Measured(block, compute_measures(block), error_budget(block))
            self._measured[block.name] = known
        return known
