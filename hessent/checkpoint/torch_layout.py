"""The two file layouts of `torch.save`, checked before torch opens them.

Since torch 1.6 a file is a zip archive: `NAME/data.pkl`, and one stored (never compressed) record
`NAME/data/KEY` per storage.  The legacy layout is five pickles (magic number, protocol, system, object, keys)
followed by the storages, each with its length.  In both, the object's pickle is walked symbolically and its claims
are compared with the bytes that are there.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from typing import BinaryIO

from hessent.checkpoint.listing import printable, shown, shown_list
from hessent.checkpoint.pickle_claims import Claims, ImplausibleError
from hessent.checkpoint.pickle_program import MAX_PICKLE, walk_pickle
from hessent.checkpoint.regular_file import refuse_pointer
from hessent.checkpoint.stored import MAX_TENSORS
from hessent.errors import CheckpointError

ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_DIRECTORY = 32 * 2**20
_FIX = "fetch or save the file again: it is cut off, damaged or was not written by torch.save"


def check_layout(handle: BinaryIO, size: int, where: str) -> str:
    """Check a file of `torch.save` without loading anything from it.

    Parameters
    ----------
    handle : BinaryIO
        At position 0.
    size : int
        Size of the file, bytes.
    where : str
        The file, for messages.

    Returns
    -------
    str
        "torch" for the zip layout, "torch-legacy" for the older one.

    Raises
    ------
    CheckpointError
        The file is of another kind, damaged, compressed, or claims what it does not hold.
    """
    start = handle.read(32)
    refuse_pointer(start, where)
    handle.seek(0)
    try:
        if start.startswith(ZIP_START):
            _check_zip(handle, size, where)
            return "torch"
        if not start.startswith(b"\x80"):
            raise ImplausibleError("torch.save did not write this file")
        _check_legacy(handle, size, where)
    except ImplausibleError as error:
        raise CheckpointError(str(error), where=where, fix=_FIX) from error
    return "torch-legacy"


def _check_zip(handle: BinaryIO, size: int, where: str) -> None:
    _require_small_directory(handle, size)
    try:
        with zipfile.ZipFile(handle) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError) as error:
        raise ImplausibleError(f"the zip archive in it is damaged ({printable(str(error))})") from error
    _require_stored(records, size)
    by_name = {record.filename: record for record in records}
    roots = [
        name.removesuffix("/data.pkl") for name in by_name if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(roots) != 1:
        raise ImplausibleError("the zip archive in it has no single data.pkl, so torch.save did not write it")
    if f"{roots[0]}/constants.pkl" in by_name:
        raise CheckpointError(
            "this is a TorchScript program, not a set of weights",
            where=where,
            fix="torch.save(torch.jit.load(FILE).state_dict(), 'model.pt') where you trust the file",
        )
    pickle = _read_record(handle, by_name[f"{roots[0]}/data.pkl"])
    _, claims = walk_pickle(io.BytesIO(pickle), where)
    claims.require_plausible_sharing()
    for key, claimed in claims.storages.items():
        record = by_name.get(f"{roots[0]}/data/{key}")
        held = record.file_size if record is not None else 0
        if held != claimed:
            raise ImplausibleError(
                f"the storage {shown(key)} claims {claimed:,} bytes, the file holds {held:,} for it"
            )


def _require_small_directory(handle: BinaryIO, size: int) -> None:
    # Both zip readers, Python's and torch's, build an object per entry: bound the directory before they do.
    handle.seek(max(0, size - 22))
    end = handle.read(22)
    if len(end) < 22 or not end.startswith(b"PK\x05\x06"):
        raise ImplausibleError("the file is cut off: the directory at the end of its zip archive is missing")
    length = int(struct.unpack("<L", end[12:16])[0])
    handle.seek(max(0, size - 22 - 20 - 56))
    wide = handle.read(56)
    if wide.startswith(b"PK\x06\x06"):
        length = max(length if length != 0xFFFFFFFF else 0, struct.unpack("<Q", wide[40:48])[0])
    if length > min(MAX_DIRECTORY, size):
        raise ImplausibleError(f"the directory of its zip archive claims {length:,} bytes")
    handle.seek(0)


def _require_stored(records: list[zipfile.ZipInfo], size: int) -> None:
    names = [record.filename for record in records]
    if len(records) > MAX_TENSORS or len(set(names)) != len(names):
        raise ImplausibleError("its zip archive has too many entries, or two of the same name")
    compressed = [
        record.filename
        for record in records
        if record.compress_type != zipfile.ZIP_STORED
        or record.file_size != record.compress_size
        or record.flag_bits & 1
    ]
    if compressed:
        raise ImplausibleError(
            f"its zip archive holds compressed records, which torch.save never writes: {shown_list(compressed, 3)}"
        )
    if sum(record.file_size for record in records) > size or any(
        record.header_offset < 0 or record.header_offset + record.file_size > size for record in records
    ):
        raise ImplausibleError(f"its zip archive claims more than the {size:,} bytes of the file")


def _read_record(handle: BinaryIO, record: zipfile.ZipInfo) -> bytes:
    # Not by zipfile: it insists on checksums, which torch.save may be told to leave out.
    if record.file_size > MAX_PICKLE:
        raise ImplausibleError(f"its pickle has {record.file_size:,} bytes, more than {MAX_PICKLE:,}")
    handle.seek(record.header_offset)
    local = handle.read(30)
    if len(local) < 30 or not local.startswith(ZIP_START):
        raise ImplausibleError("the zip archive in it is damaged (a record is not where the directory says)")
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    handle.seek(name_length + extra_length, os.SEEK_CUR)
    return handle.read(record.file_size)


def _check_legacy(handle: BinaryIO, size: int, where: str) -> None:
    stream = io.BytesIO(handle.read(MAX_PICKLE))
    magic, _ = walk_pickle(stream, where)
    if magic != LEGACY_MAGIC:
        raise CheckpointError(
            "this is a pickle, but not one that torch.save wrote",
            where=where,
            expected="a checkpoint written by torch.save, or a safetensors file",
        )
    walk_pickle(stream, where)
    walk_pickle(stream, where)
    _, claims = walk_pickle(stream, where)
    walk_pickle(stream, where)
    claims.require_plausible_sharing()
    _require_room(claims, size - stream.tell())


def _require_room(claims: Claims, available: int) -> None:
    # Each storage is preceded by its length, 8 bytes.
    needed = sum(claims.storages.values()) + 8 * len(claims.storages)
    if needed > available:
        raise ImplausibleError(f"its storages claim {needed:,} bytes, the file holds {available:,}")
