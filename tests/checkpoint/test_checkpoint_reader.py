"""Ordinary files of every kind: the same weights give the same tensors and the same digest, however they lie."""

import argparse
import json
import os
from collections import OrderedDict

import pytest
import torch
from attack_files import entry, tensor_program, torch_archive, write_index, write_safetensors
from safetensors.torch import save_file

from hessent.checkpoint.reader import open_checkpoint
from hessent.errors import CheckpointError

WEIGHTS = {
    "conv.weight": torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2),
    "fc.bias": torch.tensor([1.5, -2.0]),
    "norm.num_batches_tracked": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


def save(path, tensors=WEIGHTS, metadata=None):
    save_file(tensors, path, metadata)
    return str(path)


def save_shards(folder, tensors=WEIGHTS, name="model.safetensors.index.json"):
    weight_map = {}
    for number, (key, tensor) in enumerate(tensors.items()):
        shard = f"part-{number}.safetensors"
        save_file({key: tensor}, folder / shard, {"format": "pt"})
        weight_map[key] = shard
    return str(write_index(folder, weight_map, name))


def save_torch(path, saved, **options):
    torch.save(saved, path, **options)
    return str(path)


def equal(loaded, expected):
    return loaded.tensors.keys() == expected.keys() and all(
        torch.equal(loaded.tensors[name], tensor) for name, tensor in expected.items()
    )


def test_opening_describes_without_reading_numbers(tmp_path):
    checkpoint = open_checkpoint(save(tmp_path / "a.safetensors"))
    assert checkpoint.format == "safetensors"
    assert list(checkpoint.tensors) == sorted(WEIGHTS)
    info = checkpoint.tensors["conv.weight"]
    assert (info.shape, info.dtype, info.num_elements) == ((2, 3, 2, 2), "F32", 24)
    assert checkpoint.shapes["norm.num_batches_tracked"] == ()


def test_the_path_is_kept_as_typed(tmp_path, monkeypatch):
    save(tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint("./a.safetensors").path == "./a.safetensors"
    assert open_checkpoint("a.safetensors").folder == ""


def test_every_layout_gives_the_same_tensors_and_digest(tmp_path):
    (tmp_path / "sharded").mkdir()
    (tmp_path / "hf").mkdir()
    save(tmp_path / "hf" / "model.safetensors")
    paths = {
        save(tmp_path / "a.safetensors"): "safetensors",
        save(tmp_path / "b.safetensors", dict(reversed(WEIGHTS.items())), {"x": "y"}): "safetensors",
        save_shards(tmp_path / "sharded"): "safetensors-sharded",
        str(tmp_path / "sharded"): "safetensors-sharded",
        str(tmp_path / "hf"): "safetensors",
        save_torch(tmp_path / "a.pt", WEIGHTS): "torch",
        save_torch(tmp_path / "a.pth.tar", {"state_dict": OrderedDict(WEIGHTS), "epoch": 3}): "torch",
        save_torch(tmp_path / "old.pt", {"model": WEIGHTS}, _use_new_zipfile_serialization=False): "torch-legacy",
    }
    digests = set()
    for path, kind in paths.items():
        checkpoint = open_checkpoint(path)
        loaded = checkpoint.load()
        assert checkpoint.format == kind
        assert equal(loaded, WEIGHTS)
        digests.add(loaded.sha256)
    assert len(digests) == 1


@pytest.mark.parametrize("change", ["name", "value", "shape", "dtype"])
def test_the_digest_changes_with_name_value_shape_and_type(tmp_path, change):
    changed = {
        "name": {"b": torch.zeros(4)},
        "value": {"a": torch.tensor([0.0, 0.0, 0.0, -0.0])},
        "shape": {"a": torch.zeros(2, 2)},
        "dtype": {"a": torch.zeros(4, dtype=torch.int32)},
    }[change]
    first = open_checkpoint(save(tmp_path / "a.safetensors", {"a": torch.zeros(4)})).load()
    second = open_checkpoint(save(tmp_path / "b.safetensors", changed)).load()
    assert first.sha256 != second.sha256


def test_half_precision_is_promoted_exactly_and_recorded(tmp_path):
    tensors = {
        "a": torch.randn(100).to(torch.bfloat16),
        "b": torch.randn(3).to(torch.float16),
        "c": torch.randn(5),
        "n": torch.tensor([1, 2**40]),
        "mask": torch.tensor([True, False]),
    }
    checkpoint = open_checkpoint(save(tmp_path / "a.safetensors", tensors))
    loaded = checkpoint.load()
    assert checkpoint.stored_dtype == loaded.stored_dtype == "BF16+F32+F16"
    assert {loaded.tensors[name].dtype for name in "abc"} == {torch.float32}
    assert torch.equal(loaded.tensors["a"].to(torch.bfloat16), tensors["a"])
    assert torch.equal(loaded.tensors["n"], tensors["n"])
    assert torch.equal(loaded.tensors["mask"], tensors["mask"])


def test_bf16_only_is_named_alone(tmp_path):
    path = save(tmp_path / "a.safetensors", {"a": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(1)})
    assert open_checkpoint(path).load().stored_dtype == "BF16"


def test_float64_is_kept_only_when_asked_for(tmp_path):
    exact = torch.tensor([1 + 2**-40], dtype=torch.float64)
    checkpoint = open_checkpoint(save(tmp_path / "a.safetensors", {"a": exact}))
    assert checkpoint.load().tensors["a"].dtype == torch.float32
    assert torch.equal(checkpoint.load(torch.float64).tensors["a"], exact)
    assert checkpoint.load().sha256 == checkpoint.load(torch.float64).sha256


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.complex64])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_rarer_types_are_read(tmp_path, dtype, ending):
    tensors = {"a": torch.tensor([0.0, 1.0, 2.0]).to(dtype)}
    path = str(tmp_path / f"a.{ending}")
    save(path, tensors) if ending == "safetensors" else save_torch(path, tensors)
    loaded = open_checkpoint(path).load().tensors["a"]
    assert torch.equal(loaded.to(torch.complex64), torch.tensor([0, 1, 2], dtype=torch.complex64))


def test_all_tensors_that_are_not_finite_are_named_with_counts(tmp_path):
    tensors = {
        "good": torch.zeros(4),
        "a": torch.tensor([float("nan"), 1.0, float("inf"), float("nan")]),
        "b": torch.tensor([-float("inf")], dtype=torch.bfloat16),
    }
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(save(tmp_path / "a.safetensors", tensors)).load()
    assert caught.value.problems == (
        "'a': 2 NaN and 1 infinite of 4 values",
        "'b': 0 NaN and 1 infinite of 1 values",
    )
    assert "2 of 3 tensors" in str(caught.value)


def test_values_beyond_float32_say_how_to_keep_them(tmp_path):
    checkpoint = open_checkpoint(
        save(tmp_path / "a.safetensors", {"a": torch.tensor([1e300], dtype=torch.float64)})
    )
    with pytest.raises(CheckpointError, match="load as float64"):
        checkpoint.load()
    assert checkpoint.load(torch.float64).tensors["a"].item() == 1e300


def test_loaded_tensors_do_not_depend_on_the_file_any_more(tmp_path):
    for path in (save(tmp_path / "a.safetensors"), save_torch(tmp_path / "a.pt", WEIGHTS)):
        loaded = open_checkpoint(path).load()
        with open(path, "r+b") as handle:
            handle.write(b"\xff" * os.path.getsize(path))
        os.truncate(path, 0)
        assert equal(loaded, WEIGHTS)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("change", ["rewritten", "longer", "replaced", "gone"])
def test_a_file_that_changed_since_it_was_opened_is_refused(tmp_path, ending, change):
    path = str(tmp_path / f"a.{ending}")
    write = save if ending == "safetensors" else save_torch
    write(path, WEIGHTS)
    checkpoint = open_checkpoint(path)
    before = os.stat(path)
    if change == "rewritten":
        with open(path, "r+b") as handle:
            handle.seek(-1, os.SEEK_END)
            handle.write(b"\x01")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    elif change == "longer":
        with open(path, "ab") as handle:
            handle.write(b"\0")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "replaced":
        write(path + ".new", WEIGHTS)
        os.replace(path + ".new", path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.unlink(path)
    with pytest.raises(CheckpointError, match="no such file" if change == "gone" else "changed while reading"):
        next(checkpoint.source.read())  # before a single tensor


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_that_changes_between_two_tensors_is_refused(tmp_path, ending):
    path = str(tmp_path / f"a.{ending}")
    (save if ending == "safetensors" else save_torch)(path, {"a": torch.zeros(9000), "b": torch.zeros(9000)})
    reading = open_checkpoint(path).source.read()
    next(reading)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CheckpointError, match="changed while reading"):
        list(reading)


def test_a_file_cut_off_under_the_reader_is_an_error_and_no_crash(tmp_path):
    path = save(tmp_path / "a.safetensors", {"a": torch.zeros(9000), "b": torch.zeros(10**6)})
    reading = open_checkpoint(path).source.read()
    next(reading)
    os.truncate(path, 50_000)
    with pytest.raises(CheckpointError, match="changed while reading"):
        list(reading)


def test_shared_memory_in_a_torch_file_is_read_once(tmp_path):
    weight = torch.randn(50, 4)
    path = save_torch(tmp_path / "a.pt", {"wte": weight, "head": weight, "row": weight[3], "turned": weight.T})
    loaded = open_checkpoint(path).load()
    assert loaded.tensors["wte"].data_ptr() == loaded.tensors["head"].data_ptr()
    assert torch.equal(loaded.tensors["row"], weight[3])
    assert torch.equal(loaded.tensors["turned"], weight.T)
    separate = save(
        tmp_path / "b.safetensors",
        {"wte": weight, "head": weight.clone(), "row": weight[3].clone(), "turned": weight.T.contiguous()},
    )
    assert open_checkpoint(separate).load().sha256 == loaded.sha256


def test_parameters_namespaces_and_bytes_are_plain_enough(tmp_path):
    saved = {
        "model": torch.nn.Linear(2, 2).state_dict(),
        "args": argparse.Namespace(lr=0.1, nested={"a": [1, 2]}),
        "rng": b"\x00\xff",
        "shape": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "ema": {"weight": torch.nn.Parameter(torch.ones(2, 2))},
        "global_step": 12,
    }
    checkpoint = open_checkpoint(save_torch(tmp_path / "a.ckpt", saved))
    assert sorted(checkpoint.tensors) == ["bias", "weight"]
    assert checkpoint.metadata.step == 12
    assert checkpoint.notes == (
        "not read beside the weights: 'args', 'rng', 'shape', 'device', 'ema', 'global_step'",
    )


def test_allowing_namespaces_does_not_outlast_the_reading(tmp_path):
    open_checkpoint(save_torch(tmp_path / "a.pt", {"w": torch.zeros(1), "args": argparse.Namespace()}))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_weights_are_found_under_the_usual_keys(tmp_path, key):
    path = save_torch(tmp_path / "a.pt", {key: WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}})
    assert equal(open_checkpoint(path).load(), WEIGHTS)


def test_an_epoch_is_not_a_step(tmp_path):
    metadata = open_checkpoint(save_torch(tmp_path / "a.pt", {"model": WEIGHTS, "epoch": 5})).metadata
    assert metadata.step is None
    assert metadata.extra == {"epoch": "5"}


def test_what_is_not_a_tensor_is_left_out_and_said(tmp_path):
    checkpoint = open_checkpoint(save_torch(tmp_path / "a.pt", {"w": torch.zeros(2), "version": 3}))
    assert checkpoint.notes == ("left out, because they are not tensors: 'version'",)


def test_an_attribute_that_shadows_items_hides_nothing(tmp_path):
    tensor = tensor_program((2,), (1,), 2)
    program = b"\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0w" + tensor + b"s}X\x05\0\0\0itemsK\x01sb."
    path = torch_archive(tmp_path / "a.pt", program, {"0": torch.ones(2).numpy().tobytes()})
    assert torch.equal(open_checkpoint(str(path)).load().tensors["w"], torch.ones(2))


def test_a_trainer_directory_tells_its_step(tmp_path):
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    save_shards(folder)
    (folder / "optimizer.pt").write_bytes(b"never opened")
    (folder / "training_args.bin").write_bytes(b"never opened")
    (folder / "trainer_state.json").write_text(
        json.dumps({"global_step": 500, "max_steps": 2000, "log_history": []})
    )
    for path in (folder, folder / "model.safetensors.index.json"):
        metadata = open_checkpoint(str(path)).metadata
        assert (metadata.step, metadata.total_steps, metadata.progress) == (500, 2000, 0.25)


def test_a_directory_with_pytorch_model_bin_is_read(tmp_path):
    save_torch(tmp_path / "pytorch_model.bin", WEIGHTS)
    (tmp_path / "trainer_state.json").write_text('{"global_step": 3, "max_steps": -1}')
    checkpoint = open_checkpoint(str(tmp_path) + "/")
    assert (checkpoint.format, checkpoint.metadata.step, checkpoint.metadata.total_steps) == ("torch", 3, None)


def test_a_very_long_trainer_log_costs_only_the_step(tmp_path):
    save(tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text(" " * (9 * 2**20) + "{}")
    assert open_checkpoint(str(tmp_path)).metadata.step is None


def test_shards_must_agree_about_the_run(tmp_path):
    for name, step in (("a", "1"), ("b", "2")):
        metadata = {"hessent.format": "1", "hessent.step": step}
        save_file({name: torch.zeros(1)}, tmp_path / f"{name}.safetensors", metadata)
    path = write_index(tmp_path, {"a": "a.safetensors", "b": "b.safetensors"})
    with pytest.raises(CheckpointError, match=r"contradict each other about hessent\.step"):
        open_checkpoint(str(path))


def test_header_padding_and_alignment_of_other_writers_are_accepted(tmp_path):
    header = b'{"b":{"shape":[1],"data_offsets":[4,8],"dtype":"F32"} ,\n'
    header += b'"a" : {"dtype":"F32","shape":[],"data_offsets":[0,4]}}    '
    path = write_safetensors(tmp_path / "a.safetensors", header, torch.tensor([1.0, 2.0]).numpy().tobytes())
    loaded = open_checkpoint(str(path)).load().tensors
    assert loaded["a"].item() == 1.0
    assert loaded["b"].tolist() == [2.0]


def test_a_stored_bool_of_any_byte_is_true(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", {"m": entry(0, 3, [3], "BOOL")}, b"\x00\x01\xff")
    assert open_checkpoint(str(path)).load().tensors["m"].tolist() == [False, True, True]


def test_a_mistyped_name_is_answered_with_the_near_one(tmp_path):
    save(tmp_path / "step-000100.safetensors")
    with pytest.raises(CheckpointError, match=r"did you mean 'step-000100\.safetensors'"):
        open_checkpoint(str(tmp_path / "step-00100.safetensors"))


def test_optimizer_state_is_not_opened_as_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        open_checkpoint(save(tmp_path / "a.optim.safetensors"))
