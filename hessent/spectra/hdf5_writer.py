"""Writing spectra as HDF5, by the layout of SPEC.md.

HDF5 opened for writing on disk does not survive a kill, and a full disk during a write ends in a segmentation
fault inside the library.  So the image is built in memory and written whole, by one rename.  It holds no timestamp
and its members are in the order of their names: the same spectrum gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hessent import __version__
from hessent.estimate import Estimate
from hessent.spectra import encoding
from hessent.spectra.atomic_file import write_atomically
from hessent.spectra.derived import Budget
from hessent.spectra.encoding import Encoding
from hessent.spectra.model import BlockSpectrum, Outliers, ProbeRuns, Spectrum, TensorProbe

Measures = Mapping[str, Mapping[str, Estimate]]  # block name -> measure -> estimate
Budgets = Mapping[str, Mapping[str, Budget]]  # block name -> measure -> part -> half-width

# Long arrays are cut into chunks of 1 MiB, so that a reader never has to hold more than one packed chunk.
_CHUNK_ENTRIES = 1 << 17

_STORED_TYPES = {"f": "<f8", "i": "<i8", "u": "|u1"}  # reals, counts, bytes of text


def write_spectrum(
    path: str | os.PathLike[str],
    spectrum: Spectrum,
    *,
    measures: Measures | None = None,
    budgets: Budgets | None = None,
) -> None:
    """Write `spectrum` to the HDF5 file `path`: whole, or not at all.

    Parameters
    ----------
    path : path-like
        Target; an existing file is replaced by a rename.
    spectrum : Spectrum
        What was measured.
    measures : mapping, optional
        Block name -> measure -> estimate, at Rényi order 1 and the default threshold: kept for readers that cannot
        wait until they are derived from the coefficients.
    budgets : mapping, optional
        Block name -> measure -> half-width by origin, kept with the measures.

    Raises
    ------
    StorageError
        If the file cannot be written; an old file is then still there, whole.
    """
    write_atomically(path, to_bytes(spectrum, measures=measures, budgets=budgets))


def to_bytes(spectrum: Spectrum, *, measures: Measures | None = None, budgets: Budgets | None = None) -> bytes:
    """Return the content of the spectrum file: the same bytes for the same spectrum."""
    with h5py.File(
        "spectrum.h5",
        "w",
        driver="core",
        backing_store=False,
        libver=("v110", "v110"),
        userblock_size=encoding.PREAMBLE_SIZE,
    ) as file:
        _write_root(file, spectrum)
        for key, block in zip(sorted(file["blocks"]), spectrum.blocks, strict=True):
            if measures and block.name in measures:
                ready = (budgets or {}).get(block.name, {})
                _write_measures(file["blocks"][key], measures[block.name], ready)
        file.flush()
        image: bytes = file.id.get_file_image()
    return encoding.preamble(image) + image


def _write_root(file: h5py.File, spectrum: Spectrum) -> None:
    _mark(file, encoding.SPECTRUM)
    _put(file, complete=spectrum.complete, curvature=spectrum.curvature, seed=spectrum.seed)
    _put(file, loss=spectrum.loss.name, loss_value=float(spectrum.loss.value))
    blocks = _group(file, "blocks", encoding.BLOCKS)
    width = max(3, len(str(len(spectrum.blocks) - 1)))
    for index, block in enumerate(spectrum.blocks):
        _write_block(blocks, f"{index:0{width}d}", block)
    _write_model(_group(file, "model", encoding.MODEL), spectrum)
    if spectrum.tensor_probe is not None:
        _write_tensor_probe(_group(file, "paper", encoding.TENSOR_PROBE), spectrum.tensor_probe)
    _write_provenance(_group(file, "provenance", encoding.PROVENANCE), spectrum)


def _write_model(group: h5py.Group, spectrum: Spectrum) -> None:
    _put(group, arch=spectrum.checkpoint.arch)
    _write_json(group, "arch_options", spectrum.checkpoint.arch_options)


def _write_provenance(group: h5py.Group, spectrum: Spectrum) -> None:
    checkpoint = spectrum.checkpoint
    documents: dict[str, Any] = {
        "checkpoint": {
            "path": checkpoint.path,
            "sha256": checkpoint.sha256,
            "step": checkpoint.step,
            "total_steps": checkpoint.total_steps,
            "optimizer": checkpoint.optimizer,
            "metrics": checkpoint.metrics,
            "stored_dtype": checkpoint.stored_dtype,
        },
        "checks": spectrum.checks,
        "data": vars(spectrum.data),
        "settings": spectrum.settings,
        "versions": spectrum.versions,
    }
    for name, document in documents.items():
        _write_json(group, name, document)


def _write_block(parent: h5py.Group, key: str, block: BlockSpectrum) -> None:
    exact = block.eigenvalues is not None
    group = _group(parent, key, encoding.EXACT_BLOCK if exact else encoding.LANCZOS_BLOCK)
    _put(group, name=block.name, size=block.size, num_matvecs=block.num_matvecs)
    _put(group, converged=block.converged, status=block.status, noise=float(block.noise))
    for name, pair in (("lambda_max", block.lambda_max), ("lambda_min", block.lambda_min)):
        if pair is not None:
            group.attrs[name] = np.array(pair, dtype="<f8")  # (Ritz value, residual norm)
    if block.eigenvalues is not None:
        _write_array(group, "eigenvalues", block.eigenvalues)
    if block.outliers is not None:
        _write_outliers(_group(group, "outliers", encoding.OUTLIERS), block.outliers)
    _write_json(group, "parameters", block.parameters)
    if block.probes is not None:
        _write_probes(_group(group, "probes", encoding.PROBES), block.probes)


def _write_outliers(group: h5py.Group, outliers: Outliers) -> None:
    _write_array(group, "residuals", outliers.residuals)
    _write_array(group, "values", outliers.values)


def _write_probes(group: h5py.Group, probes: ProbeRuns) -> None:
    _write_array(group, "alphas", probes.alphas)
    _write_array(group, "betas", probes.betas)
    _write_array(group, "last_betas", probes.last_betas)


def _write_measures(block: h5py.Group, estimates: Mapping[str, Estimate], budgets: Mapping[str, Budget]) -> None:
    group = _group(block, "measures", encoding.MEASURES)
    _put(group, version=__version__)
    records = [
        {"measure": name, **asdict(estimate), "budget": budgets.get(name)} for name, estimate in estimates.items()
    ]
    _write_json(group, "estimates", records)


def _write_tensor_probe(group: h5py.Group, probe: TensorProbe) -> None:
    _write_array(group, "gaps", probe.gaps)
    _write_json(group, "names", probe.names)
    _write_array(group, "sizes", probe.sizes)
    _write_array(group, "sums", probe.sums)


def _group(parent: h5py.Group, name: str, kind: Encoding) -> h5py.Group:
    group = parent.create_group(name)
    _mark(group, kind)
    return group


def _mark(group: h5py.Group, kind: Encoding) -> None:
    group.attrs[encoding.TYPE_ATTRIBUTE] = np.bytes_(kind[0])
    group.attrs[encoding.VERSION_ATTRIBUTE] = np.bytes_(kind[1])


def _put(group: h5py.Group, **attributes: str | bool | int | float) -> None:
    for name, value in attributes.items():
        group.attrs[name] = encoding.encode_text(value) if isinstance(value, str) else value


def _write_json(group: h5py.Group, name: str, document: Any) -> None:
    _write_array(group, name, np.frombuffer(encoding.encode_json(document), dtype=np.uint8))


def _write_array(group: h5py.Group, name: str, array: NDArray[Any]) -> None:
    """Store `array` little-endian, packed and with a checksum; an empty one has no bytes to pack."""
    array = array.astype(_STORED_TYPES[array.dtype.kind])
    packing: dict[str, Any] = {}
    if array.size:
        row = min(array.shape[-1], _CHUNK_ENTRIES)
        num_rows = min(array.shape[0], max(1, _CHUNK_ENTRIES // row))
        packing = {
            "chunks": (num_rows, row)[-array.ndim :],
            "compression": "gzip",
            "shuffle": True,
            "fletcher32": True,
        }
    group.create_dataset(name, data=array, track_times=False, **packing)
