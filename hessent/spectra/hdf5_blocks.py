"""The readers of the groups in which a spectrum file keeps its blocks, one per (type, version).

Whatever array stands in a group has the shape that its neighbours call for, or the file is refused: who derives a
measure from a block need not look twice.
"""

from __future__ import annotations

import math
from typing import Any

from hessent.spectra import encoding
from hessent.spectra.hdf5_data_groups import (
    read_exact_groups,
    read_kronecker_groups,
    read_lanczos_groups,
    read_trace_groups,
)
from hessent.spectra.hdf5_gradients import read_gradient
from hessent.spectra.hdf5_guard import GuardedGroup, require_ascending
from hessent.spectra.hdf5_kronecker import read_approximation, read_factors
from hessent.spectra.hdf5_space import read_space
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.kronecker import METHOD, KroneckerBlock
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.recurrences import Outliers, ProbeRuns, ShorterSpectrum

MOST_STEPS = 8192  # of a recurrence: its eigenvectors take the square of that
_MULTIPLICITIES = ("whole", "lower bound")


def read_block(group: GuardedGroup) -> BlockSpectrum:
    """Read one block, of whatever type it is."""
    kinds = (encoding.EXACT_BLOCK, encoding.LANCZOS_BLOCK, encoding.TRACE_BLOCK, encoding.KRONECKER_BLOCK)
    block: BlockSpectrum = read_group(group, READERS, *kinds)
    return block


def _read_exact_block(group: GuardedGroup) -> BlockSpectrum:
    fields = _block_fields(group, multiplicity="whole")
    eigenvalues = group.reals("eigenvalues", fields["size"])
    require_ascending(group, "eigenvalues", eigenvalues)
    return BlockSpectrum(
        method="exact", eigenvalues=eigenvalues, groups=read_exact_groups(group, fields["size"]), **fields
    )


def _read_lanczos_block(group: GuardedGroup) -> BlockSpectrum:
    # Files without the attribute are older than the check for further copies: nobody looked.
    fields = _block_fields(group, multiplicity="lower bound")
    outliers = read_group(group.group("outliers"), READERS, encoding.OUTLIERS) if "outliers" in group else None
    if outliers is not None and len(outliers.values) > fields["size"]:
        raise group.failure("outliers", f"are {len(outliers.values)} of a block of size {fields['size']}")
    probes = read_group(group.group("probes"), READERS, encoding.PROBES)
    return BlockSpectrum(
        method="lanczos",
        outliers=outliers,
        probes=probes,
        lambda_max=group.pair("lambda_max"),
        lambda_min=group.pair("lambda_min"),
        groups=read_lanczos_groups(group, fields["size"], probes),
        shorter=_shorter(group, fields["size"]),
        space=read_space(group, fields["size"], probes),
        **fields,
    )


def _read_trace_block(group: GuardedGroup) -> BlockSpectrum:
    estimates = group.reals("trace_estimates", None)
    if not estimates.size:
        raise group.failure("trace_estimates", "is empty")
    return BlockSpectrum(
        method="hutch++",
        trace_estimates=estimates,
        groups=read_trace_groups(group),
        **_block_fields(group, multiplicity="lower bound"),
    )


def _read_kronecker_block(group: GuardedGroup) -> KroneckerBlock:
    fields = _block_fields(group, multiplicity="whole")
    groups = read_kronecker_groups(group)
    approximation, draws = read_approximation(group)
    return KroneckerBlock(
        method=METHOD,
        groups=groups,
        pairs=read_factors(group, fields["size"], 0 if groups is None else groups.num_groups),
        approximation=approximation,
        draws=draws,
        **fields,
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
        "gradient": read_gradient(group),
        "semidefinite": group.has_attribute("semidefinite") and group.boolean("semidefinite"),
    }


def _shorter(block: GuardedGroup, size: int) -> tuple[ShorterSpectrum, ...]:
    """Read what fewer steps of a joint Krylov space gave, where it was kept; in the order of the file."""
    if "shorter" not in block:
        return ()
    spectra: tuple[ShorterSpectrum, ...] = read_group(block.group("shorter"), READERS, encoding.SHORTER)
    if any(len(spectrum.outliers.values) > size for spectrum in spectra):
        raise block.failure("shorter", f"holds more outliers than a block of size {size} can have")
    return spectra


def _read_shorter(group: GuardedGroup) -> tuple[ShorterSpectrum, ...]:
    return tuple(
        read_group(group.group(key), READERS, encoding.SHORTER_SPECTRUM) for key in sorted(group.members())
    )


def _read_shorter_spectrum(group: GuardedGroup) -> ShorterSpectrum:
    return ShorterSpectrum(
        outliers=read_group(group.group("outliers"), READERS, encoding.OUTLIERS),
        probes=read_group(group.group("probes"), READERS, encoding.PROBES),
    )


def _read_outliers(group: GuardedGroup) -> Outliers:
    values = group.reals("values", None)
    return Outliers(values=values, residuals=group.reals("residuals", len(values)))


def _read_probes(group: GuardedGroup) -> ProbeRuns:
    alphas = group.reals("alphas", None, None)
    num_probes, num_steps = alphas.shape
    if not alphas.size:
        raise group.failure("alphas", "is empty")
    if num_steps > MOST_STEPS:
        raise group.failure("alphas", f"is of {num_steps:,} steps, of which at most {MOST_STEPS:,} are read")
    simple = group.reals("simple", None) if "simple" in group else None
    if simple is not None:
        require_ascending(group, "simple", simple)
    return ProbeRuns(
        alphas=alphas,
        betas=group.reals("betas", num_probes, num_steps - 1),
        last_betas=group.reals("last_betas", num_probes),
        simple=simple,
    )


READERS: Readers = {
    encoding.EXACT_BLOCK: _read_exact_block,
    encoding.LANCZOS_BLOCK: _read_lanczos_block,
    encoding.TRACE_BLOCK: _read_trace_block,
    encoding.KRONECKER_BLOCK: _read_kronecker_block,
    encoding.OUTLIERS: _read_outliers,
    encoding.PROBES: _read_probes,
    encoding.SHORTER: _read_shorter,
    encoding.SHORTER_SPECTRUM: _read_shorter_spectrum,
}
