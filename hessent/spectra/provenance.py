"""Where the numbers of a spectrum come from: the checkpoint, the data and the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CheckpointInfo:
    """Which weights were measured.

    Attributes
    ----------
    path : str
        As the user typed it.
    sha256 : str
        Digest of names, dtypes, shapes and bytes of the tensors read.
    arch : str
        Architecture as requested.
    arch_options : mapping
        Architecture options as resolved, defaults and inferred ones included.
    step, total_steps : int or None
        Training step and planned number of steps.
    optimizer : mapping
        Name and hyperparameters, as the checkpoint's metadata states them.
    metrics : mapping of str to float
        Metrics the checkpoint's metadata states (losses, accuracies).
    stored_dtype : str
        Dtype(s) of the tensors in the file, before promotion to the computing dtype.
    """

    path: str
    sha256: str
    arch: str
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    total_steps: int | None = None
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    stored_dtype: str = ""

    @property
    def progress(self) -> float | None:
        """Share of the training done, 0…1; None when the metadata does not say."""
        if self.step is None or not self.total_steps:
            return None
        return self.step / self.total_steps


@dataclass(frozen=True)
class DataInfo:
    """Which samples the loss was averaged over.

    Attributes
    ----------
    name : str
        Name of the source, as resolved.
    samples : int
        Number of samples used.
    available : int
        Number of samples the source has in this split.
    sha256 : str
        Fingerprint of the bytes read and of the sample indices.
    synthetic : bool
        True when the data is made up (a dry run): every table says so.
    """

    name: str
    samples: int
    available: int
    sha256: str
    synthetic: bool = False


@dataclass(frozen=True)
class LossInfo:
    """The loss whose curvature was measured: its name and mean value (nats for likelihoods) at the weights."""

    name: str
    value: float
