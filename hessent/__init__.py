"""hessent: spectra of the loss curvature around saved checkpoints, each number with its error.

    import hessent

    problem = hessent.Problem(model, "cross-entropy", batches)
    spectrum = hessent.spectrum(problem, blocks="layer", rtol=0.05, out="run.spectrum.h5")
    spectrum.measures()["full"]["entropy_gap"]          # Estimate(value, low, high, exact)

Importing the package loads neither torch nor matplotlib; a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hessent.curvature.problem import Problem
    from hessent.estimate import Estimate
    from hessent.measures.measured_spectrum import MeasuredSpectrum, load
    from hessent.pipeline.compared_runs import compare
    from hessent.pipeline.python_face import operator, spectrum
    from hessent.report.checks.gate import check

__version__ = "0.6.0"
__all__ = [
    "Estimate",
    "MeasuredSpectrum",
    "Problem",
    "__version__",
    "check",
    "compare",
    "load",
    "operator",
    "spectrum",
]

_HOMES = {
    "Estimate": "hessent.estimate",
    "MeasuredSpectrum": "hessent.measures.measured_spectrum",
    "Problem": "hessent.curvature.problem",
    "check": "hessent.report.checks.gate",
    "compare": "hessent.pipeline.compared_runs",
    "load": "hessent.measures.measured_spectrum",
    "operator": "hessent.pipeline.python_face",
    "spectrum": "hessent.pipeline.python_face",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hessent' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
