"""How wide the intervals of a sampled block still are: what the adaptive rule looks at."""

from __future__ import annotations

from dataclasses import dataclass

from hessent.measures.entropy import gap_functional
from hessent.measures.functionals import Functional, SpectralSums, Spread, absolute, extremes
from hessent.spectrum.model import BlockSpectrum

# A gap this small (nats) is as good as none: a spectrum that flat is not resolved relatively.
_SMALLEST_GAP = 0.01


@dataclass(frozen=True)
class Widths:
    """Relative half-widths of entropy gap and absolute trace, whichever is wider.

    Attributes
    ----------
    sampling : float
        The part due to the number of probes.
    truncation : float
        The part due to the length of the recurrences.
    total : float
        The wider of the two measures' whole half-widths.
    """

    sampling: float
    truncation: float
    total: float

    def meets(self, rtol: float) -> bool:
        """Whether both measures are within the tolerance; never for a tolerance of zero."""
        return rtol > 0.0 and self.total <= rtol


def widths(block: BlockSpectrum) -> Widths:
    """Return the relative half-widths of a sampled block."""
    if not any(value for value, _ in extremes(block)):
        return Widths(0.0, 0.0, 0.0)  # a zero matrix
    gap = _relative(*gap_functional(block, 1.0), floor=_SMALLEST_GAP)
    mass = _relative(SpectralSums(block, [absolute]), lambda s: float(s[0]), floor=0.0)
    wider = max(gap, mass, key=lambda spread: spread.half_width)
    return Widths(wider.probes, wider.quadrature, wider.half_width)


def _relative(sums: SpectralSums, functional: Functional, *, floor: float) -> Spread:
    spread = sums.spread(functional)
    size = max(abs(spread.value), floor)
    return Spread(spread.value, spread.probes / size, spread.quadrature / size)
