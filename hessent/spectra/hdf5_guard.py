"""Looking into an HDF5 file that somebody else may have made.

A crafted file can point outside itself (external links, external storage, virtual datasets), call for filter
plug-ins, or declare a size that would fill the memory.  Nothing here follows a link that is not a hard one, and
every type, shape and size is compared with the schema, and with a budget, before a byte is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hessent.errors import SpectrumFileError
from hessent.spectra import encoding
from hessent.spectra.encoding import Encoding
from hessent.spectra.hdf5_storage import Budget, fits, storage_problem

COMPUTE_AGAIN = "compute it again with hessent spectrum … --force"

MAX_ATTRIBUTE_BYTES = 1 << 24


class GuardedGroup:
    """A group of an HDF5 file, of which only what the schema allows can be read.

    Parameters
    ----------
    group : h5py.Group
        The group itself, reached through hard links alone.
    where : str
        The file, as the user typed it, for messages.
    inside : str
        Path of the group inside the file, for messages.
    budget : Budget
        Shared by all groups of the file.
    """

    def __init__(self, group: h5py.Group, *, where: str, inside: str, budget: Budget) -> None:
        self._group = group
        self.where = where
        self.inside = inside
        self._budget = budget

    def failure(self, name: str, found: str) -> SpectrumFileError:
        """Return the error for member or attribute `name`: damaged, or not made by hessent."""
        return SpectrumFileError(
            f"'{self.inside.rstrip('/')}/{name}' {found}",
            where=self.where,
            expected="a spectrum file as hessent writes it (hessent/spectra/SPEC.md)",
            fix=COMPUTE_AGAIN,
        )

    def encoding(self) -> Encoding:
        """Return the (encoding-type, encoding-version) the group carries."""
        return self.text(encoding.TYPE_ATTRIBUTE), self.text(encoding.VERSION_ATTRIBUTE)

    def __contains__(self, name: str) -> bool:
        """Whether the group has a member called `name`."""
        return bool(self._group.id.links.exists(name.encode()))

    def has_attribute(self, name: str) -> bool:
        """Whether the group has an attribute called `name`."""
        return bool(h5py.h5a.exists(self._group.id, name.encode()))

    def members(self) -> Iterator[str]:
        """Yield the names of the members, in the order of the file."""
        yield from self._group

    def group(self, name: str) -> GuardedGroup:
        """Return the subgroup `name`."""
        member = self._member(name, h5py.Group)
        return GuardedGroup(
            member, where=self.where, inside=f"{self.inside.rstrip('/')}/{name}", budget=self._budget
        )

    def text(self, name: str) -> str:
        """Return the text attribute `name`."""
        value = self._attribute(name, (), "S")
        try:
            return encoding.decode_text(bytes(value[()]))
        except ValueError as error:
            raise self.failure(name, f"is not text as hessent writes it ({error})") from error

    def integer(self, name: str, *, least: int | None = None) -> int:
        """Return the whole-number attribute `name`, which must be at least `least`."""
        number = int(self._attribute(name, (), "iu"))
        if least is not None and number < least:
            raise self.failure(name, f"is {number}, less than {least}")
        return number

    def real(self, name: str) -> float:
        """Return the floating-point attribute `name`; it may be NaN."""
        return float(self._attribute(name, (), "f"))

    def boolean(self, name: str) -> bool:
        """Return the truth-value attribute `name`."""
        return bool(self._attribute(name, (), "b"))

    def pair(self, name: str) -> tuple[float, float]:
        """Return the attribute `name` of two finite numbers."""
        first, second = (float(number) for number in self._attribute(name, (2,), "f"))
        if not (math.isfinite(first) and math.isfinite(second)):
            raise self.failure(name, "holds numbers that are not finite")
        return first, second

    def reals(self, name: str, *shape: int | None) -> NDArray[np.float64]:
        """Return the array `name` of finite float64 numbers; None in `shape` allows any length."""
        array = self._array(name, shape, np.dtype("<f8")).astype(np.float64, copy=False)
        if not np.isfinite(array).all():
            raise self.failure(name, "holds numbers that are not finite")
        return array

    def integers(self, name: str, *shape: int | None) -> NDArray[np.int64]:
        """Return the array `name` of int64 numbers; None in `shape` allows any length."""
        return self._array(name, shape, np.dtype("<i8")).astype(np.int64)

    def names(self, name: str) -> tuple[str, ...]:
        """Return the JSON document `name`, a list of strings."""
        document = self._json(name)
        if not isinstance(document, list) or not all(isinstance(entry, str) for entry in document):
            raise self.failure(name, "is not a list of names")
        return tuple(document)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return the JSON document `name`, an object."""
        document = self._json(name)
        if not isinstance(document, dict):
            raise self.failure(name, "is not a JSON object")
        return document

    def typed_mapping(self, name: str, fields: Mapping[str, tuple[type, ...]]) -> Mapping[str, Any]:
        """Return the JSON document `name`, an object of exactly these fields, each of one of its types."""
        return self.typed(name, self.mapping(name), fields)

    def typed_records(self, name: str, fields: Mapping[str, tuple[type, ...]]) -> list[Mapping[str, Any]]:
        """Return the JSON document `name`, a list of objects of exactly these fields."""
        document = self._json(name)
        if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
            raise self.failure(name, "is not a list of JSON objects")
        return [self.typed(name, entry, fields) for entry in document]

    def typed(
        self, name: str, document: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]
    ) -> Mapping[str, Any]:
        """Return `document`, a part of the JSON document `name`, if it has exactly these fields."""
        wrong = [
            field
            for field in sorted(document.keys() | fields.keys())
            if field not in document or type(document[field]) not in fields.get(field, ())
        ]
        if wrong:
            raise self.failure(name, f"does not have the fields of the schema: {', '.join(wrong)}")
        return document

    def _json(self, name: str) -> Any:
        content = self._array(name, (None,), np.dtype("u1")).tobytes()
        try:
            return json.loads(content.decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise self.failure(name, f"is not JSON ({error})") from error

    def _member(self, name: str, kind: type) -> Any:
        if name not in self:
            raise self.failure(name, "is missing")
        if self._group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise self.failure(name, "is a link that leads elsewhere, which a spectrum file never holds")
        member = self._group[name]
        if not isinstance(member, kind):
            raise self.failure(name, f"is a {type(member).__name__.lower()}, not a {kind.__name__.lower()}")
        return member

    def _attribute(self, name: str, shape: tuple[int, ...], kinds: str) -> NDArray[Any]:
        if not self.has_attribute(name):
            raise self.failure(name, "is missing")
        # The low-level call opens the attribute once; a file of many blocks has thousands of them.
        attribute = h5py.h5a.open(self._group.id, name.encode())
        dtype = attribute.dtype
        if attribute.shape != shape or dtype.kind not in kinds:
            raise self.failure(
                name, f"is of type {dtype} and shape {attribute.shape}, which the schema does not have"
            )
        if dtype.itemsize * math.prod(shape) > MAX_ATTRIBUTE_BYTES:
            raise self.failure(name, f"declares {dtype.itemsize:,} bytes")
        value = np.zeros(shape, dtype)
        attribute.read(value)
        return value

    def _array(self, name: str, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        dataset = self._member(name, h5py.Dataset)
        if dataset.dtype != dtype or not fits(dataset.shape, shape):
            wanted = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
            raise self.failure(
                name, f"is of type {dataset.dtype} and shape {dataset.shape}, not {dtype} and {wanted}"
            )
        problem = storage_problem(dataset)
        if problem is not None:
            raise self.failure(name, problem)
        self._afford(name, dataset)
        array: NDArray[Any] = dataset[()]
        return array

    def _afford(self, name: str, dataset: h5py.Dataset) -> None:
        entries = max(dataset.size, math.prod(dataset.chunks or (0,)))
        try:
            self._budget.spend(entries * dataset.dtype.itemsize)
        except ValueError as error:
            raise self.failure(name, str(error)) from error


def require_ascending(group: GuardedGroup, name: str, array: NDArray[np.float64]) -> None:
    """Refuse the array `name` of a group unless the numbers ascend along its last axis."""
    if (np.diff(array, axis=-1) < 0).any():
        raise group.failure(name, "are not in ascending order")
