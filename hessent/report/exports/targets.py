"""What can be exported to, and which target is meant: by `--to`, or by the end of the file's name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum

from hessent.errors import UsageError

STANDARD_OUTPUT = "-"


class Target(StrEnum):
    """Files of one table, and experiment trackers."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"

    @property
    def is_file(self) -> bool:
        """Whether it is one file, rather than a folder or a server."""
        return self in (Target.CSV, Target.JSON, Target.PARQUET)


class Content(StrEnum):
    """What is exported."""

    MEASURES = "measures"
    EIGENVALUES = "eigenvalues"


SUFFIXES: Mapping[str, Target] = {".csv": Target.CSV, ".json": Target.JSON, ".parquet": Target.PARQUET}


def choose_target(out: str, to: Target | None) -> Target:
    """Return the target that is meant.

    Parameters
    ----------
    out : str
        As typed; ``-`` for standard output.
    to : Target or None
        As typed.

    Raises
    ------
    UsageError
        If it cannot be told, or name and target contradict each other.
    """
    if out == STANDARD_OUTPUT:
        if to in (None, Target.CSV, Target.JSON):
            return to or Target.CSV
        raise UsageError(f"--to {to} cannot go to standard output", expected="csv or json", fix="name a file")
    by_name = SUFFIXES.get(os.path.splitext(out)[1].lower())
    if to is None and by_name is None:
        raise UsageError(
            f"'{out}' does not say what to write",
            where="--out",
            expected=f"a name that ends in {', '.join(SUFFIXES)}; or --to {', '.join(Target)}",
        )
    if to is not None and by_name is not None and to is not by_name:
        raise UsageError(f"'{out}' and --to {to} ask for two formats at once", fix="give only one of them")
    return to or by_name or Target.CSV
