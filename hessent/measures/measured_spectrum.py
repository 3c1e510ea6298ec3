"""A spectrum that can be asked for its measures: what the Python face hands out."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures
from hessent.spectra import hdf5_reader
from hessent.spectra.model import Spectrum


@dataclass(frozen=True)
class MeasuredSpectrum(Spectrum):
    """Spectra of all blocks of one checkpoint, with their measures."""

    @classmethod
    def of(cls, spectrum: Spectrum) -> MeasuredSpectrum:
        """Return the same spectrum with `measures`."""
        return cls(**{entry.name: getattr(spectrum, entry.name) for entry in fields(Spectrum)})

    def measures(self, *, alpha: float = 1.0, tau_rel: float | None = None) -> dict[str, dict[str, Estimate]]:
        """Return every measure of every block.

        Parameters
        ----------
        alpha : float
            Rényi order of the entropies.
        tau_rel : float, optional
            Threshold of the ratios relative to max abs(λ); by default max(1e-3, 10 × noise of the products).

        Returns
        -------
        dict
            Block name to measure name to `Estimate`, in the model's order.
        """
        return {block.name: compute_measures(block, alpha=alpha, tau_rel=tau_rel) for block in self.blocks}


def load(path: str | os.PathLike[str]) -> MeasuredSpectrum:
    """Read a spectrum file.

    Parameters
    ----------
    path : path-like
        A `*.spectrum.h5` file.

    Raises
    ------
    SpectrumFileError
        If it is missing, damaged, or of a version this release does not read.
    """
    return MeasuredSpectrum.of(hdf5_reader.load(path))
