"""How wide the intervals of a sampled block still are: what the adaptive rule looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from hessent.measures.entropy import gap_functional
from hessent.measures.functionals import Functional, SpectralSums, extremes, scale_of
from hessent.measures.replicates import Spread
from hessent.measures.spectral_functions import absolute
from hessent.spectra.model import BlockSpectrum

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

    def lengthening_pays(self, num_probes: int, num_steps: int) -> bool:
        """Whether doubling the steps narrows the interval more per product than adding two probes.

        Doubling costs q·m products and about halves the truncation; two probes cost 2 m and shrink the sampling
        part by the ratio of the t quantiles and of the root of the numbers of probes.
        """
        if num_probes < 2:
            return False
        t_now, t_then = stdtrit(num_probes - 1, 0.975), stdtrit(num_probes + 1, 0.975)
        kept = float(t_then / t_now) * math.sqrt(num_probes / (num_probes + 2))
        by_steps = 0.5 * self.truncation / (num_probes * num_steps)
        by_probes = (1 - kept) * self.sampling / (2 * num_steps)
        return by_steps > by_probes


def widths(block: BlockSpectrum) -> Widths:
    """Return the relative half-widths of a sampled block."""
    if not any(value for value, _ in extremes(block)):
        return Widths(0.0, 0.0, 0.0)  # a zero matrix
    gap = _relative(*gap_functional(block, 1.0), floor=_SMALLEST_GAP)
    mass = _relative(SpectralSums(block, [absolute]), lambda s: float(s[0]), floor=0.0)
    wider = max(gap, mass, key=lambda spread: spread.half_width)
    return Widths(wider.probes, wider.quadrature, wider.half_width)


def square_sum(block: BlockSpectrum) -> float:
    """Return an estimate of Σ λ² of a sampled block, in the square of the eigenvalues' unit."""
    return SpectralSums(block, [np.square]).spread(lambda s: float(s[0])).value * scale_of(block) ** 2


def _relative(sums: SpectralSums, functional: Functional, *, floor: float) -> Spread:
    spread = sums.spread(functional)
    size = max(abs(spread.value), floor)
    return Spread(spread.value, spread.probes / size, spread.quadrature / size, spread.precision / size)
