"""From a data name to a dataset: what may be typed after `--data`, and who opens it.

    digits                          a built-in set
    arrays:FILE?normalize=0.5,0.5   SOURCE:PATH?PARAMETERS
    FILE or DIRECTORY               the source follows from what lies there
    package.module:factory          a function of yours; also path/to/file.py:factory

Nothing is ever replaced by something else: a name that cannot be resolved is an error that lists these ways.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hessent.data.parameters import Parameter, read_parameters
from hessent.data.request import DataRequest
from hessent.data.sources import BUILT_IN, DataSource
from hessent.errors import DataError, suggest

if TYPE_CHECKING:
    from hessent.data.dataset import Dataset

ENTRY_POINT_GROUP = "hessent.data"
FACTORY = "factory"

_WAYS_FOR_CODE = (
    "package.module:factory or path/to/file.py:factory: a function of yours that returns the samples",
)


@dataclass(frozen=True)
class DataName:
    """A data name taken apart.

    Attributes
    ----------
    text : str
        As the user typed it.
    source : str
        Name of the source; "factory" for code of the user's.
    path : str
        What stands between the source and the ``?``.
    query : str
        What stands after the ``?``.
    """

    text: str
    source: str
    path: str
    query: str

    @property
    def runs_code(self) -> bool:
        """Whether opening it imports code of the user's: never allowed for a name found inside a file."""
        return self.source == FACTORY


def sources() -> tuple[DataSource, ...]:
    """Return every source: the built-in ones, then those of plug-ins (entry points `hessent.data`).

    Raises
    ------
    DataError
        If a plug-in is not a `DataSource`, or takes a name that is taken.
    """
    found = {source.name: source for source in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        source = entry.load()
        if not isinstance(source, DataSource):
            raise DataError(
                f"the plug-in '{entry.name}' is a {type(source).__name__}",
                where=entry.value,
                expected="a DataSource",
            )
        if source.name in found:
            raise DataError(f"the plug-in '{entry.name}' takes the name '{source.name}', which is taken")
        found[source.name] = source
    return tuple(found.values())


def open_dataset(name: str, *, split: str = "train", where: str = "--data") -> Dataset:
    """Open the data that `name` stands for.

    Parameters
    ----------
    name : str
        See the top of this file.
    split : str
        The split wanted when the name itself does not fix one (``digits?split=test`` does).
    where : str
        The option or file that the name comes from, for messages.

    Returns
    -------
    Dataset
        `dataset.splits` tells which splits exist; a name that fixes one has only that one.

    Raises
    ------
    DataError
        If the name is unknown, a parameter is wrong, or the data cannot be read.
    """
    parsed = parse_name(name, where=where)
    if parsed.source == FACTORY:
        from hessent.data.factories import open_factory

        try:
            return open_factory(parsed.path, parsed.query, name=name, split=split)
        except DataError as failure:
            head, known = parsed.path.partition(":")[0], {source.name: source for source in sources()}
            if isinstance(failure.__cause__, ModuleNotFoundError) and suggest(head, known):
                raise _unknown(name, head, known, where) from failure  # a source misspelt looks like a module
            raise
    source = next(source for source in sources() if source.name == parsed.source)
    module, _, function = source.opener.partition(":")
    request = _request(parsed, source, split)
    return cast("Dataset", getattr(importlib.import_module(module), function)(request))


def no_data_error(where: str) -> DataError:
    """Return the error for a command that got no data at all: it lists the ways to give it."""
    return DataError("no data is named", where=where, problems=_ways(), fix="--data with one of these forms")


def parse_name(name: str, *, where: str = "--data") -> DataName:
    """Take a data name apart and find its source, without opening anything.

    Parameters
    ----------
    name : str
        As the user typed it.
    where : str
        The option or file that the name comes from, for messages.

    Returns
    -------
    DataName
        With `runs_code` for callers that must refuse code.

    Raises
    ------
    DataError
        If no source fits.
    """
    body, _, query = name.partition("?")
    head, colon, path = body.partition(":")
    known = {source.name: source for source in sources()}
    if head in known and bool(colon) == (known[head].path is not None):
        if colon and not path:
            raise DataError(f"'{name}' does not say which {known[head].path}", where=where, fix=known[head].form)
        return DataName(name, head, path, query)
    if head in known:
        raise DataError(f"'{name}' is not how '{head}' is written", where=where, expected=known[head].form)
    if _names_code(body):
        return DataName(name, FACTORY, body, query)
    found = source_of_path(Path(body)) if body else None
    if found is not None:
        return DataName(name, found, body, query)
    raise _unknown(name, head, known, where)


def source_of_path(path: Path) -> str | None:
    """Return the source that reads what lies at `path` (by suffix, or by what a folder holds), or None."""
    # Not the methods of Path: they raise where a name is too long or lies in a folder that may not be searched.
    if os.path.isdir(path):
        if any(os.path.exists(path / folder / "data_batch_1.bin") for folder in ("", "cifar-10-batches-bin")):
            return "cifar10"
        if any(os.path.exists(path / file) for file in ("dataset_info.json", "dataset_dict.json")):
            return "hf"
        if os.path.exists(path / "train.bin"):
            return "tokens"
        return "images"
    if not os.path.exists(path):
        return None
    return _SOURCE_OF_SUFFIX.get(path.suffix.lower())


_SOURCE_OF_SUFFIX = {
    ".safetensors": "arrays",
    ".npz": "arrays",
    ".h5": "arrays",
    ".hdf5": "arrays",
    ".bin": "tokens",
}


def _names_code(body: str) -> bool:
    place, colon, attribute = body.rpartition(":")
    if not colon or not attribute.isidentifier():
        return False
    return place.endswith(".py") or all(part.isidentifier() for part in place.split("."))


def _request(parsed: DataName, source: DataSource, split: str) -> DataRequest:
    known = dict(source.parameters)
    known["split"] = Parameter("choice", "the part of the data to use", choices=source.splits)
    values, problems = read_parameters(parsed.query, known)
    fixed = values.pop("split")
    if problems:
        raise DataError(
            "the parameters are wrong", where=parsed.text, problems=problems, expected=_signature(known)
        )
    wanted = fixed or split
    splits = (fixed,) if fixed else source.splits
    if wanted not in source.splits:
        raise DataError(f"there is no split '{wanted}'", where=parsed.text, expected=" or ".join(source.splits))
    return DataRequest(parsed.text, parsed.path, values, wanted, splits)


def _signature(known: dict[str, Parameter]) -> str:
    return ", ".join(f"{key}={parameter.expected}" for key, parameter in known.items())


def _ways() -> list[str]:
    return [f"{source.form}: {source.summary}" for source in sources()] + list(_WAYS_FOR_CODE)


def _unknown(name: str, head: str, known: dict[str, DataSource], where: str) -> DataError:
    near = suggest(head, known)
    if near:
        found = f"unknown data '{name}'; {near}"
    elif (path := name.partition("?")[0]) and os.path.exists(path):
        found = f"'{name}' is a file of a kind that no source reads by its suffix"
    else:
        found = f"'{name}' is neither a known source of data nor a file or folder that exists"
    return DataError(found, where=where, problems=_ways(), fix="--data with one of these forms")
