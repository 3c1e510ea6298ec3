"""The readers of the groups of a spectrum file, one per (type, version).

`READERS` is the table; the function of an old version stays when a new one comes, so that every file that was ever
released can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hessent.errors import SpectrumFileError
from hessent.estimate import Estimate
from hessent.spectra import encoding
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.encoding import Encoding
from hessent.spectra.hdf5_guard import COMPUTE_AGAIN, GuardedGroup
from hessent.spectra.model import (
    BlockSpectrum,
    CheckpointInfo,
    DataInfo,
    LossInfo,
    Outliers,
    ProbeRuns,
    Spectrum,
    TensorProbe,
)

_CHECKPOINT_FIELDS: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "sha256": (str,),
    "step": (int, type(None)),
    "total_steps": (int, type(None)),
    "optimizer": (dict,),
    "metrics": (dict,),
    "stored_dtype": (str,),
}
_ESTIMATE_FIELDS: dict[str, tuple[type, ...]] = {
    "measure": (str,),
    "value": (float, int, type(None)),
    "low": (float, int, type(None)),
    "high": (float, int, type(None)),
    "exact": (bool,),
    "reason": (str, type(None)),
    "budget": (dict, type(None)),
}
_DATA_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "samples": (int,),
    "available": (int,),
    "sha256": (str,),
    "synthetic": (bool,),
}


def read_group(group: GuardedGroup, *types: str) -> Any:
    """Read a group with the reader of its type and version.

    Parameters
    ----------
    group : GuardedGroup
        The group.
    *types : str
        The encoding types that may stand at this place.

    Raises
    ------
    SpectrumFileError
        If the group is of another type, or of a version that is not in `READERS`.
    """
    kind = group.encoding()
    if kind[0] not in types:
        raise group.failure(encoding.TYPE_ATTRIBUTE, f"is '{kind[0]}', not {' or '.join(types)}")
    if kind not in READERS:
        versions = ", ".join(version for name, version in READERS if name == kind[0])
        raise SpectrumFileError(
            f"'{group.inside}' is of type '{kind[0]}', version {kind[1]}",
            where=group.where,
            expected=f"version {versions} of '{kind[0]}', which is what this hessent reads",
            fix="a newer hessent (pip install -U hessent), or " + COMPUTE_AGAIN,
        )
    return READERS[kind](group)


def _read_spectrum(root: GuardedGroup) -> Spectrum:
    provenance: dict[str, Any] = read_group(root.group("provenance"), encoding.PROVENANCE[0])
    arch, arch_options = read_group(root.group("model"), encoding.MODEL[0])
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
        blocks=read_group(root.group("blocks"), encoding.BLOCKS[0]),
        tensor_probe=read_group(root.group("paper"), encoding.TENSOR_PROBE[0]) if "paper" in root else None,
    )


def _read_model(group: GuardedGroup) -> tuple[str, Mapping[str, Any]]:
    return group.text("arch"), group.mapping("arch_options")


def _read_provenance(group: GuardedGroup) -> dict[str, Any]:
    checkpoint = dict(group.typed_mapping("checkpoint", _CHECKPOINT_FIELDS))
    checkpoint["metrics"] = _floats(checkpoint["metrics"])
    return {
        "checkpoint": checkpoint,
        "data": DataInfo(**group.typed_mapping("data", _DATA_FIELDS)),
        "settings": group.mapping("settings"),
        "versions": group.mapping("versions"),
        "checks": _floats(group.mapping("checks")),
    }


def _floats(mapping: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in mapping.items()}


def _read_blocks(group: GuardedGroup) -> tuple[BlockSpectrum, ...]:
    kinds = (encoding.EXACT_BLOCK[0], encoding.LANCZOS_BLOCK[0])
    return tuple(read_group(group.group(key), *kinds) for key in sorted(group.members()))


def read_derived(root: GuardedGroup) -> dict[str, DerivedMeasures]:
    """Return the measures that the file stores, by block name; blocks without any are left out."""
    derived = {}
    blocks = root.group("blocks")
    for key in sorted(blocks.members()):
        block = blocks.group(key)
        if "measures" in block:
            derived[block.text("name")] = read_group(block.group("measures"), encoding.MEASURES[0])
    return derived


def _read_exact_block(group: GuardedGroup) -> BlockSpectrum:
    fields = _block_fields(group)
    eigenvalues = group.reals("eigenvalues", fields["size"])
    if (np.diff(eigenvalues) < 0).any():
        raise group.failure("eigenvalues", "are not in ascending order")
    return BlockSpectrum(method="exact", eigenvalues=eigenvalues, **fields)


def _read_lanczos_block(group: GuardedGroup) -> BlockSpectrum:
    return BlockSpectrum(
        method="lanczos",
        outliers=read_group(group.group("outliers"), encoding.OUTLIERS[0]) if "outliers" in group else None,
        probes=read_group(group.group("probes"), encoding.PROBES[0]),
        lambda_max=group.pair("lambda_max"),
        lambda_min=group.pair("lambda_min"),
        **_block_fields(group),
    )


def _block_fields(group: GuardedGroup) -> dict[str, Any]:
    """Return what exact and sampled blocks share."""
    return {
        "name": group.text("name"),
        "size": group.integer("size", least=1),
        "parameters": group.names("parameters"),
        "num_matvecs": group.integer("num_matvecs", least=0),
        "converged": group.boolean("converged"),
        "status": group.text("status"),
        "noise": group.real("noise"),
    }


def _read_measures(group: GuardedGroup) -> DerivedMeasures:
    records = group.typed_records("estimates", _ESTIMATE_FIELDS)
    return DerivedMeasures(
        version=group.text("version"),
        estimates={
            record["measure"]: Estimate(
                **{field: record[field] for field in ("value", "low", "high", "exact", "reason")}
            )
            for record in records
        },
        budgets={record["measure"]: record["budget"] for record in records if record["budget"] is not None},
    )


def _read_outliers(group: GuardedGroup) -> Outliers:
    values = group.reals("values", None)
    return Outliers(values=values, residuals=group.reals("residuals", len(values)))


def _read_probes(group: GuardedGroup) -> ProbeRuns:
    alphas = group.reals("alphas", None, None)
    num_probes, num_steps = alphas.shape
    if not alphas.size:
        raise group.failure("alphas", "is empty")
    return ProbeRuns(
        alphas=alphas,
        betas=group.reals("betas", num_probes, num_steps - 1),
        last_betas=group.reals("last_betas", num_probes),
    )


def _read_tensor_probe(group: GuardedGroup) -> TensorProbe:
    names = group.names("names")
    count = len(names)
    return TensorProbe(
        names=names,
        sizes=group.integers("sizes", count),
        sums=group.reals("sums", count),
        gaps=group.reals("gaps", count),
    )


# To change the layout of a group, give the new one the next version here and keep the line of the old one.
READERS: dict[Encoding, Callable[[GuardedGroup], Any]] = {
    encoding.SPECTRUM: _read_spectrum,
    encoding.PROVENANCE: _read_provenance,
    encoding.MODEL: _read_model,
    encoding.BLOCKS: _read_blocks,
    encoding.EXACT_BLOCK: _read_exact_block,
    encoding.LANCZOS_BLOCK: _read_lanczos_block,
    encoding.OUTLIERS: _read_outliers,
    encoding.PROBES: _read_probes,
    encoding.MEASURES: _read_measures,
    encoding.TENSOR_PROBE: _read_tensor_probe,
}
