"""The readers of the groups of a spectrum file around its blocks, one per (type, version)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hessent.estimate import Estimate
from hessent.spectra import encoding
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.hdf5_blocks import read_block
from hessent.spectra.hdf5_guard import GuardedGroup
from hessent.spectra.hdf5_split import read_split
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.model import BlockSpectrum, Spectrum, TensorProbe
from hessent.spectra.provenance import CheckpointInfo, DataInfo, LossInfo

_CHECKPOINT_FIELDS: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "sha256": (str,),
    "step": (int, type(None)),
    "total_steps": (int, type(None)),
    "optimizer": (dict,),
    "metrics": (dict,),
    "stored_dtype": (str,),
}
_NUMBER = (float, int, type(None))
_POPULATION_FIELDS: dict[str, tuple[type, ...]] = {
    "measure": (str,),
    "value": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "exact": (bool,),
    "reason": (str, type(None)),
}
_ESTIMATE_FIELDS = {**_POPULATION_FIELDS, "budget": (dict, type(None))}
_BUDGET_FIELDS = dict.fromkeys(("probes", "quadrature", "data", "precision"), _NUMBER)
_DATA_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "samples": (int,),
    "available": (int,),
    "sha256": (str,),
    "synthetic": (bool,),
}


def read_root(root: GuardedGroup) -> Spectrum:
    """Read the whole file, its stored measures left out."""
    spectrum: Spectrum = read_group(root, READERS, encoding.SPECTRUM)
    return spectrum


def _read_spectrum(root: GuardedGroup) -> Spectrum:
    provenance: dict[str, Any] = read_group(root.group("provenance"), READERS, encoding.PROVENANCE)
    arch, arch_options = read_group(root.group("model"), READERS, encoding.MODEL)
    return Spectrum(
        checkpoint=CheckpointInfo(arch=arch, arch_options=arch_options, **provenance["checkpoint"]),
        data=provenance["data"],
        loss=LossInfo(name=root.text("loss"), value=root.real("loss_value")),
        curvature=root.text("curvature"),
        seed=root.integer("seed"),
        complete=root.boolean("complete"),
        settings=provenance["settings"],
        versions=provenance["versions"],
        checks=provenance["checks"],
        blocks=read_group(root.group("blocks"), READERS, encoding.BLOCKS),
        tensor_probe=read_group(root.group("paper"), READERS, encoding.TENSOR_PROBE) if "paper" in root else None,
        split=read_split(root),
    )


def _read_model(group: GuardedGroup) -> tuple[str, Mapping[str, Any]]:
    return group.text("arch"), group.mapping("arch_options")


def _read_provenance(group: GuardedGroup) -> dict[str, Any]:
    checkpoint = dict(group.typed_mapping("checkpoint", _CHECKPOINT_FIELDS))
    checkpoint["metrics"] = _floats(group, "checkpoint", checkpoint["metrics"])
    return {
        "checkpoint": checkpoint,
        "data": DataInfo(**group.typed_mapping("data", _DATA_FIELDS)),
        "settings": group.mapping("settings"),
        "versions": group.mapping("versions"),
        "checks": _floats(group, "checks", group.mapping("checks")),
    }


def _floats(group: GuardedGroup, name: str, mapping: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a JSON object; those that are not finite stand there as words."""
    try:
        return {key: float(value) for key, value in mapping.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise group.failure(name, f"holds something other than numbers ({error})") from error


def _read_blocks(group: GuardedGroup) -> tuple[BlockSpectrum, ...]:
    return tuple(read_block(group.group(key)) for key in sorted(group.members()))


def read_derived(root: GuardedGroup) -> dict[str, DerivedMeasures]:
    """Return the measures that the file stores, by block name; blocks without any are left out."""
    derived = {}
    blocks = root.group("blocks")
    for key in sorted(blocks.members()):
        block = blocks.group(key)
        if "measures" in block:
            derived[block.text("name")] = read_group(block.group("measures"), READERS, encoding.MEASURES)
    return derived


def _read_measures(group: GuardedGroup) -> DerivedMeasures:
    records = group.typed_records("estimates", _ESTIMATE_FIELDS)
    estimates = {record["measure"]: _estimate(record) for record in records}
    if "populations" in group:
        for record in group.typed_records("populations", _POPULATION_FIELDS):
            name = record["measure"]
            if name not in estimates:
                raise group.failure("populations", f"holds '{name}', which 'estimates' does not")
            estimates[name] = replace(estimates[name], population=_estimate(record))
    return DerivedMeasures(
        version=group.text("version"),
        estimates=estimates,
        budgets={
            record["measure"]: _budget(group, record["budget"])
            for record in records
            if record["budget"] is not None
        },
    )


def _estimate(record: Mapping[str, Any]) -> Estimate:
    return Estimate(**{field: record[field] for field in ("value", "low", "high", "exact", "reason")})


def _budget(group: GuardedGroup, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a budget with its parts in the order in which they are shown; JSON in files has sorted keys."""
    parts = group.typed("estimates", stored, _BUDGET_FIELDS)
    return {part: parts[part] for part in _BUDGET_FIELDS}


def _read_tensor_probe(group: GuardedGroup) -> TensorProbe:
    names = group.names("names")
    count = len(names)
    return TensorProbe(
        names=names,
        sizes=group.integers("sizes", count),
        sums=group.reals("sums", count),
        gaps=group.reals("gaps", count),
    )


READERS: Readers = {
    encoding.SPECTRUM: _read_spectrum,
    encoding.PROVENANCE: _read_provenance,
    encoding.MODEL: _read_model,
    encoding.BLOCKS: _read_blocks,
    encoding.MEASURES: _read_measures,
    encoding.TENSOR_PROBE: _read_tensor_probe,
}
