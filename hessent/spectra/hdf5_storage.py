"""What an array of an HDF5 file may cost and how it may lie on the disk, judged before a byte of it is read."""

from __future__ import annotations

import h5py

MAX_DECLARED_BYTES = 1 << 30  # of all arrays of a file together, unpacked
_ALLOWED_FILTERS = frozenset({1, 2, 3})  # gzip, shuffle, fletcher32: built into every HDF5


class Budget:
    """The bytes that the arrays of one file may still unpack to."""

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, size: int) -> None:
        """Take `size` bytes.

        Raises
        ------
        ValueError
            If fewer are left.
        """
        if size > self.left:
            raise ValueError(f"declares {size:,} bytes, of which at most {self.left:,} may be read")
        self.left -= size


def fits(found: tuple[int, ...] | None, wanted: tuple[int | None, ...]) -> bool:
    """Whether the shape `found` is the one `wanted`, in which None allows any length."""
    return (
        found is not None
        and len(found) == len(wanted)
        and all(length is None or length == actual for actual, length in zip(found, wanted, strict=True))
    )


def storage_problem(dataset: h5py.Dataset) -> str | None:
    """Say why the bytes of `dataset` must not be read, or None."""
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        return "is a virtual dataset, which reads other files"
    if plan.get_external_count():
        return "keeps its numbers in another file"
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if not filters <= _ALLOWED_FILTERS:
        return f"is packed with filters {sorted(filters - _ALLOWED_FILTERS)}, which spectrum files do not use"
    if dataset.size and not dataset.id.get_storage_size():
        return "declares numbers but stores none"
    return None
