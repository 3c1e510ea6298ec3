"""The joint Krylov space of a block in a spectrum file: its Ritz values and where its probes lie."""

from __future__ import annotations

import numpy as np

from hessent.spectra import encoding
from hessent.spectra.hdf5_guard import GuardedGroup, require_ascending
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.probe_space import ProbeSpace
from hessent.spectra.recurrences import ProbeRuns

_UNIT = 1e-6  # by which the length of a probe may differ from one


def read_space(block: GuardedGroup, size: int, probes: ProbeRuns) -> ProbeSpace | None:
    """Read the joint space of a block of n parameters, where the file has it."""
    if "space" not in block:
        return None
    space: ProbeSpace = read_group(block.group("space"), READERS, encoding.PROBE_SPACE)
    count, dimension = space.components.shape
    if count != probes.num_probes or not 1 <= dimension <= size:
        raise block.failure("space", f"is of {count} probes in {dimension} dimensions, which do not fit the block")
    return space


def _read_space(group: GuardedGroup) -> ProbeSpace:
    components = group.reals("components", None, None)
    values = group.reals("values", components.shape[1])
    require_ascending(group, "values", values)
    if not components.size or np.abs(components).max() > 2.0:
        raise group.failure("components", "are not those of probes of unit length")
    if np.abs((components**2).sum(axis=1) - 1.0).max() > _UNIT:
        raise group.failure("components", "are not those of probes of unit length")
    return ProbeSpace(values, components)


READERS: Readers = {encoding.PROBE_SPACE: _read_space}
