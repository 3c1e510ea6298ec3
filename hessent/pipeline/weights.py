"""The weights of a checkpoint in the model they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hessent.arch.architecture import BuiltModel
from hessent.arch.registry import build, is_built_in, nearest
from hessent.checkpoint.matching import load_into
from hessent.checkpoint.prefixes import strip_prefixes
from hessent.checkpoint.promotion import LoadedTensors
from hessent.checkpoint.reader import Checkpoint
from hessent.errors import CheckpointError, UsageError
from hessent.pipeline.choices import Chooser
from hessent.pipeline.request import SpectrumRequest, first_known
from hessent.spectra.provenance import CheckpointInfo


@dataclass(frozen=True)
class Weights:
    """A model with a checkpoint's tensors in it.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where they come from.
    built : BuiltModel
        The model, with its name and options.
    loaded : LoadedTensors
        The tensors, with their digest.
    sources : mapping of str to str
        The model's names of tensors to those in the checkpoint.
    notes : tuple of str
        What was assumed or left out: sentences.
    """

    checkpoint: Checkpoint
    built: BuiltModel
    loaded: LoadedTensors
    sources: Mapping[str, str]
    notes: tuple[str, ...]

    def info(self, path: str) -> CheckpointInfo:
        """Return what goes into the file; `path` as the user typed it."""
        metadata = self.checkpoint.metadata
        return CheckpointInfo(
            path=path,
            sha256=self.loaded.sha256,
            arch=self.built.name,
            arch_options=dict(self.built.options),
            step=metadata.step,
            total_steps=metadata.total_steps,
            optimizer=dict(metadata.optimizer),
            metrics=dict(metadata.metrics),
            stored_dtype=self.loaded.stored_dtype,
        )


def load_weights(request: SpectrumRequest, checkpoint: Checkpoint, choose: Chooser) -> Weights:
    """Settle the architecture, build it, and load the checkpoint's tensors into it.

    Parameters
    ----------
    request : SpectrumRequest
        What the user asked.
    checkpoint : Checkpoint
        Opened, its tensors not yet read.
    choose : Chooser
        Where settings come from.

    Raises
    ------
    UsageError
        If nothing says which architecture it is.
    CheckpointError
        If the tensors do not fit, or the metadata names an architecture that is not built in.
    """
    arch = _architecture(request, checkpoint, choose)
    # Options belong to the architecture they were saved with: another --arch starts from its own defaults.
    same = arch == checkpoint.metadata.arch
    options = {
        **choose.config.get("arch_options", {}),
        **(checkpoint.metadata.arch_options if same else {}),
        **request.arch_options,
    }
    shapes = _bare_shapes(checkpoint)
    built = build(arch, tensors=shapes, options=options, where=request.checkpoint)
    # Wide weights stay as they are where the work is wide: narrowed once, they cannot be widened again.
    dtype = torch.float64 if choose("dtype") == "float64" else torch.float32
    if dtype == torch.float64:
        built.model.double()
    loaded = checkpoint.load(dtype)
    try:
        report = load_into(built.model, loaded.tensors, rename=built.rename, where=request.checkpoint)
    except CheckpointError as error:
        raise _with_hint(error, built.name, nearest(shapes)) from error
    return Weights(checkpoint, built, loaded, report.sources, (*built.assumptions, *report.notes))


def _architecture(request: SpectrumRequest, checkpoint: Checkpoint, choose: Chooser) -> str:
    named: str | None = choose("arch")
    if named == "auto":  # what the checkpoint says of itself is less of a guess than its shapes
        named = first_known(checkpoint.metadata.arch, "auto")
    if named is None:
        raise _no_architecture(request.checkpoint, checkpoint)
    if request.arch in (None, "auto") and named == checkpoint.metadata.arch and not is_built_in(named):
        raise CheckpointError(
            f"its metadata names the architecture '{named}', which is not built in",
            where=request.checkpoint,
            expected="a built-in name: a checkpoint may not decide which plug-in is loaded",
            fix=f"--arch {named}, if you trust it",
        )
    return named


def _bare_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes by name without wrapper prefixes, as the registry wants them."""
    names = strip_prefixes(checkpoint.tensors).names
    return {bare: checkpoint.tensors[stored].shape for stored, bare in names.items()}


def _no_architecture(path: str, checkpoint: Checkpoint) -> UsageError:
    near = nearest(_bare_shapes(checkpoint))
    return UsageError(
        "the checkpoint does not say which architecture it belongs to",
        where=path,
        fix=near or "--arch NAME (see `hessent archs`), package.module:factory or path/to/file.py:factory",
    )


def _with_hint(error: CheckpointError, arch: str, near: str | None) -> CheckpointError:
    """Name the built-in architecture that comes nearest, unless it is the one that was tried."""
    if near is None or near.startswith(f"--arch {arch} ") or near.startswith(f"--arch {arch},"):
        return error
    return CheckpointError(
        error.found, where=error.where, expected=error.expected, fix=near, problems=error.problems
    )
