"""Strategies for files of `torch.save`: the pickle as a list of operations, the zip archive as a list of records.

Nothing here is ever unpickled freely: programs are taken apart by `pickletools` and put together as bytes.
"""

from __future__ import annotations

import functools
import io
import pickletools
import struct
import zipfile
import zlib

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mutations import ODD_INTEGERS, damaged
from reading_law import Case

Record = tuple[str, bytes]


def _saved() -> object:
    """What a trainer saves: tensors of several kinds and plain values around them."""
    return {
        "state_dict": {
            "layers.0.weight": torch.arange(12.0).reshape(3, 4),
            "layers.0.bias": torch.nn.Parameter(torch.zeros(3)),
            "half": torch.zeros(5, dtype=torch.bfloat16)[1:4],
            "counter": torch.tensor(7),
        },
        "epoch": 3,
        "global_step": 12,
        "lr": [0.1, 1e-3, -2, 300, 70_000, 2**40, True, None, ("a", b"bytes")],
    }


@functools.cache
def archive() -> tuple[Record, ...]:
    """The records of a valid archive; data.pkl is the first."""
    buffer = io.BytesIO()
    torch.save(_saved(), buffer)
    with zipfile.ZipFile(buffer) as opened:
        return tuple((record.filename, opened.read(record)) for record in opened.infolist())


@functools.cache
def legacy() -> tuple[tuple[bytes, ...], bytes]:
    """The five pickles of a valid file of the older layout, and what follows them."""
    buffer = io.BytesIO()
    torch.save(_saved(), buffer, _use_new_zipfile_serialization=False)
    stream, pickles = io.BytesIO(buffer.getvalue()), []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        pickles.append(buffer.getvalue()[start : stream.tell()])
    return tuple(pickles), stream.read()


def operations(program: bytes) -> list[bytes]:
    """Cut a pickle into its operations."""
    starts = [position for _, _, position in pickletools.genops(program)] + [len(program)]
    return [program[start:end] for start, end in zip(starts, starts[1:], strict=False)]  # noqa: RUF007


def integer(number: int) -> bytes:
    """The operation that pushes a whole number."""
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw if len(raw) < 256 else b"\x8b" + struct.pack("<i", len(raw)) + raw


def text(value: str) -> bytes:
    """The operation that pushes a text."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


ODD_OPERATIONS = (
    *(
        b"(",
        b")",
        b"]",
        b"}",
        b"N",
        b"\x88",
        b"0",
        b"1",
        b"2",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"l",
        b"d",
        b"a",
        b"e",
    ),
    *(
        b"s",
        b"u",
        b"R",
        b"b",
        b"Q",
        b"o",
        b"\x81",
        b".",
        b"\x80\x02",
        b"\x80\xff",
        b"\x94",
        b"\x93",
        b"\x8f",
        b"\x90",
    ),
    *(
        b"h\0",
        b"h\xff",
        b"j\xff\xff\xff\xff",
        b"q\0",
        b"r\xff\xff\xff\x7f",
        b"G" + b"\xff" * 8,
        b"I99999999999999\n",
    ),
    *(b"cos\nsystem\n", b"ctorch\nSize\n", b"ctorch\ndevice\n", b"ccollections\nOrderedDict\n", b"c\n\n"),
    *(b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cargparse\nNamespace\n"),
    *(
        b"c__builtin__\nbytearray\n",
        b"c_codecs\nencode\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nfloat64\n",
    ),
    *(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ios\nsystem\n"),
    *(b"(" * 50_000, b"]" * 50_000, b"\x85" * 2000, b"h\0\x86" * 40, b"X\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8),
    *(b"U\xff", b"V\\ud800\n", b"F1e999\n", b"L" + b"9" * 5000 + b"L\n", b"\x95" + b"\xff" * 8, b"\x97", b"\x98"),
    *(integer(number) for number in ODD_INTEGERS),
    *(text(value) for value in ("0", "9", "cuda:0", "meta", "storage", "\x1b[31m", "a/b", "x" * 5000, "\ud800")),
)


@st.composite
def programs(draw: st.DrawFn, program: bytes) -> bytes:
    """A pickle with some operations changed, left out, repeated, moved, or odd ones put in."""
    steps = operations(program)
    numbers = [i for i, step in enumerate(steps) if step[:1] in b"KMJ\x8aX"]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(steps) - 2, 0)))
        kind = draw(
            st.sampled_from(("number", "number", "insert", "insert", "replace", "remove", "repeat", "swap"))
        )
        if kind == "number" and numbers:
            place = draw(st.sampled_from(numbers))
            other = st.sampled_from([step for step in steps if step[:1] in b"KMJX"] or steps)
            odd = st.sampled_from(ODD_INTEGERS).map(integer)
            steps[place % len(steps)] = draw(other | odd | st.integers(-2, 40).map(integer))
        elif kind == "insert":
            steps.insert(place, draw(st.sampled_from(ODD_OPERATIONS) | st.sampled_from(steps)))
        elif kind == "replace":
            steps[place] = draw(st.sampled_from(ODD_OPERATIONS) | st.sampled_from(steps))
        elif kind == "remove":
            del steps[place]
        elif kind == "repeat":
            steps[place:place] = steps[place : place + draw(st.integers(1, 20))]
        else:
            other_place = draw(st.integers(0, len(steps) - 1))
            steps[place], steps[other_place] = steps[other_place], steps[place]
    return b"".join(steps)


def zipped(records: list[Record], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Write an archive by hand: names may repeat and be of any form."""
    body, directory = b"", b""
    for name, content in records:
        raw = name.encode("utf-8", "surrogatepass")
        packed = content if compression == zipfile.ZIP_STORED else zlib.compress(content)[2:-4]
        sums = struct.pack(
            "<HHHHLLLHH", 0, compression, 0, 33, zlib.crc32(content), len(packed), len(content), len(raw), 0
        )
        directory += b"PK\x01\x02\x14\0\x14\0" + sums + b"\0" * 10 + struct.pack("<L", len(body)) + raw
        body += b"PK\x03\x04\x14\0" + sums + raw + packed
    end = struct.pack("<HHHHLLH", 0, 0, len(records), len(records), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


@st.composite
def archives(draw: st.DrawFn) -> Case:
    """A zip archive of torch.save whose records or bytes were changed; the program in it is sound."""
    records = list(archive())
    contents = st.sampled_from((b"", b"big", b"little", b"\xff" * 48, b"\0" * 4096, b"1", b"-1\n"))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(records) - 1))
        name, content = records[place]
        kind = draw(st.sampled_from(("content", "rename", "remove", "repeat", "cut")))
        if kind == "content":
            records[place] = (name, draw(contents))
        elif kind == "rename":
            suffix = draw(
                st.sampled_from(("", "x", "/../x", "\0", "/data.pkl", "/constants.pkl", "/data/0", "\ud800"))
            )
            records[place] = (draw(st.sampled_from(("archive", "", "..", "/etc", name))) + suffix, content)
        elif kind == "remove" and len(records) > 1:
            del records[place]
        elif kind == "repeat":
            records.append((name, draw(contents | st.just(content))))
        else:
            records[place] = (name, content[: len(content) // 2])
    compression = draw(st.sampled_from((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, 99)))
    content = zipped(records, compression=compression)
    if draw(st.booleans()):
        directory = content.find(b"PK\x01\x02")
        near = [*range(30), *range(directory, directory + 46), *range(len(content) - 22, len(content))]
        content = draw(damaged(content, near=near))
    return Case("checkpoint", ("{folder}/model.pt",), {"model.pt": content})


@st.composite
def programs_in_archives(draw: st.DrawFn) -> Case:
    """A sound archive around a changed program."""
    (name, program), *rest = archive()
    content = zipped([(name, draw(programs(program))), *rest])
    return Case("checkpoint", ("{folder}/model.pt",), {"model.pt": content})


@st.composite
def legacy_files(draw: st.DrawFn) -> Case:
    """A file of the older layout: one of its five pickles changed, or its bytes."""
    pickles, storages = list(legacy()[0]), legacy()[1]
    if draw(st.integers(0, 3)):
        place = draw(st.sampled_from((0, 1, 2, 3, 3, 3, 3, 4)))
        pickles[place] = draw(programs(pickles[place]))
    if draw(st.integers(0, 2)) == 0:
        storages = draw(damaged(storages, near=range(8)))
    name = draw(st.sampled_from(("model.pt", "model.ckpt", "model.pth.tar")))
    return Case("checkpoint", (f"{{folder}}/{name}",), {name: b"".join(pickles) + storages})


PICKLES: dict[str, SearchStrategy[Case]] = {
    "archive": archives(),
    "program": programs_in_archives(),
    "legacy": legacy_files(),
}
