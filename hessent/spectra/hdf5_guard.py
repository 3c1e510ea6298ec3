"""Taking from an HDF5 file, which somebody else may have made, what the schema allows and nothing else.

The file was opened in a process of its own (`hessent.foreign`), which follows no link that leads elsewhere and
reads no more than a budget.  Here every type, shape and value is compared with the schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hessent.errors import SpectrumFileError
from hessent.foreign.hdf5_tree import Nothing, StoredArray, StoredGroup
from hessent.foreign.strict_json import parse_bytes
from hessent.spectra import encoding
from hessent.spectra.encoding import Encoding

COMPUTE_AGAIN = "compute it again with hessent spectrum … --force"

MOST_COUNT = 2**63
MOST_REAL = 1e140  # of an array: squares and sums of them must not overflow


class GuardedGroup:
    """A group of an HDF5 file, of which only what the schema allows can be read.

    Parameters
    ----------
    group : StoredGroup
        The group itself.
    where : str
        The file, as the user typed it, for messages.
    inside : str
        Path of the group inside the file, for messages.
    """

    def __init__(self, group: StoredGroup, *, where: str, inside: str) -> None:
        self._group = group
        self.where = where
        self.inside = inside

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
        return name in self._group.members

    def has_attribute(self, name: str) -> bool:
        """Whether the group has an attribute called `name`."""
        return name in self._group.attributes

    def members(self) -> Iterator[str]:
        """Yield the names of the members, in the order of the file."""
        yield from self._group.members

    def group(self, name: str) -> GuardedGroup:
        """Return the subgroup `name`."""
        member = self._member(name)
        if not isinstance(member, StoredGroup):
            raise self.failure(name, "is a dataset, not a group")
        return GuardedGroup(member, where=self.where, inside=f"{self.inside.rstrip('/')}/{name}")

    def text(self, name: str) -> str:
        """Return the text attribute `name`."""
        value: str = self._attribute(name, (), "S")
        try:
            return encoding.decode_text(value.encode("utf-8", "surrogateescape"))
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
        if array.size and max(abs(array.max()), abs(array.min())) > MOST_REAL:
            raise self.failure(name, f"holds numbers beyond {MOST_REAL:g}, of which no curvature is")
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
        """Return `document`, part of the JSON document `name`, if it has just these fields and no huge number."""
        wrong = [
            field
            for field in sorted(document.keys() | fields.keys())
            if field not in document
            or type(document[field]) not in fields.get(field, ())
            or (type(document[field]) is int and abs(document[field]) >= MOST_COUNT)
        ]
        if wrong:
            raise self.failure(name, f"does not have the fields of the schema: {', '.join(wrong)}")
        return document

    def _json(self, name: str) -> Any:
        try:
            return parse_bytes(self._array(name, (None,), np.dtype("u1")).tobytes())
        except ValueError as error:
            raise self.failure(name, f"is not JSON that is read ({error})") from error

    def _member(self, name: str) -> StoredGroup | StoredArray:
        member = self._group.members.get(name)
        if member is None:
            raise self.failure(name, "is missing")
        if isinstance(member, Nothing):
            raise self.failure(name, member.problem)
        return member

    def _attribute(self, name: str, shape: tuple[int, ...], kinds: str) -> Any:
        found = self._group.attributes.get(name)
        if found is None:
            raise self.failure(name, "is missing")
        if found.shape != shape or found.kind not in kinds or found.value is None:
            raise self.failure(
                name, f"is of type {found.dtype} and shape {found.shape}, which the schema does not have"
            )
        return found.value

    def _array(self, name: str, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        found = self._member(name)
        if not isinstance(found, StoredArray):
            raise self.failure(name, "is a group, not a dataset")
        if found.dtype != str(dtype) or not fits(found.shape, shape):
            wanted = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
            raise self.failure(name, f"is of type {found.dtype} and shape {found.shape}, not {dtype} and {wanted}")
        if found.values is None:
            raise self.failure(name, str(found.problem))
        return found.values


def fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether the shape `found` is the one `wanted`, in which None allows any length."""
    return len(found) == len(wanted) and all(
        length is None or length == actual for actual, length in zip(found, wanted, strict=True)
    )


def require_ascending(group: GuardedGroup, name: str, array: NDArray[np.float64]) -> None:
    """Refuse the array `name` of a group unless the numbers ascend along its last axis."""
    if (np.diff(array, axis=-1) < 0).any():
        raise group.failure(name, "are not in ascending order")
