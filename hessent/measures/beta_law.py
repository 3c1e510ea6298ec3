"""How many of d eigenvalues lie beyond a threshold, given the mass that random probes found there.

The share of a probe's mass on K of d eigenvalues follows the Beta law with parameters K/2 and (d − K)/2: an
isotropic unit vector has that squared component in K dimensions.  The mean over q probes is taken to follow the
Beta law with q times those parameters, which has the same mean and, for q > 1, a slightly larger variance.  The
limits of K are those counts that leave 1.25 % in the tail in question: half of what 95 % would allow, for
where the recurrences close there is nothing else to spare, and outliers are deflated only as far as they converged.
Student's t, which knows the probes' scatter alone, covers 0.87–0.92 where few eigenvalues lie beyond: their masses
are skewed, and a scatter that happens to be small makes the mean look sure.
"""

from __future__ import annotations

from collections.abc import Callable

import scipy  # its parts load on first use: a table of a ready file needs none of them

_TAIL = 0.0125
_ROUNDING = 1e-12  # of a mass: as good as nothing, even where d = 1e8 and the least weights are 1e-8 · χ²


def counts_beyond(lower: float, upper: float, num_probes: int, dimension: int) -> tuple[int, int]:
    """Return the smallest and the largest number K of eigenvalues beyond the threshold that the masses allow.

    Parameters
    ----------
    lower, upper : float
        Means over the probes of lower and of upper bounds on the mass beyond the threshold, 0…1.
    num_probes : int
        Number of probes q.
    dimension : int
        Dimension d of the space the probes live in.

    Returns
    -------
    tuple of int
        The smallest K under which a mean mass of `lower` or more is no rarer than 1.25 %, and the largest under
        which one of `upper` or less is not. Where a mass fits between two counts and to neither, both of them.
    """
    fewest = _fewest(lower, num_probes, dimension)
    most = dimension - _fewest(1.0 - upper, num_probes, dimension)
    return min(fewest, most), max(fewest, most)


def _fewest(mass: float, num_probes: int, dimension: int) -> int:
    """Return the smallest count under which a mean mass of `mass` or more is no rarer than 1.25 %."""
    if mass <= _ROUNDING:
        return 0
    if mass >= 1.0 - _ROUNDING:
        return dimension
    return _first(lambda count: _at_most(mass, count, num_probes, dimension) < 1.0 - _TAIL, dimension)


def _at_most(mass: float, count: int, num_probes: int, dimension: int) -> float:
    """P(mean mass ≤ mass) if `count` of the eigenvalues lie beyond the threshold; falls with the count."""
    if count == 0:
        return 1.0
    return float(scipy.special.betainc(num_probes * count / 2, num_probes * (dimension - count) / 2, mass))


def _first(holds: Callable[[int], bool], last: int) -> int:
    """Return the smallest of 0 … last where `holds`, by halving; `last` where it holds nowhere before."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
