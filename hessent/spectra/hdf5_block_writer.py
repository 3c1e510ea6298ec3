"""Writing one block of a spectrum into an HDF5 group, by the layout of SPEC.md."""

from __future__ import annotations

import h5py
import numpy as np

from hessent.spectra import encoding
from hessent.spectra.gradients import REDUCED, BlockGradient
from hessent.spectra.hdf5_packing import new_group, put, write_arrays, write_json
from hessent.spectra.kronecker import METHOD, KroneckerBlock
from hessent.spectra.model import BlockSpectrum
from hessent.spectra.probe_space import ProbeSpace
from hessent.spectra.recurrences import DataGroups, Outliers, ProbeRuns, ShorterSpectrum

_BLOCK_KINDS = {
    "exact": encoding.EXACT_BLOCK,
    "lanczos": encoding.LANCZOS_BLOCK,
    "hutch++": encoding.TRACE_BLOCK,
    METHOD: encoding.KRONECKER_BLOCK,
}


def write_block(parent: h5py.Group, key: str, block: BlockSpectrum) -> None:
    """Write one block as the member `key` of a group; `parent` need not lie in an HDF5 file, if it behaves so."""
    group = new_group(parent, key, _BLOCK_KINDS[block.method])
    put(group, name=block.name, size=block.size, num_matvecs=block.num_matvecs)
    put(group, converged=block.converged, status=block.status, noise=float(block.noise))
    put(group, multiplicity=block.multiplicity, noise_floor=float(block.noise_floor))
    if block.semidefinite:
        put(group, semidefinite=True)
    for name, pair in (("lambda_max", block.lambda_max), ("lambda_min", block.lambda_min)):
        if pair is not None:
            group.attrs[name] = np.array(pair, dtype="<f8")  # (Ritz value, residual norm)
    if isinstance(block, KroneckerBlock):
        _write_factors(group, block)
    else:
        write_arrays(group, eigenvalues=block.eigenvalues, trace_estimates=block.trace_estimates)
    if block.gradient is not None:
        _write_gradient(new_group(group, "gradient", encoding.GRADIENT), block.gradient)
    if block.groups is not None:
        _write_data_groups(new_group(group, "groups", encoding.DATA_GROUPS), block.groups)
    if block.outliers is not None:
        _write_outliers(new_group(group, "outliers", encoding.OUTLIERS), block.outliers)
    write_json(group, "parameters", block.parameters)
    if block.probes is not None:
        _write_probes(new_group(group, "probes", encoding.PROBES), block.probes)
    if block.shorter:
        _write_shorter(new_group(group, "shorter", encoding.SHORTER), block.shorter)
    if block.space is not None:
        _write_space(new_group(group, "space", encoding.PROBE_SPACE), block.space)


def _write_factors(group: h5py.Group, block: KroneckerBlock) -> None:
    put(group, approximation=block.approximation, draws=block.draws)
    factors = new_group(group, "factors", encoding.FACTORS)
    width = max(3, len(str(len(block.pairs) - 1)))
    for index, pair in enumerate(block.pairs):
        write_arrays(
            new_group(factors, f"{index:0{width}d}", encoding.FACTOR_PAIR),
            inputs=pair.inputs,
            inputs_left_out=pair.inputs_left_out,
            outputs=pair.outputs,
            outputs_left_out=pair.outputs_left_out,
        )


def _write_outliers(group: h5py.Group, outliers: Outliers) -> None:
    write_arrays(group, residuals=outliers.residuals, values=outliers.values)


def _write_probes(group: h5py.Group, probes: ProbeRuns) -> None:
    write_arrays(
        group,
        alphas=probes.alphas,
        betas=probes.betas,
        last_betas=probes.last_betas,
        simple=probes.simple,
    )


def _write_shorter(group: h5py.Group, shorter: tuple[ShorterSpectrum, ...]) -> None:
    for index, spectrum in enumerate(shorter):
        part = new_group(group, f"{index:03d}", encoding.SHORTER_SPECTRUM)
        _write_outliers(new_group(part, "outliers", encoding.OUTLIERS), spectrum.outliers)
        _write_probes(new_group(part, "probes", encoding.PROBES), spectrum.probes)


def _write_data_groups(group: h5py.Group, groups: DataGroups) -> None:
    put(group, sampled_fraction=float(groups.sampled_fraction))
    write_arrays(
        group,
        items=groups.items,
        left_out=groups.left_out,
        outliers=groups.outliers,
        probes=groups.probes,
        traces=groups.traces,
    )


def _write_gradient(group: h5py.Group, gradient: BlockGradient) -> None:
    put(group, batch_size=gradient.batch_size, rounding=float(gradient.rounding))
    put(group, sampled_fraction=float(gradient.sampled_fraction))
    left_out = np.zeros((0, len(REDUCED))) if gradient.left_out is None else gradient.left_out
    write_arrays(
        group, items=gradient.items, reduced=np.concatenate([gradient.total[None], left_out, gradient.batches])
    )
    if gradient.along is not None:
        write_arrays(
            group,
            residuals=gradient.along.residuals,
            shares=gradient.along.shares,
            values=gradient.along.values,
        )


def _write_space(group: h5py.Group, space: ProbeSpace) -> None:
    write_arrays(group, components=space.components, values=space.values)
