"""Hostile and damaged checkpoint files, built byte by byte when a test needs them; none lies in the repository.

`ATTACKS` maps a name to a builder, which writes into a folder and returns the path to open.  Run as a script, this
module opens every one of them in one process and prints what it cost (see test_checkpoint_attacks.py).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

ATTACKS: dict[str, Callable[[Path], Path]] = {}


def attack(build: Callable[[Path], Path]) -> Callable[[Path], Path]:
    ATTACKS[build.__name__] = build
    return build


def write_safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def save_torch(folder: Path, saved: object) -> Path:
    path = folder / "model.pt"
    torch.save(saved, path)
    return path


def rewrite_zip(
    path: Path, change: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes] | None]
) -> Path:
    """Write an archive again, record by record; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        records = [(record, archive.read(record)) for record in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for record, content in records:
            changed = change(record, content)
            if changed is not None:
                archive.writestr(*changed)
    return path


class Runs:
    """Runs a command when it is unpickled freely."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def tensor_program(size: tuple[int, ...], stride: tuple[int, ...], numel: int, offset: int = 0) -> bytes:
    """The pickle operations that leave a tensor, of whatever claims, on the stack."""

    def pushed(*numbers: int) -> bytes:
        return b"".join(b"\x8a\x08" + struct.pack("<q", number) for number in numbers)

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpu" + pushed(numel) + b"tQ"
    views = pushed(offset) + b"(" + pushed(*size) + b"t(" + pushed(*stride) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + views + b"\x89ccollections\nOrderedDict\n)RtR"


def pickled_tensor(*claim: object) -> bytes:
    """The data.pkl of {"w": tensor}."""
    return b"\x80\x02}X\x01\0\0\0w" + tensor_program(*claim) + b"s."  # type: ignore[arg-type]


def torch_archive(path: Path, program: bytes, storages: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", program)
        archive.writestr("model/byteorder", b"little")
        for key, content in (storages or {}).items():
            archive.writestr(f"model/data/{key}", content)
        archive.writestr("model/version", b"3\n")
    return path


# ---- safetensors ----------------------------------------------------------------------------------------------


@attack
def cut_off_data(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"w": entry(0, 64)}, b"\0" * 60)


@attack
def trailing_bytes(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"w": entry(0, 64)}, b"\0" * 65)


@attack
def cut_off_length(folder: Path) -> Path:
    (folder / "a.safetensors").write_bytes(b"\x10\0\0")
    return folder / "a.safetensors"


@attack
def cut_off_header(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"w": entry(0, 4)}, length=10_000)


@attack
def huge_header_length(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"w": entry(0, 4)}, length=2**63)


@attack
def header_beyond_the_cap(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b'{"a":' + b" " * (17 * 2**20) + b"{}}")


@attack
def overlapping_ranges(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12)


@attack
def gap_between_ranges(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 4), "b": entry(8, 12)}, b"\0" * 12)


@attack
def missing_first_range(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(4, 8)}, b"\0" * 8)


@attack
def backward_range(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(8, 4, [1])}, b"\0" * 8)


@attack
def negative_shape(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 4, [-1, -1])}, b"\0" * 4)


@attack
def shape_that_overflows(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 0, [2**32, 2**32])})


@attack
def shape_of_another_size(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 4, [2])}, b"\0" * 4)


@attack
def fractional_shape(folder: Path) -> Path:
    return write_safetensors(
        folder / "a.safetensors", b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', b"abcd"
    )


@attack
def unknown_dtype(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"a": entry(0, 4, [1], "Q4_K")}, b"\0" * 4)


@attack
def repeated_name(folder: Path) -> Path:
    one = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    return write_safetensors(folder / "a.safetensors", b"{" + one % (0, 4) + b"," + one % (4, 8) + b"}", b"\0" * 8)


@attack
def repeated_empty_name(folder: Path) -> Path:
    one = b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return write_safetensors(folder / "a.safetensors", b"{" + one + b"," + one + b"}")


@attack
def repeated_field(folder: Path) -> Path:
    header = b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return write_safetensors(folder / "a.safetensors", header, b"\0" * 4)


@attack
def repeated_metadata(folder: Path) -> Path:
    header = b'{"__metadata__":{},"__metadata__":{"a":"b"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return write_safetensors(folder / "a.safetensors", header, b"\0" * 4)


@attack
def metadata_of_numbers(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", {"__metadata__": {"a": 1}, "w": entry(0, 4)}, b"\0" * 4)


@attack
def metadata_beyond_the_cap(folder: Path) -> Path:
    return write_safetensors(
        folder / "a.safetensors", {"__metadata__": {"a": "x" * 2**20}, "w": entry(0, 4)}, b"\0" * 4
    )


@attack
def deep_header(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b'{"a":' + b'{"a":' * 3_000_000)


@attack
def deep_metadata(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b'{"__metadata__":' + b'{"a":' * 100_000)


@attack
def header_of_empty_lists(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b'{"a":[' + b"[]," * 5_000_000 + b"[]]}")


@attack
def header_of_many_keys(folder: Path) -> Path:
    return write_safetensors(
        folder / "a.safetensors", b'{"a":{' + b",".join(b'"%06x":0' % i for i in range(400_000)) + b"}}"
    )


@attack
def million_empty_tensors(folder: Path) -> Path:
    one = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return write_safetensors(folder / "a.safetensors", b"{" + b",".join(one % i for i in range(1_000_000)) + b"}")


@attack
def more_tensors_than_the_cap(folder: Path) -> Path:
    one = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return write_safetensors(folder / "a.safetensors", b"{" + b",".join(one % i for i in range(200_001)) + b"}")


@attack
def number_of_many_digits(folder: Path) -> Path:
    return write_safetensors(
        folder / "a.safetensors", b'{"a":{"dtype":"F32","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,0]}}'
    )


@attack
def header_in_latin_1(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", '{"é":{}}'.encode("latin-1"))


@attack
def header_that_is_a_list(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b"[1, 2]")


@attack
def no_tensors(folder: Path) -> Path:
    return write_safetensors(folder / "a.safetensors", b"{}")


@attack
def git_lfs_pointer(folder: Path) -> Path:
    path = folder / "a.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
    return path


@attack
def metadata_that_names_code(folder: Path) -> Path:
    text = {"hessent.format": "1", "hessent.arch": "os:system"}
    return write_safetensors(folder / "a.safetensors", {"__metadata__": text, "w": entry(0, 4)}, b"\0" * 4)


# ---- files that are no files ----------------------------------------------------------------------------------


@attack
def empty_file(folder: Path) -> Path:
    (folder / "a.safetensors").touch()
    return folder / "a.safetensors"


@attack
def empty_torch_file(folder: Path) -> Path:
    (folder / "a.pt").touch()
    return folder / "a.pt"


@attack
def missing_file(folder: Path) -> Path:
    return folder / "a.safetensors"


@attack
def empty_directory(folder: Path) -> Path:
    return folder


@attack
def directory_with_a_file_name(folder: Path) -> Path:
    (folder / "a.safetensors").mkdir()
    return folder / "a.safetensors"


@attack
def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.safetensors")
    return folder / "a.safetensors"


@attack
def torch_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.pt")
    return folder / "a.pt"


@attack
def device(folder: Path) -> Path:
    (folder / "a.safetensors").symlink_to("/dev/zero")
    return folder / "a.safetensors"


@attack
def link_to_itself(folder: Path) -> Path:
    (folder / "a.safetensors").symlink_to("a.safetensors")
    return folder / "a.safetensors"


@attack
def name_with_nul(folder: Path) -> Path:
    return folder / "a\0b.safetensors"


@attack
def unknown_ending(folder: Path) -> Path:
    (folder / "model.gguf").write_bytes(b"GGUF")
    return folder / "model.gguf"


# ---- shards ---------------------------------------------------------------------------------------------------


def write_index(folder: Path, weight_map: object, name: str = "model.safetensors.index.json") -> Path:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / name


def _index_pointing_at(target: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        inside = folder / "inside"
        inside.mkdir()
        write_safetensors(folder / "outside.safetensors", {"w": entry(0, 4)}, b"\0" * 4)
        write_safetensors(inside / "good.safetensors", {"v": entry(0, 4)}, b"\0" * 4)
        return write_index(inside, {"w": target.replace("FOLDER", str(folder)), "v": "good.safetensors"})

    return build


ATTACKS |= {
    "index_to_parent": _index_pointing_at("../outside.safetensors"),
    "index_to_absolute_path": _index_pointing_at("FOLDER/outside.safetensors"),
    "index_to_subfolder": _index_pointing_at("sub/outside.safetensors"),
    "index_with_backslash": _index_pointing_at("..\\outside.safetensors"),
    "index_with_nul": _index_pointing_at("a\0.safetensors"),
    "index_to_pickle": _index_pointing_at("model.bin"),
    "index_to_hidden": _index_pointing_at("..safetensors"),
    "index_to_missing": _index_pointing_at("gone.safetensors"),
}


@attack
def index_of_wrong_tensors(folder: Path) -> Path:
    write_safetensors(folder / "a.safetensors", {"w": entry(0, 4), "x": entry(4, 8)}, b"\0" * 8)
    return write_index(folder, {"w": "a.safetensors", "gone": "a.safetensors"})


@attack
def tensor_in_two_shards(folder: Path) -> Path:
    for name in ("a", "b"):
        write_safetensors(folder / f"{name}.safetensors", {"w": entry(0, 4), name: entry(4, 8)}, b"\0" * 8)
    return write_index(folder, {"w": "a.safetensors", "a": "a.safetensors", "b": "b.safetensors"})


@attack
def index_of_numbers(folder: Path) -> Path:
    return write_index(folder, {"w": 1})


@attack
def index_without_map(folder: Path) -> Path:
    (folder / "m.safetensors.index.json").write_text("{}")
    return folder / "m.safetensors.index.json"


@attack
def deep_index(folder: Path) -> Path:
    (folder / "m.safetensors.index.json").write_bytes(b"[" * 1_000_000)
    return folder / "m.safetensors.index.json"


@attack
def index_of_many_lists(folder: Path) -> Path:
    (folder / "m.safetensors.index.json").write_bytes(b'{"weight_map":[' + b"[]," * 5_000_000 + b"[]]}")
    return folder / "m.safetensors.index.json"


@attack
def index_of_many_keys(folder: Path) -> Path:
    body = b",".join(b'"%06x":[]' % i for i in range(590_000))
    (folder / "m.safetensors.index.json").write_bytes(b'{"weight_map":{' + body + b"}}")
    return folder / "m.safetensors.index.json"


@attack
def model_and_index(folder: Path) -> Path:
    write_safetensors(folder / "model.safetensors", {"w": entry(0, 4)}, b"\0" * 4)
    write_index(folder, {"w": "model.safetensors"})
    return folder


@attack
def distributed_checkpoint(folder: Path) -> Path:
    (folder / ".metadata").write_bytes(pickle.dumps(Runs(folder / "ran")))
    (folder / "__0_0.distcp").write_bytes(b"\0")
    return folder


@attack
def pickled_shards(folder: Path) -> Path:
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    return folder


# ---- torch.save -----------------------------------------------------------------------------------------------


@attack
def code_in_torch_file(folder: Path) -> Path:
    return save_torch(folder, {"state_dict": {"w": torch.zeros(2)}, "args": Runs(folder / "ran")})


@attack
def code_in_legacy_file(folder: Path) -> Path:
    path = folder / "model.pt"
    torch.save({"w": torch.zeros(2), "x": Runs(folder / "ran")}, path, _use_new_zipfile_serialization=False)
    return path


@attack
def bare_pickle_of_code(folder: Path) -> Path:
    path = folder / "model.bin"
    path.write_bytes(pickle.dumps(Runs(folder / "ran")))
    return path


@attack
def stride_0_bomb(folder: Path) -> Path:
    return save_torch(folder, {"w": torch.zeros(1).expand(10**12)})


@attack
def legacy_stride_0_bomb(folder: Path) -> Path:
    torch.save({"w": torch.zeros(1).expand(10**12)}, folder / "a.pt", _use_new_zipfile_serialization=False)
    return folder / "a.pt"


@attack
def many_views_of_one_storage(folder: Path) -> Path:
    base = torch.zeros(250_000)
    return save_torch(folder, {str(i): base[i : i + 240_000] for i in range(3000)})


def _claiming(*claim: object, held: int = 16) -> Callable[[Path], Path]:
    return lambda folder: torch_archive(folder / "a.pt", pickled_tensor(*claim), {"0": b"\0" * held})  # type: ignore[arg-type]


ATTACKS |= {
    "storage_claim_beyond_the_file": _claiming((10**10,), (1,), 10**10),
    "storage_claim_beyond_its_record": _claiming((8,), (1,), 8),
    "storage_claim_below_its_record": _claiming((2,), (1,), 2),
    "tensor_that_leaves_its_storage": _claiming((2,), (3,), 4, 1),
    "tensor_that_would_grow_its_storage": _claiming((10**9,), (1,), 4),
    "negative_stride": _claiming((2,), (-1,), 4, 1),
    "negative_offset": _claiming((2,), (1,), 4, -1),
    "negative_size": _claiming((-2,), (1,), 4),
    "size_that_overflows": _claiming((2**40, 2**40, 0, 2**62), (0, 0, 0, 2**62), 4),
    "many_dimensions": _claiming((1,) * 5000, (1,) * 5000, 4),
}


@attack
def zip_bomb(folder: Path) -> Path:
    def compress(record: zipfile.ZipInfo, content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        record.compress_type = zipfile.ZIP_DEFLATED
        return record, content

    return rewrite_zip(save_torch(folder, {"w": torch.zeros(20 * 2**20 // 4)}), compress)


@attack
def compressed_pickle(folder: Path) -> Path:
    path = folder / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + b"N" * (32 * 2**20))
    return path


@attack
def zip_of_many_entries(folder: Path) -> Path:
    path = folder / "a.pt"
    name = b"model/data/0"
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    directory = one * 1_000_000
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), len(local), 0)
    path.write_bytes(local + directory + end)
    return path


@attack
def cut_off_torch_file(folder: Path) -> Path:
    path = save_torch(folder, {"w": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-300])
    return path


@attack
def cut_off_legacy_file(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save({"w": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-300])
    return path


@attack
def torch_file_without_a_record(folder: Path) -> Path:
    path = save_torch(folder, {"w": torch.zeros(1000)})
    return rewrite_zip(
        path, lambda record, content: None if record.filename.endswith("/data/0") else (record, content)
    )


@attack
def plain_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.pt", "w") as archive:
        archive.writestr("hello.txt", b"hello")
    return folder / "a.pt"


@attack
def text_with_a_torch_name(folder: Path) -> Path:
    (folder / "a.pt").write_text("<!DOCTYPE html><title>404</title>")
    return folder / "a.pt"


@attack
def memo_bomb(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02Nr\xff\xff\xff\xff.")


@attack
def string_of_claimed_length(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02X\xff\xff\xff\x7fabc.")


@attack
def pickle_of_many_operations(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02(" + b"}" * (15 * 2**20) + b"t.")


@attack
def pickle_beyond_the_cap(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02(" + b"N" * (17 * 2**20) + b"t.")


@attack
def bytearray_bomb(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R.")


@attack
def doubling_codec(folder: Path) -> Path:
    grow = (
        b"c_codecs\nencode\nX\x02\0\0\0abX\x06\0\0\0latin1\x86Rq\0"
        + b"c_codecs\nencode\nh\0X\x03\0\0\0hex\x86Rq\0" * 60
    )
    return torch_archive(folder / "a.pt", b"\x80\x02" + grow + b".")


@attack
def copied_state(folder: Path) -> Path:
    filled = b"}q\0(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(100_000)) + b"u"
    copies = b"ccollections\nOrderedDict\n)Rh\0b" * 20_000
    return torch_archive(folder / "a.pt", b"\x80\x02" + filled + copies + b".")


@attack
def colliding_keys(folder: Path) -> Path:
    prime = 2**61 - 1
    keys = b"".join(b"\x8a\x10" + (prime * (i + 2**60)).to_bytes(16, "little") + b"N" for i in range(60_000))
    return torch_archive(folder / "a.pt", b"\x80\x02}(" + keys + b"u.")


@attack
def dictionary_that_holds_itself(folder: Path) -> Path:
    return torch_archive(folder / "a.pt", b"\x80\x02}q\0X\x05\0\0\0modelh\0s.")


@attack
def pickle_protocol_4(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save({"w": torch.zeros(2)}, path, pickle_protocol=4)
    return path


@attack
def optimizer_as_weights(folder: Path) -> Path:
    return save_torch(
        folder, {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    )


@attack
def several_state_dicts(folder: Path) -> Path:
    return save_torch(folder, {"model": {"w": torch.zeros(1)}, "state_dict": {"w": torch.ones(1)}})


@attack
def whole_module(folder: Path) -> Path:
    return save_torch(folder, torch.nn.Linear(2, 2))


@attack
def sparse_tensor(folder: Path) -> Path:
    return save_torch(folder, {"w": torch.eye(3).to_sparse()})


@attack
def torchscript(folder: Path) -> Path:
    path = folder / "a.pt"
    buffer = io.BytesIO()
    torch.save(OrderedDict(w=torch.zeros(1)), buffer)
    path.write_bytes(buffer.getvalue())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    return path


@attack
def number_names(folder: Path) -> Path:
    return save_torch(folder, {0: torch.zeros(1)})


@attack
def list_of_tensors(folder: Path) -> Path:
    return save_torch(folder, [torch.zeros(1)])
