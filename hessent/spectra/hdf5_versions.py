"""Finding the reader of a group by the type and version that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hessent.errors import SpectrumFileError
from hessent.spectra import encoding
from hessent.spectra.encoding import Encoding
from hessent.spectra.hdf5_guard import COMPUTE_AGAIN, GuardedGroup

Readers = Mapping[Encoding, Callable[[GuardedGroup], Any]]
"""By (type, version).  To change the layout of a group, give the new one the next version and keep the old line."""


def read_group(group: GuardedGroup, readers: Readers, *kinds: Encoding) -> Any:
    """Read a group with the reader of its type and version.

    Parameters
    ----------
    group : GuardedGroup
        The group.
    readers : mapping
        The readers to choose from.
    *kinds : Encoding
        The types that may stand at this place, as the present writer marks them.

    Raises
    ------
    SpectrumFileError
        If the group is of another type, or of a version that is not in `readers`.
    """
    found = group.encoding()
    types = [name for name, _ in kinds]
    if found[0] not in types:
        raise group.failure(encoding.TYPE_ATTRIBUTE, f"is '{found[0]}', not {' or '.join(types)}")
    if found not in readers:
        versions = ", ".join(version for name, version in readers if name == found[0])
        raise SpectrumFileError(
            f"'{group.inside}' is of type '{found[0]}', version {found[1]}",
            where=group.where,
            expected=f"version {versions} of '{found[0]}', which is what this hessent reads",
            fix="a newer hessent (pip install -U hessent), or " + COMPUTE_AGAIN,
        )
    return readers[found](group)
