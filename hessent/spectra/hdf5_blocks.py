"""The readers of the groups in which a spectrum file keeps its blocks, one per (type, version).

Whatever array stands in a group has the shape that its neighbours call for, or the file is refused: who derives a
measure from a block need not look twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hessent.spectra import encoding
from hessent.spectra.hdf5_guard import GuardedGroup
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.model import BlockSpectrum, DataGroups, Outliers, ProbeRuns

Float64Array = NDArray[np.float64]

_MULTIPLICITIES = ("whole", "lower bound")
_MOST_ITEMS = 1 << 48  # of one group of the data: sums and products with it must not overflow


def read_block(group: GuardedGroup) -> BlockSpectrum:
    """Read one block, of whatever type it is."""
    kinds = (encoding.EXACT_BLOCK, encoding.LANCZOS_BLOCK, encoding.XTRACE_BLOCK)
    block: BlockSpectrum = read_group(group, READERS, *kinds)
    return block


def _read_exact_block(group: GuardedGroup) -> BlockSpectrum:
    fields = _block_fields(group, multiplicity="whole")
    eigenvalues = group.reals("eigenvalues", fields["size"])
    _require_ascending(group, "eigenvalues", eigenvalues)
    return BlockSpectrum(
        method="exact", eigenvalues=eigenvalues, groups=_exact_groups(group, fields["size"]), **fields
    )


def _read_lanczos_block(group: GuardedGroup) -> BlockSpectrum:
    # Files without the attribute are older than the check for further copies: nobody looked.
    fields = _block_fields(group, multiplicity="lower bound")
    outliers = None
    if "outliers" in group:
        outliers = read_group(group.group("outliers"), READERS, encoding.OUTLIERS)
        if len(outliers.values) > fields["size"]:
            raise group.failure("outliers", f"are {len(outliers.values)} of a block of size {fields['size']}")
    probes = read_group(group.group("probes"), READERS, encoding.PROBES)
    return BlockSpectrum(
        method="lanczos",
        outliers=outliers,
        probes=probes,
        lambda_max=group.pair("lambda_max"),
        lambda_min=group.pair("lambda_min"),
        groups=_lanczos_groups(group, 0 if outliers is None else len(outliers.values), probes),
        **fields,
    )


def _read_xtrace_block(group: GuardedGroup) -> BlockSpectrum:
    estimates = group.reals("trace_estimates", None)
    if not estimates.size:
        raise group.failure("trace_estimates", "is empty")
    return BlockSpectrum(
        method="xtrace",
        trace_estimates=estimates,
        groups=_xtrace_groups(group),
        **_block_fields(group, multiplicity="lower bound"),
    )


def _block_fields(group: GuardedGroup, *, multiplicity: str) -> dict[str, Any]:
    """Return what all blocks share; `multiplicity` is that of a file that does not say."""
    if group.has_attribute("multiplicity"):
        multiplicity = group.text("multiplicity")
        if multiplicity not in _MULTIPLICITIES:
            raise group.failure("multiplicity", f"is '{multiplicity}', not {' or '.join(_MULTIPLICITIES)}")
    noise_floor = group.real("noise_floor") if group.has_attribute("noise_floor") else 0.0
    if not 0.0 <= noise_floor < math.inf:
        raise group.failure("noise_floor", f"is {noise_floor}, not a finite number from 0")
    return {
        "name": group.text("name"),
        "size": group.integer("size", least=1),
        "parameters": group.names("parameters"),
        "num_matvecs": group.integer("num_matvecs", least=0),
        "converged": group.boolean("converged"),
        "status": group.text("status"),
        "noise": group.real("noise"),
        "noise_floor": noise_floor,
        "multiplicity": multiplicity,
    }


def _read_outliers(group: GuardedGroup) -> Outliers:
    values = group.reals("values", None)
    return Outliers(values=values, residuals=group.reals("residuals", len(values)))


def _read_probes(group: GuardedGroup) -> ProbeRuns:
    alphas = group.reals("alphas", None, None)
    num_probes, num_steps = alphas.shape
    if not alphas.size:
        raise group.failure("alphas", "is empty")
    simple = group.reals("simple", None) if "simple" in group else None
    if simple is not None:
        _require_ascending(group, "simple", simple)
    return ProbeRuns(
        alphas=alphas,
        betas=group.reals("betas", num_probes, num_steps - 1),
        last_betas=group.reals("last_betas", num_probes),
        simple=simple,
        traces=group.reals("traces", num_probes) if "traces" in group else None,
    )


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


def _exact_groups(block: GuardedGroup, size: int) -> DataGroups | None:
    """Read the groups of an exact block: eigenvalues without each, or (large blocks) projections of each."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    if found.left_out is not None:
        _require_absent(group, outliers=found.outliers, probes=found.probes)
        _require_shape(group, "left_out", found.left_out, (size,))
        _require_ascending(group, "left_out", found.left_out)
        return found
    count = 0 if found.outliers is None else min(found.outliers.shape[1], size - 1)
    if found.outliers is not None:
        _require_shape(group, "outliers", found.outliers, (count, count))
    _require_projections(group, found.probes, (size, size))
    return found


def _lanczos_groups(block: GuardedGroup, num_outliers: int, probes: ProbeRuns) -> DataGroups | None:
    """Read the groups of a sampled block: projections on the spaces of its outliers and of its probes."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    _require_absent(group, left_out=found.left_out)
    if num_outliers:
        _require_shape(group, "outliers", found.outliers, (num_outliers, num_outliers))
    else:
        _require_absent(group, outliers=found.outliers)
    _require_projections(group, found.probes, (probes.num_probes, probes.num_steps))
    return found


def _xtrace_groups(block: GuardedGroup) -> DataGroups | None:
    """Read the groups of a block of which only the trace was measured: the trace of each."""
    if "groups" not in block:
        return None
    group, found = _groups(block)
    _require_absent(group, left_out=found.left_out, outliers=found.outliers, probes=found.probes)
    _require_shape(group, "traces", found.traces, ())
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


def _require_projections(group: GuardedGroup, array: Float64Array | None, most: tuple[int, int]) -> None:
    """Refuse projections (g, p', m', m') that are missing, empty, not square, or of too many probes or steps."""
    if array is None:
        raise group.failure("probes", "is missing")
    probes, steps, columns = array.shape[1:]
    if steps != columns or not 0 < probes <= most[0] or not 0 < steps <= most[1]:
        limit = f"at most {most[0]} square ones of at most {most[1]} steps"
        raise group.failure("probes", f"holds {array.shape[1:]} projections per group of the data, not {limit}")


def _require_ascending(group: GuardedGroup, name: str, array: Float64Array) -> None:
    if (np.diff(array, axis=-1) < 0).any():
        raise group.failure(name, "are not in ascending order")


READERS: Readers = {
    encoding.EXACT_BLOCK: _read_exact_block,
    encoding.LANCZOS_BLOCK: _read_lanczos_block,
    encoding.XTRACE_BLOCK: _read_xtrace_block,
    encoding.OUTLIERS: _read_outliers,
    encoding.PROBES: _read_probes,
    encoding.DATA_GROUPS: _read_data_groups,
}
