"""The whole tree of an HDF5 file, taken where hostile files are read: each object once, by hard links only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from hessent.foreign.child_datasets import (
    FAILURES,
    MOST_OBJECTS,
    PLAIN_FILTERS,
    chunk_bytes,
    number_of,
    problem_with,
    text,
)
from hessent.foreign.child_limits import Patience, RefusedError

MOST_DEPTH = 32
MOST_ATTRIBUTES = 256  # of one group
MOST_TEXT_BYTES = 16 * 2**20  # of all names and attributes
MOST_DOCUMENT_BYTES = 16 * 2**20  # of all arrays of bytes: texts that are taken apart elsewhere
TREE_TYPES = ("<f8", "<i8", "|u1")


class Tree:
    """All groups of a file in the order in which they are met, with their attributes and arrays."""

    def __init__(self, budget: int, patience: Patience) -> None:
        self.patience = patience
        self.left = {"<f8": budget, "<i8": budget, "|u1": MOST_DOCUMENT_BYTES}  # bytes to unpack, by type
        self.text = MOST_TEXT_BYTES
        self.seen: set[int] = set()
        self.groups: list[dict[str, Any]] = []
        self.arrays: list[Any] = []

    def walk(self, root: Any) -> None:
        """Enter every group once, the nearest to the root first."""
        self.seen.add(h5py.h5o.get_info(root).addr)
        waiting = [(root, 0)]
        for group, depth in waiting:
            if depth > MOST_DEPTH:
                raise RefusedError(f"its groups lie more than {MOST_DEPTH} deep in each other")
            members: dict[str, Any] = {}
            for name in self.names(group):
                members[text(name)] = found = self.member(group, name)
                if found[0] == "group":
                    waiting.append((found[1], depth + 1))
                    found[1] = len(waiting) - 1
            self.groups.append({"attributes": dict(self.attributes(group)), "members": members})

    def names(self, group: Any) -> Iterator[bytes]:
        """Yield the names of a group's members, as long as the file has not too many."""
        if group.get_num_objs() > MOST_OBJECTS - len(self.seen):
            raise RefusedError(f"it holds more than {MOST_OBJECTS:,} groups and arrays")
        for name in group:
            self.spend_text(len(name))
            yield name

    def member(self, group: Any, name: bytes) -> list[Any]:
        """Describe one member; a group comes as it is, an array is read."""
        if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            return ["nothing", "is a link that leads elsewhere, which is never followed"]
        try:
            found = h5py.h5o.open(group, name)
            address = h5py.h5o.get_info(found).addr
        except FAILURES as error:
            return ["nothing", f"cannot be opened ({error})"]
        if address in self.seen:
            return ["nothing", "is a second link to something that stands elsewhere in the file"]
        self.seen.add(address)
        if len(self.seen) % 64 == 0:
            self.patience.progress()
        if isinstance(found, h5py.h5g.GroupID):
            return ["group", found]
        if isinstance(found, h5py.h5d.DatasetID):
            return self.array(found)
        return ["nothing", "is a named type"]

    def array(self, found: Any) -> list[Any]:
        """Read a dataset of a type that trees have, or say why not."""
        try:
            dtype, shape = found.dtype, found.shape
            if dtype.str not in TREE_TYPES:
                return ["other array", str(dtype), list(shape or ()), "is of another type"]
            chunk = chunk_bytes(found, dtype)
            problem = problem_with(found, chunk, PLAIN_FILTERS) or self.unaffordable(found, dtype, chunk)
            if problem is None:
                values = np.zeros(shape, dtype)
                found.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        except FAILURES as error:
            return ["nothing", f"cannot be unpacked ({error or type(error).__name__})"]
        if problem is not None:
            return ["other array", str(dtype), list(shape or ()), problem]
        self.arrays.append(values)
        return ["array", dtype.str, list(shape)]

    def unaffordable(self, found: Any, dtype: Any, chunk: int) -> str | None:
        """Take an array from the budget; what unpacking holds at once is at least a chunk."""
        held = max(number_of(found.shape) * dtype.itemsize, chunk)
        if held and not found.get_storage_size():
            return "declares numbers but stores none"
        left = self.left[dtype.str]
        if held > left:
            return f"declares {held:,} bytes, of which at most {left:,} may be read"
        self.left[dtype.str] -= held
        return None

    def attributes(self, group: Any) -> Iterator[tuple[str, list[Any]]]:
        """Yield name and value of a group's attributes: texts and numbers, one or a few."""
        count = h5py.h5a.get_num_attrs(group)
        if count > MOST_ATTRIBUTES:
            raise RefusedError(f"one of its groups has {count:,} attributes")
        for index in range(count):
            attribute = h5py.h5a.open(group, index=index)
            name = attribute.name
            self.spend_text(len(name))
            try:
                yield text(name), self.attribute(attribute)
            except FAILURES as error:
                yield text(name), ["?", f"cannot be read ({error or type(error).__name__})", [], None]

    def attribute(self, attribute: Any) -> list[Any]:
        """Return kind, type, shape and value of an attribute; no value where it is neither text nor numbers."""
        dtype, shape = attribute.dtype, attribute.shape
        plain = attribute.get_space().get_simple_extent_type() != h5py.h5s.NULL
        if dtype.kind not in "Sbiuf" or not plain or dtype.itemsize > MOST_TEXT_BYTES or number_of(shape) > 64:
            return ["?", str(dtype), list(shape), None]
        self.spend_text(dtype.itemsize * max(number_of(shape), 1))
        value = np.zeros(shape, dtype)
        attribute.read(value)
        plain_value = text(bytes(value[()])) if dtype.kind == "S" and shape == () else value.tolist()
        if dtype.kind == "S" and shape != ():
            plain_value = None
        return [dtype.kind, str(dtype), list(shape), plain_value]

    def spend_text(self, size: int) -> None:
        """Count the bytes of names and attributes, which all go into one line of JSON."""
        self.text -= size
        if self.text < 0:
            raise RefusedError(f"its names and attributes take more than {MOST_TEXT_BYTES:,} bytes")
