"""Where the probes of a joint Krylov space lie in it: what pairs two runs better than their recurrences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProbeSpace:
    """The joint Krylov space of the p probes of a block, in the basis of its Ritz vectors.

    Attributes
    ----------
    values : Float64Array
        All Ritz values, ascending; those of the deflated pairs are among them. Shape (M,).
    components : Float64Array
        Components of the probes along the Ritz vectors. Each probe, as it was drawn, lies in the space and is of
        unit length; the sign of a column means nothing. Shape (p, M).
    """

    values: Float64Array  # (M,)
    components: Float64Array  # (p, M)
