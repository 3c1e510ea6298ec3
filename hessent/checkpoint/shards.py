"""Sharded safetensors: an index that says which tensor lies in which file.

The index comes with the files and is as little to be trusted: its values must be bare names of safetensors files
beside it, so that it cannot point anywhere else, and the tensors it lists must be exactly those in the files.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hessent.checkpoint.element_types import MAX_TENSORS
from hessent.checkpoint.listing import capped, shown
from hessent.checkpoint.regular_file import open_regular
from hessent.checkpoint.safetensors_files import SafetensorsFile, SafetensorsSource
from hessent.checkpoint.strict_json import parse_object
from hessent.errors import CheckpointError
from hessent.foreign.strict_json import MAX_BYTES

MAX_SHARDS = 10_000
# All headers together: they are held in memory at once.
MAX_HEADERS = 2 * MAX_BYTES

_BARE_NAME = re.compile(r"[^./\\\x00][^/\\\x00]*\.safetensors")


def read_weight_map(path: str) -> dict[str, str]:
    """Read an index and check that it names only files beside it.

    Parameters
    ----------
    path : str
        The `*.safetensors.index.json` file.

    Returns
    -------
    dict of str to str
        Tensor name to bare file name.

    Raises
    ------
    CheckpointError
        It is not an index, or a value is anything but the bare name of a safetensors file.
    """
    with open_regular(path) as (handle, _):
        index = parse_object(handle.read(MAX_BYTES + 1), path, "index")
    weight_map: Any = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            "there is no 'weight_map' in it", where=path, expected="tensor names to file names", fix=_FIX
        )
    wrong = [
        f"{shown(name)} -> {shown(str(file))}"
        for name, file in weight_map.items()
        if not isinstance(file, str) or _BARE_NAME.fullmatch(file) is None
    ]
    if wrong:
        raise CheckpointError(
            "it points to something other than safetensors files beside it",
            where=path,
            problems=capped(wrong),
            expected="bare names such as 'model-00001-of-00002.safetensors'",
        )
    shards = len(set(weight_map.values()))
    if shards > MAX_SHARDS or len(weight_map) > MAX_TENSORS:
        raise CheckpointError(
            f"it lists {len(weight_map):,} tensors in {shards:,} files",
            where=path,
            expected=f"at most {MAX_TENSORS:,} tensors in {MAX_SHARDS:,} files",
        )
    return weight_map


def open_shards(path: str) -> SafetensorsSource:
    """Open all shards that an index names.

    Raises
    ------
    CheckpointError
        A shard is missing or damaged, or the index and the shards disagree about the tensors.
    """
    weight_map = read_weight_map(path)
    folder = os.path.dirname(path)
    files: list[SafetensorsFile] = []
    problems: list[str] = []
    headers = 0
    for name in sorted(set(weight_map.values())):
        file = SafetensorsFile.open(os.path.join(folder, name))
        files.append(file)
        headers += file.header.data_start
        if headers > MAX_HEADERS:
            raise CheckpointError(
                f"the headers of its shards exceed {MAX_HEADERS:,} bytes", where=path, expected="fewer tensors"
            )
        problems += [
            f"{shown(tensor)} lies in {shown(name)}, the index says {shown(weight_map.get(tensor, 'nothing'))}"
            for tensor in file.header.entries
            if weight_map.get(tensor) != name
        ]
    found = {tensor for file in files for tensor in file.header.entries}
    problems += [
        f"{shown(tensor)} is not in {shown(file)}" for tensor, file in weight_map.items() if tensor not in found
    ]
    if problems:
        raise CheckpointError("the index and the shards disagree", where=path, problems=capped(problems), fix=_FIX)
    return SafetensorsSource(tuple(files))


_FIX = "fetch or save the index together with all its shards again"
