"""Reading spectrum files of every released version.

Each group carries a type and a version; `READERS` finds the function for that pair, and the function of an old
version stays when a new one comes.  The bytes of a file are compared with their own digest first: damage never
reaches the HDF5 library, which mutated files can hang or crash.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hessent.errors import SpectrumFileError
from hessent.spectrum import encoding
from hessent.spectrum.encoding import Encoding
from hessent.spectrum.hdf5_guard import COMPUTE_AGAIN, MAX_DECLARED_BYTES, Budget, GuardedGroup
from hessent.spectrum.model import (
    BlockSpectrum,
    CheckpointInfo,
    DataInfo,
    LossInfo,
    Outliers,
    ProbeRuns,
    Spectrum,
    TensorProbe,
)

MAX_FILE_SIZE = 1 << 30

# What h5py raises on an image that is sealed with a valid digest and damaged all the same.
_LIBRARY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)

_CHECKPOINT_FIELDS: dict[str, tuple[type, ...]] = {
    "path": (str,),
    "sha256": (str,),
    "step": (int, type(None)),
    "total_steps": (int, type(None)),
    "optimizer": (dict,),
    "metrics": (dict,),
    "stored_dtype": (str,),
}
_DATA_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "samples": (int,),
    "available": (int,),
    "sha256": (str,),
    "synthetic": (bool,),
}


def load(path: str | os.PathLike[str]) -> Spectrum:
    """Read the spectrum file at `path`.

    Parameters
    ----------
    path : path-like
        A file that `hessent spectrum` wrote; complete, or the snapshot of a run still going on.

    Returns
    -------
    Spectrum
        What was measured, with its provenance.

    Raises
    ------
    SpectrumFileError
        If there is no such file, it is damaged, not a spectrum file, or of a version this hessent does not read.
    """
    where = os.fspath(path)
    return from_bytes(_read_whole(Path(path), where), where=where)


def from_bytes(content: bytes, *, where: str) -> Spectrum:
    """Read a spectrum from the content of its file.

    Parameters
    ----------
    content : bytes
        The whole file.
    where : str
        Its name, for messages.

    Raises
    ------
    SpectrumFileError
        See `load`.
    """
    _check_digest(content, where)
    try:
        with h5py.File(h5py.h5f.open_file_image(content)) as file:
            root = GuardedGroup(file["/"], where=where, inside="/", budget=Budget(MAX_DECLARED_BYTES))
            spectrum: Spectrum = _read(root, encoding.SPECTRUM[0])
    except _LIBRARY_ERRORS as error:
        raise SpectrumFileError(
            f"damaged: the HDF5 library cannot read it ({error})",
            where=where,
            fix=COMPUTE_AGAIN,
        ) from error
    return spectrum


def _read_whole(path: Path, where: str) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _not_a_spectrum(where, "is a directory", fix="name the .spectrum.h5 file in it")
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_spectrum(where, "is not a regular file")
        if status.st_size > MAX_FILE_SIZE:
            raise _not_a_spectrum(
                where, f"has {status.st_size:,} bytes, more than the {MAX_FILE_SIZE:,} that are read"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SpectrumFileError("no such file", where=where, fix=_what_lies_near(path)) from error
    except (OSError, ValueError) as error:
        raise SpectrumFileError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}", where=where
        ) from error


def _what_lies_near(path: Path) -> str:
    if path.with_name(path.name + ".partial").is_dir():
        return "the command that began this run: it goes on from what was finished"
    try:
        near = sorted(path.parent.glob("*.spectrum.h5"))
    except OSError:
        near = []
    if near:
        return " or ".join(f"'{entry}'" for entry in near[:3])
    return "hessent spectrum CHECKPOINT --arch ARCH, which writes such a file"


def _check_digest(content: bytes, where: str) -> None:
    """Compare the bytes with the length and digest that the file's preamble states."""
    if not content:
        raise _not_a_spectrum(where, "is empty")
    if not content.startswith(encoding.PREAMBLE_START):
        raise _not_a_spectrum(where, f"begins with {content[:8]!r}, not with {encoding.PREAMBLE_START!r}")
    if content[: encoding.PREAMBLE_SIZE] != encoding.preamble(content[encoding.PREAMBLE_SIZE :]):
        raise SpectrumFileError(
            f"damaged: its {len(content):,} bytes are not those that were written",
            where=where,
            expected="the length and SHA-256 that the file's first lines state",
            fix="copy it again, or " + COMPUTE_AGAIN,
        )


def _not_a_spectrum(where: str, found: str, fix: str | None = None) -> SpectrumFileError:
    if fix is None and where.endswith((".safetensors", ".pt", ".pth", ".ckpt", ".bin")):
        fix = f"hessent spectrum {where}, which measures the checkpoint and writes such a file"
    return SpectrumFileError(
        f"not a spectrum file: {found}", where=where, expected="a file written by hessent spectrum", fix=fix
    )


def _read(group: GuardedGroup, *types: str) -> Any:
    """Read `group`, which must be of one of `types`, with the reader of its version."""
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
    provenance: dict[str, Any] = _read(root.group("provenance"), encoding.PROVENANCE[0])
    arch, arch_options = _read(root.group("model"), encoding.MODEL[0])
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
        blocks=_read(root.group("blocks"), encoding.BLOCKS[0]),
        tensor_probe=_read(root.group("paper"), encoding.TENSOR_PROBE[0]) if "paper" in root else None,
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
    return tuple(_read(group.group(key), *kinds) for key in sorted(group.members()))


def _read_exact_block(group: GuardedGroup) -> BlockSpectrum:
    fields = _block_fields(group)
    eigenvalues = group.reals("eigenvalues", fields["size"])
    if (np.diff(eigenvalues) < 0).any():
        raise group.failure("eigenvalues", "are not in ascending order")
    return BlockSpectrum(method="exact", eigenvalues=eigenvalues, **fields)


def _read_lanczos_block(group: GuardedGroup) -> BlockSpectrum:
    return BlockSpectrum(
        method="lanczos",
        outliers=_read(group.group("outliers"), encoding.OUTLIERS[0]) if "outliers" in group else None,
        probes=_read(group.group("probes"), encoding.PROBES[0]),
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
        "lambda_max": group.pair("lambda_max"),
        "lambda_min": group.pair("lambda_min"),
    }


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
    encoding.TENSOR_PROBE: _read_tensor_probe,
}
