"""What a comparison asks of the spectra of its runs: those options of `hessent spectrum` that `compare` takes.

Reading ready spectra needs no torch, so this file loads none before a measurement is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hessent.pipeline.request import SpectrumRequest


@dataclass(frozen=True)
class Asked:
    """Options as typed; None means "not said".

    Attributes
    ----------
    arch, data : str or None
        Names, as for `hessent spectrum`.
    samples, seed : int or None
        Choice of the data, and of the probes.
    full : bool
        Whether the whole matrix is measured too.
    rtol : float or None
        Target relative half-width.
    max_matvecs : int or None
        Budget of products per block.
    """

    arch: str | None = None
    data: str | None = None
    samples: int | None = None
    full: bool = True
    rtol: float | None = None
    max_matvecs: int | None = None
    seed: int | None = None

    def request(self, checkpoint: str, curvature: str, precondition: str = "none") -> SpectrumRequest:
        """Return the request that measures a curvature of a checkpoint, preconditioned or not, as asked.

        Raises
        ------
        UsageError
            Listing all values that are out of range.
        """
        from hessent.pipeline.accuracy import Accuracy
        from hessent.pipeline.request import DIAGONAL, KFAC, PLAIN, TRACE, SpectrumRequest

        return SpectrumRequest(
            checkpoint=checkpoint,
            curvature=curvature,
            precondition=PLAIN if precondition == DIAGONAL else precondition,
            normalization=DIAGONAL if precondition == DIAGONAL else TRACE,
            arch=self.arch,
            data=self.data,
            samples=self.samples,
            full=self.full,
            rtol=None if curvature == KFAC else self.rtol,  # K-FAC takes no products
            seed=self.seed,
            accuracy=Accuracy(max_matvecs=None if curvature == KFAC else self.max_matvecs),
        )
