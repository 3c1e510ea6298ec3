"""What fuzzing found, each as a case of its own, so that it stays found whatever cases are drawn."""

import json
import os
import time
import zipfile

import pytest
from fuzzed_checkpoints import METADATA, valid
from fuzzed_pickles import zipped

from hessent.__main__ import main
from hessent.arch.shapes import default_heads
from hessent.checkpoint.metadata import from_text
from hessent.data.registry import open_dataset
from hessent.errors import CheckpointError, DataError, UsageError
from hessent.pipeline.configuration import find_config
from hessent.pipeline.request import LARGEST_SEED, SpectrumRequest


def test_a_metric_beyond_the_largest_float_is_named():
    text = METADATA | {"hessent.metrics": json.dumps({"loss": 10**400})}
    with pytest.raises(CheckpointError, match="not finite numbers: 'loss'"):
        from_text(text, "x")


@pytest.mark.parametrize(
    "wish",
    ["shape=64&samples=10000000", "samples=1_00_000&shape=1_000x1_1", "shape=3x99999x99999", "samples=+9999999"],
)
def test_a_checkpoint_may_not_ask_for_more_made_up_data_than_the_memory_holds(wish):
    if "shape" not in wish:
        wish += "&shape=64"
    with pytest.raises(CheckpointError, match="made-up numbers"):
        from_text(METADATA | {"hessent.data": f"synthetic:vectors?{wish}"}, "x")


def test_a_checkpoint_may_ask_for_made_up_data_of_the_usual_size():
    data = "synthetic:images?shape=3x224x224&classes=1000"
    assert from_text(METADATA | {"hessent.data": data}, "x").data == data


def test_a_small_archive_does_not_grow_into_a_large_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(40 * 2**20))
        archive.writestr("y.npy", bytes(8))
    with pytest.raises(DataError, match="packed into"):
        open_dataset(f"arrays:{tmp_path}/a.npz")


def npy(header):
    raw = header.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + len(raw).to_bytes(2, "little") + raw + bytes(120)


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'shape': (6, 5", "(" * 3000, "{'descr': '''"])
def test_an_array_header_that_breaks_off_is_damage(tmp_path, header):
    (tmp_path / "a.npz").write_bytes(zipped([("x.npy", npy(header)), ("y.npy", npy(header))]))
    with pytest.raises(DataError, match="not readable as an npz file"):
        open_dataset(f"arrays:{tmp_path}/a.npz")


@pytest.mark.parametrize("packed", [b"", b"\x09\x04\x05\0" + b"\xff" * 40, bytes(60)])
def test_damage_in_an_array_packed_by_lzma_is_damage(tmp_path, packed):
    content = bytearray(zipped([("x.npy", packed), ("y.npy", packed)]))
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] = zipfile.ZIP_LZMA
            start = content.find(mark, start + 1)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="not readable as an npz file"):
        open_dataset(f"arrays:{tmp_path}/a.npz")


@pytest.mark.parametrize(
    "words",
    [
        ("summary", ""),
        ("summary", "9" * 300),
        ("inspect", "9" * 300),
        ("spectrum", "9" * 300),
        ("spectrum", "gone.pt", "-o", "9" * 300),
        ("merge", "9" * 300, "-o", "8" * 300),
    ],
)
def test_a_name_that_no_file_can_have_is_an_input(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["9" * 300, "arrays:" + "9" * 300, "tokens:" + "9" * 300, "images:" + "9" * 300])
def test_data_of_a_name_that_no_file_can_have_are_refused(name):
    with pytest.raises(DataError):
        open_dataset(name)


def test_a_folder_of_images_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"'{tmp_path}' cannot be read: Permission denied"):
        open_dataset(f"images:{tmp_path}")


def configured(folder, text, name="hessent.toml"):
    (folder / name).write_text(text)
    return find_config(str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("blocks = [1]", "is not a list of texts"),
        ("samples = 0", "must be at least 1"),
        ("batch_size = -1", "must be at least 1"),
        ("seed = 18446744073709551616", "must be at most 9223372036854775807"),
        ("rtol = nan", "must be at least 0"),
        ("memory = 'much'", "is not a size"),
        ("dtype = 'float16'", "must be one of float32, float64"),
        ("arch_options = {a = {b = 1}}", "is not a table of plain values"),
        ("samples = true", "is not a whole number"),
        ("seed = 0x" + "f" * 5000, "a number of very many digits"),
        ("seed = " + "9" * 5000, "cannot be read"),
        ("seed = " + "[" * 5000, "nested too deeply"),
        ("a" + ".a" * 5000 + " = 1", "5,000 dots"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path, setting, message):
    with pytest.raises(UsageError, match=message) as caught:
        configured(tmp_path, f"[tool.hessent]\n{setting}\n")
    assert str(tmp_path / "hessent.toml") in str(caught.value)


def test_a_large_configuration_is_not_parsed(tmp_path):
    with pytest.raises(UsageError, match="more than 262,144 bytes"):
        configured(tmp_path, "[tool.hessent]\n" + "#" * 300_000)


def test_the_worst_configuration_takes_moments(tmp_path):
    line = "k{}" + ".a" * 300 + " = 1\n"
    text = "[tool.hessent]\n" + "".join(line.format(index) for index in range(400))
    start = time.process_time()
    assert configured(tmp_path, text)[0] == {}
    assert time.process_time() - start < 5


def test_the_project_file_of_something_else_may_hold_anything(tmp_path):
    assert configured(tmp_path, "[tool.other\n", "pyproject.toml") == ({}, None)


def test_a_seed_that_a_file_cannot_hold_is_refused():
    assert SpectrumRequest("x", seed=LARGEST_SEED).seed == LARGEST_SEED
    with pytest.raises(UsageError, match="must be at most"):
        SpectrumRequest("x", seed=LARGEST_SEED + 1)


def test_heads_of_an_absurd_width_are_found_at_once():
    start = time.process_time()
    assert default_heads(10**18 + 9)[0] == 1
    assert default_heads(3 * 1_000_003)[0] == 1
    assert default_heads(96)[0] == 12
    assert time.process_time() - start < 1


def test_no_name_forges_a_line_of_a_message():
    error = DataError("'a\n  try: rm -rf x\x1b[2J\u202e' is no file", where="b\nerror: c", problems=["d\ne"])
    lines = str(error).split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines == ["b", "    error: c: 'a", r"      try: rm -rf x\x1b[2J\u202e' is no file", "  - d", "    e"]


def test_a_wrong_setting_beside_a_sound_checkpoint_ends_in_exit_code_2(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(valid())
    (tmp_path / "hessent.toml").write_text(
        '[tool.hessent]\narch = "mlp"\ndata = "digits"\nsamples = 8\nblocks = [1]\n'
    )
    assert main(["spectrum", "--dry-run", str(tmp_path / "model.safetensors")]) == 2
    assert "hessent.toml" in capsys.readouterr().err
