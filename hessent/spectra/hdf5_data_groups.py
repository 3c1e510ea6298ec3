"""Reading what the groups of the data contribute to a block, and whether it fits the block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hessent.spectra import encoding
from hessent.spectra.hdf5_guard import GuardedGroup, require_ascending
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.recurrences import DataGroups, ProbeRuns

Float64Array = NDArray[np.float64]

_MOST_ITEMS = 1 << 48  # of one group of the data: sums and products with it must not overflow


def _read_data_groups(group: GuardedGroup) -> DataGroups:
    items = group.integers("items", None)
    if len(items) < 2 or (items < 1).any() or (items > _MOST_ITEMS).any():
        raise group.failure("items", f"is not two or more group sizes from 1 to {_MOST_ITEMS:,}")
    fraction = group.real("sampled_fraction")
    if not 0.0 <= fraction <= 1.0:
        raise group.failure("sampled_fraction", f"is {fraction}, not a share from 0 to 1")
    count = len(items)
    return DataGroups(
        items=items,
        sampled_fraction=fraction,
        left_out=group.reals("left_out", count, None) if "left_out" in group else None,
        outliers=group.reals("outliers", count, None, None) if "outliers" in group else None,
        probes=group.reals("probes", count, None, None, None) if "probes" in group else None,
        traces=group.reals("traces", count) if "traces" in group else None,
    )


def read_exact_groups(block: GuardedGroup, size: int) -> DataGroups | None:
    """Read the groups of an exact block: eigenvalues without each, or (large blocks) projections of each."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    if found.left_out is not None:
        _require_absent(group, outliers=found.outliers, probes=found.probes)
        _require_shape(group, "left_out", found.left_out, (size,))
        require_ascending(group, "left_out", found.left_out)
        return found
    _require_projections(group, found, size, (size, size))
    return found


def read_lanczos_groups(block: GuardedGroup, size: int, probes: ProbeRuns) -> DataGroups | None:
    """Read the groups of a sampled block: projections on the spaces of outliers and of its probes."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    _require_absent(group, left_out=found.left_out)
    _require_projections(group, found, size, (probes.num_probes, probes.num_steps))
    return found


def read_trace_groups(block: GuardedGroup) -> DataGroups | None:
    """Read the groups of a block of which only the trace was measured: the trace of each."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    _require_absent(group, left_out=found.left_out, outliers=found.outliers, probes=found.probes)
    _require_shape(group, "traces", found.traces, ())
    return found


def read_kronecker_groups(block: GuardedGroup) -> DataGroups | None:
    """Read the groups of a block of K-FAC: their items alone, as its factors hold what is left without each."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    _require_absent(
        group, left_out=found.left_out, outliers=found.outliers, probes=found.probes, traces=found.traces
    )
    return found


def _groups(block: GuardedGroup) -> tuple[GuardedGroup, DataGroups]:
    group = block.group("groups")
    return group, read_group(group, READERS, encoding.DATA_GROUPS)


def _require_absent(group: GuardedGroup, **arrays: Float64Array | None) -> None:
    for name, array in arrays.items():
        if array is not None:
            raise group.failure(name, "does not belong to this block")


def _require_shape(group: GuardedGroup, name: str, array: Float64Array | None, shape: tuple[int, ...]) -> None:
    """Refuse an array that is missing or has not this shape per group of the data."""
    if array is None:
        raise group.failure(name, "is missing")
    if array.shape[1:] != shape:
        raise group.failure(name, f"holds {array.shape[1:]} numbers per group of the data, not {shape}")


def _require_projections(group: GuardedGroup, found: DataGroups, size: int, most: tuple[int, int]) -> None:
    """Refuse projections that are missing, empty, not square, of the whole space, of too many probes or steps."""
    if found.outliers is not None:
        count = min(found.outliers.shape[1], size - 1)
        _require_shape(group, "outliers", found.outliers, (count, count))
    if found.probes is None:
        raise group.failure("probes", "is missing")
    probes, steps, columns = found.probes.shape[1:]
    if steps != columns or not 0 < probes <= most[0] or not 0 < steps <= most[1]:
        limit = f"at most {most[0]} square ones of at most {most[1]} steps"
        raise group.failure(
            "probes", f"holds {found.probes.shape[1:]} projections per group of the data, not {limit}"
        )


READERS: Readers = {encoding.DATA_GROUPS: _read_data_groups}
