"""What a user asks of one measurement, and how the settings left open are filled in.

Order of resolution for every setting: the command line, the checkpoint's metadata, `[tool.hessent]` of a
pyproject.toml or hessent.toml found upwards from the checkpoint, the registry's default for the architecture.
Nothing is ever replaced by made-up data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hessent.errors import UsageError, below_least
from hessent.pipeline.accuracy import Accuracy
from hessent.pipeline.parts import Part
from hessent.storage.file_kinds import WEIGHT_SUFFIXES

DEFAULT_SAMPLES = 2048
DTYPES = ("float32", "float64")
HESSIAN = "hessian"
KFAC = "kfac"
CURVATURES = (HESSIAN, "ggn", "fisher", "empirical-fisher", KFAC)
PLAIN, ADAM = "none", "adam"  # preconditioning; else it names a file
TRACE, DIAGONAL = NORMALIZATIONS = ("trace", "diagonal")
WITH_DIAGONAL = ("ggn", "fisher", "empirical-fisher", KFAC)  # matrices whose diagonal is not negative
LEAST_SPLIT_PROBES = 3  # fewer have intervals that say nothing
LARGEST_SEED = 2**63 - 1  # what torch, numpy and a spectrum file can all hold


@dataclass(frozen=True)
class SpectrumRequest:
    """One measurement, as asked for; None means "not said".

    Attributes
    ----------
    checkpoint : str
        Path as typed.
    arch, data, loss : str or None
        Names as in `hessent archs`, `hessent data` and the list of losses.
    arch_options : mapping of str to str
        Architecture options.
    blocks : tuple of str
        Block specifications; empty means `layer`.
    full : bool
        Whether the whole matrix is measured too.
    accuracy : Accuracy
        How the blocks are to be measured.
    rtol : float or None
        Target relative half-width, in place of that of `accuracy`.
    max_time : float or None
        Seconds.
    samples, batch_size, seed : int or None
        Choice and cutting of the data.
    device, dtype, engine : str or None
        Where, in which precision and how products are computed.
    memory : int or None
        Bytes that graphs and vectors may take together.
    verify : bool
        Whether the operator is checked first.
    out : str or None
        Target file.
    part : Part or None
        The part of the blocks to measure; None for all.
    curvature : str
        Which matrix, one of `CURVATURES`.
    fisher_samples : int or None
        Of `fisher`: targets drawn per item; of `kfac`: random vectors per sample; None for the exact expectation.
    kfac_approx : str or None
        Of `kfac`: `expand` or `reduce`; None leaves it to the loss.
    precondition : str
        `none`, `adam`, or a safetensors file: in which metric the matrix is seen.
    split_probes : int or None
        Of `hessian`: random vectors per block that split it into Gauss-Newton part and rest; None for no split.
    normalization : str
        `trace`: the matrix as it is, whose measures are scaled by its trace; `diagonal`: D^-1/2 C D^-1/2.
    """

    checkpoint: str
    arch: str | None = None
    arch_options: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None
    loss: str | None = None
    blocks: tuple[str, ...] = ()
    full: bool = True
    accuracy: Accuracy = field(default_factory=Accuracy)
    rtol: float | None = None
    max_time: float | None = None
    samples: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    device: str | None = None
    dtype: str | None = None
    engine: str | None = None
    memory: int | None = None
    verify: bool = True
    out: str | None = None
    part: Part | None = None
    curvature: str = HESSIAN
    fisher_samples: int | None = None
    kfac_approx: str | None = None
    precondition: str = PLAIN
    split_probes: int | None = None
    normalization: str = TRACE

    def __post_init__(self) -> None:
        """Check every value at once.

        Raises
        ------
        UsageError
            Listing all values that are out of range.
        """
        problems = below_least(
            (
                ("samples", self.samples, 1),
                ("batch-size", self.batch_size, 1),
                ("seed", self.seed, 0),
                ("max-time", self.max_time, 0),
                ("rtol", self.rtol, 0),
                ("fisher-samples", self.fisher_samples, 1),
                ("split-probes", self.split_probes, LEAST_SPLIT_PROBES),
            )
        )
        if "\0" in self.checkpoint or not self.checkpoint or not os.path.basename(os.path.abspath(self.checkpoint)):
            problems.append(f"CHECKPOINT '{self.checkpoint}': must name a file or a folder of its own")
        if self.seed is not None and self.seed > LARGEST_SEED:
            problems.append(f"--seed {self.seed}: must be at most {LARGEST_SEED}")
        if self.curvature not in CURVATURES:
            problems.append(f"--curvature {self.curvature}: must be one of {', '.join(CURVATURES)}")
        elif self.fisher_samples is not None and self.curvature not in ("fisher", KFAC):
            problems.append(f"--fisher-samples {self.fisher_samples}: is of --curvature fisher and kfac alone")
        if self.kfac_approx is not None and self.curvature != KFAC:
            problems.append(f"--kfac-approx {self.kfac_approx}: is of --curvature kfac alone")
        if self.precondition != PLAIN and self.curvature == KFAC:
            problems.append(f"--precondition {self.precondition}: cannot be had of --curvature {KFAC}")
        if self.split_probes is not None and self.curvature != HESSIAN:
            problems.append(f"--split: is of --curvature {HESSIAN} alone, which it splits")
        problems += self._problems_of_normalization()
        problems += self.accuracy.problems()
        if self.dtype is not None and self.dtype not in DTYPES:
            problems.append(f"--dtype {self.dtype}: must be one of {', '.join(DTYPES)}")
        if problems:
            raise UsageError("some options are out of range", problems=problems)

    def _problems_of_normalization(self) -> list[str]:
        asked = f"--normalization {self.normalization}"
        if self.normalization not in NORMALIZATIONS:
            return [f"{asked}: must be one of {', '.join(NORMALIZATIONS)}"]
        if self.normalization == TRACE:
            return []
        found = []
        if self.curvature == HESSIAN:
            found.append(
                f"{asked}: the Hessian's diagonal has both signs; of --curvature {', '.join(WITH_DIAGONAL)}"
            )
        if self.precondition != PLAIN:
            found.append(f"--precondition {self.precondition}: changes nothing of {asked}, leave one of them out")
        if self.fisher_samples is not None and self.curvature != KFAC:
            found.append(f"--fisher-samples {self.fisher_samples}: {asked} takes the exact expectation")
        return found

    @property
    def matrix(self) -> str:
        """The matrix as it stands in the names of files: ``hessian``, ``ggn-adam``, ``hessian-FILE``."""
        return self.curvature if self.metric == PLAIN else f"{self.curvature}-{self.metric}"

    @property
    def metric(self) -> str:
        """The metric as it stands in names: ``none``, ``adam``, ``diagonal``, or a file's without its ending."""
        if self.normalization == DIAGONAL:
            return DIAGONAL
        if self.precondition in (PLAIN, ADAM):
            return self.precondition
        stem = os.path.basename(self.precondition).removesuffix(".safetensors")
        word = re.sub(r"[^A-Za-z0-9_]+", "-", stem)[:40].strip("-")
        return f"file-{word}".rstrip("-") if word in ("", PLAIN, ADAM, DIAGONAL) else word

    @property
    def output(self) -> Path:
        """The spectrum file: as asked, or beside the checkpoint with the same stem, which tells the matrix."""
        if self.out is not None:
            return Path(self.out)
        path = Path(self.checkpoint)
        if not path.name:  # `.` has none
            path = path.resolve()
        name = path.name
        ending = ".spectrum.h5" if self.matrix == HESSIAN else f".{self.matrix}.spectrum.h5"
        if self.part is not None:
            ending = f".units-{self.part.number}-of-{self.part.of}{ending}"
        for suffix in WEIGHT_SUFFIXES:
            if name.endswith(suffix) and not os.path.isdir(path):
                return path.with_name(name[: -len(suffix)] + ending)
        return path.with_name(name + ending)


def first_known(*candidates: Any) -> Any:
    """Return the first candidate that is not None: earlier ones take precedence."""
    return next((candidate for candidate in candidates if candidate is not None), None)


_SUFFIXES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(text: str) -> int:
    """Return the bytes that a size such as `8G`, `512MB`, `1.5 GiB` or `1000000` stands for (powers of 1024).

    Raises
    ------
    UsageError
        If it is not a size.
    """
    plain = text.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (plain[:-1], plain[-1]) if plain and plain[-1].isalpha() else (plain, "")
    try:
        size = int(float(number) * _SUFFIXES[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise UsageError(f"'{text}' is not a size", where="--memory", expected="for example 8G, 512M or 1000000")
    return size
