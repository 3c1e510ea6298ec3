"""Writing spectra as HDF5, by the layout of SPEC.md.

HDF5 opened for writing on disk does not survive a kill, and a full disk during a write ends in a segmentation
fault inside the library.  So the image is built in memory and written whole, by one rename.  It holds no timestamp
and its members are in the order of their names: the same spectrum gives the same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import h5py

from hessent import __version__
from hessent.estimate import Estimate
from hessent.spectra import encoding
from hessent.spectra.derived import Budget
from hessent.spectra.hdf5_block_writer import write_block
from hessent.spectra.hdf5_packing import mark, new_group, put, write_arrays, write_json
from hessent.spectra.model import Spectrum, TensorProbe
from hessent.spectra.split import BlockSplit
from hessent.storage.whole_file import write_whole

Measures = Mapping[str, Mapping[str, Estimate]]  # block name -> measure -> estimate
Budgets = Mapping[str, Mapping[str, Budget]]  # block name -> measure -> part -> half-width


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
    write_whole(path, to_bytes(spectrum, measures=measures, budgets=budgets))


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
    mark(file, encoding.SPECTRUM)
    put(file, complete=spectrum.complete, curvature=spectrum.curvature, seed=spectrum.seed)
    put(file, loss=spectrum.loss.name, loss_value=float(spectrum.loss.value))
    blocks = new_group(file, "blocks", encoding.BLOCKS)
    width = max(3, len(str(len(spectrum.blocks) - 1)))
    for index, block in enumerate(spectrum.blocks):
        write_block(blocks, f"{index:0{width}d}", block)
    _write_model(new_group(file, "model", encoding.MODEL), spectrum)
    if spectrum.tensor_probe is not None:
        _write_tensor_probe(new_group(file, "paper", encoding.TENSOR_PROBE), spectrum.tensor_probe)
    _write_provenance(new_group(file, "provenance", encoding.PROVENANCE), spectrum)
    if spectrum.split:
        _write_split(new_group(file, "split", encoding.SPLIT), spectrum.split)


def _write_model(group: h5py.Group, spectrum: Spectrum) -> None:
    put(group, arch=spectrum.checkpoint.arch)
    write_json(group, "arch_options", spectrum.checkpoint.arch_options)


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
        write_json(group, name, document)


def _write_measures(block: h5py.Group, estimates: Mapping[str, Estimate], budgets: Mapping[str, Budget]) -> None:
    group = new_group(block, "measures", encoding.MEASURES)
    put(group, version=__version__)
    records = [
        _record(name, estimate) | {"budget": _finite(budgets.get(name))} for name, estimate in estimates.items()
    ]
    write_json(group, "estimates", records)
    populations = [
        _record(name, estimate.population)
        for name, estimate in estimates.items()
        if estimate.population is not None
    ]
    if populations:
        write_json(group, "populations", populations)


def _record(name: str, estimate: Estimate) -> dict[str, Any]:
    fields = ("value", "low", "high", "exact", "reason")
    return {"measure": name, **{field: getattr(estimate, field) for field in fields}}


def _finite(budget: Budget | None) -> dict[str, float | None] | None:
    """Return a budget with None for what is not a number: an unlimited part is one that was not measured."""
    if budget is None:
        return None
    return {part: width if width is not None and math.isfinite(width) else None for part, width in budget.items()}


def _write_tensor_probe(group: h5py.Group, probe: TensorProbe) -> None:
    write_json(group, "names", probe.names)
    write_arrays(group, gaps=probe.gaps, sizes=probe.sizes, sums=probe.sums)


def _write_split(group: h5py.Group, split: tuple[BlockSplit, ...]) -> None:
    width = max(3, len(str(len(split) - 1)))
    for index, block in enumerate(split):
        part = new_group(group, f"{index:0{width}d}", encoding.SPLIT_BLOCK)
        put(part, exact=block.exact, name=block.name, noise=float(block.noise), size=block.size)
        write_arrays(part, moments=block.moments)
