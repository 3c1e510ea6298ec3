"""Whether two runs of a block can be compared probe by probe, and whether they are one and the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from hessent.spectra.model import BlockSpectrum


def obstacle_to_pairing(
    run: BlockSpectrum, reference: BlockSpectrum, *, same_seed: bool, same_samples: bool
) -> str | None:
    """Return why differences between two blocks cannot be paired (a short clause), None where they can.

    Parameters
    ----------
    run, reference : BlockSpectrum
        A block of two runs.
    same_seed, same_samples : bool
        Whether the runs had the same seed, and the same fingerprint of their data.
    """
    if run.name != reference.name:
        return "they are not the same block"
    if run.size != reference.size:
        return f"sizes differ: {run.size:,} and {reference.size:,} parameters"
    if not same_samples:
        return "the data differ"
    if run.eigenvalues is not None and reference.eigenvalues is not None:
        return None
    if run.method != reference.method:
        return "one is exact" if "exact" in (run.method, reference.method) else "methods differ"
    if not same_seed:
        return "seeds differ"
    counts = _num_probes(run), _num_probes(reference)
    return None if counts[0] == counts[1] else f"numbers of probes differ: {counts[0]} and {counts[1]}"


def identical(run: BlockSpectrum, reference: BlockSpectrum) -> bool:
    """Return whether two blocks have bitwise the same coefficients."""
    if (run.name, run.size, run.method) != (reference.name, reference.size, reference.method):
        return False
    pairs = [(getattr(run, name), getattr(reference, name)) for name in ("eigenvalues", "trace_estimates")]
    pairs += [(run.noise, reference.noise), (run.noise_floor, reference.noise_floor)]
    for name in ("outliers", "probes"):
        own, other = getattr(run, name), getattr(reference, name)
        if (own is None) != (other is None):
            return False
        if own is not None:
            pairs += [(getattr(own, entry.name), getattr(other, entry.name)) for entry in fields(own)]
    return all(_equal(own, other) for own, other in pairs)


def _equal(own: Any, other: Any) -> bool:
    if own is None or other is None:
        return own is other
    return np.array_equal(np.asarray(own), np.asarray(other))


def _num_probes(block: BlockSpectrum) -> int:
    if block.trace_estimates is not None:
        return len(block.trace_estimates)
    return 0 if block.probes is None else block.probes.num_probes
