"""The table of built-in data sources: name, form, needs and parameters, readable without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hessent.data.parameters import Parameter


@dataclass(frozen=True)
class DataSource:
    """One way to give data.

    Attributes
    ----------
    name : str
        The word before the colon.
    form : str
        How the whole name is written.
    summary : str
        What it reads, as a clause.
    opener : str
        ``"module:function"``, imported on first use; it takes a `DataRequest` and returns a `Dataset`.
    needs : str
        What has to be there: files, keys, packages.
    path : str or None
        What stands after the colon ("FILE", "DIR", …); None where nothing does.
    parameters : mapping of str to Parameter
        What may follow the ``?``; `split` is added to every source.
    splits : tuple of str
        The splits a source of this kind can have.
    """

    name: str
    form: str
    summary: str
    opener: str
    needs: str = "nothing"
    path: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    splits: tuple[str, ...] = ("train",)


BUILT_IN = (
    DataSource(
        name="digits",
        form="digits",
        summary="the 1,797 real handwritten digits, 8 × 8 pixels, 10 classes, shipped inside the package",
        opener="hessent.data.digits:open_digits",
        splits=("train", "test", "all"),
    ),
)
