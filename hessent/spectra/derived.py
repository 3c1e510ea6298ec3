"""Measures as they were derived when a file was written, kept beside the coefficients.

Deriving all of them takes seconds for a large model; a table of a ready file must not.  They are a convenience: the
coefficients are the truth, and whoever wants another Rényi order or threshold, or runs another version of hessent,
derives them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hessent.estimate import Estimate

Budget = Mapping[str, float | None]
"""Half-width by origin ("probes", "quadrature", "data", "precision"); None where not measured."""


@dataclass(frozen=True)
class DerivedMeasures:
    """The measures of one block at Rényi order 1 and the default threshold.

    Attributes
    ----------
    version : str
        Version of hessent that derived them.
    estimates : mapping of str to Estimate
        By measure, in the order of the registry.
    budgets : mapping of str to mapping
        By measure, for those whose error is split.
    """

    version: str
    estimates: Mapping[str, Estimate]
    budgets: Mapping[str, Budget] = field(default_factory=dict)
