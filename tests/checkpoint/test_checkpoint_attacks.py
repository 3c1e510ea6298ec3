"""Whatever is wrong with a file ends in a CheckpointError, soon, small, and without running anything from it."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attack_files import ATTACKS, entry, write_safetensors

from hessent.checkpoint.reader import open_checkpoint
from hessent.errors import CheckpointError

# Opens the files one after the other in a fresh process, as the command does, and prints what each one took.
OPEN_ALL = """
import json, re, sys, time
from hessent.checkpoint.reader import open_checkpoint
from hessent.errors import CheckpointError
for line in sys.stdin:
    name, path = json.loads(line)
    begin = time.process_time()
    try:
        open_checkpoint(path).load()
        outcome = "was taken"
    except CheckpointError as error:
        outcome = str(error)
    # not ru_maxrss: it begins with what the process that started this one took
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
    print(json.dumps([name, outcome, time.process_time() - begin, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    lines = []
    for name, build in ATTACKS.items():
        (folder / name).mkdir()
        lines.append(json.dumps([name, str(build(folder / name))]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN_ALL],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    return found, done.stderr, folder


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_ends_in_a_sentence(outcomes, name):
    found, stderr, _ = outcomes
    assert name in found, stderr
    outcome, seconds, _ = found[name]
    assert outcome != "was taken"
    assert seconds < 4  # of the 5 that the command has, one for starting
    assert len(outcome) < 5000
    assert all(line.isprintable() for line in outcome.split("\n"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_attacks_together_stay_below_512_mib(outcomes):
    found, _, _ = outcomes
    peaks = {name: peak for name, (_, _, peak) in found.items()}
    assert max(peaks.values()) < 512, peaks


def test_no_attack_ran_code(outcomes):
    _, _, folder = outcomes
    assert list(folder.glob("**/ran")) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut_off_data", "fetch or save the file again"),
        ("git_lfs_pointer", "git lfs pull"),
        ("fifo", "this is a FIFO"),
        ("device", "character device"),
        ("empty_file", "empty (0 bytes)"),
        ("missing_file", "there is no such file"),
        ("distributed_checkpoint", "dcp_to_torch"),
        ("pickled_shards", "safe_serialization=True"),
        ("code_in_torch_file", "posix.system"),
        ("code_in_legacy_file", "posix.system"),
        ("bare_pickle_of_code", "posix.system"),
        ("whole_module", "torch.nn.modules.linear.Linear"),
        ("stride_0_bomb", "claims 1,000,000,000,000 elements of a storage that holds 1"),
        ("zip_bomb", "compressed"),
        ("optimizer_as_weights", "state of an optimizer"),
        ("several_state_dicts", "several sets of weights"),
        ("torchscript", "TorchScript"),
        ("model_and_index", "model.safetensors and model.safetensors.index.json"),
        ("index_to_parent", "'../outside.safetensors'"),
        ("metadata_that_names_code", "may not name code"),
        ("pickle_protocol_4", "default pickle protocol"),
    ],
)
def test_the_sentence_says_what_was_found_or_what_to_do(outcomes, name, words):
    assert words in outcomes[0][name][0]


def test_all_forbidden_names_are_listed_at_once(tmp_path):
    class Other:
        pass

    Other.__module__, Other.__qualname__ = "builtins", "print"
    torch.save({"a": print, "b": os.system, "c": Path("x"), "w": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(tmp_path / "a.pt"))
    assert all(name in str(caught.value) for name in ("builtins.print", "posix.system", "pathlib.PosixPath"))


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = write_safetensors(tmp_path / "a.safetensors", {"w": entry(0, 4)}, b"\0" * 4)
    if os.geteuid() == 0:  # root may read everything: let the system call refuse instead
        monkeypatch.setattr(
            os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
    else:
        path.chmod(0)
    with pytest.raises(CheckpointError, match="no permission to read it"):
        open_checkpoint(str(path))


def test_names_cannot_forge_output(tmp_path):
    evil = "\x1b[31mred\n\u202ereversed [/red]"
    path = write_safetensors(tmp_path / "a.safetensors", {evil: entry(0, 4, [2])}, b"\0" * 4)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(path))
    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)
    assert r"'\x1b[31mred\n\u202ereversed [/red]'" in str(caught.value)


def test_every_wrong_tensor_is_named_but_only_so_many(tmp_path):
    header = {f"w{i:03d}": entry(0, 0, [1]) for i in range(50)}
    path = write_safetensors(tmp_path / "a.safetensors", header)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(path))
    assert caught.value.problems[0].startswith("'w000'")
    assert caught.value.problems[-1] == "… and 30 more"


def _mutations(content: bytes, number: int) -> list[bytes]:
    chance = random.Random(7)
    found = []
    for _ in range(number):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        cut = chance.randrange(len(changed)) if chance.random() < 0.2 else len(changed)
        found.append(bytes(changed[:cut]))
    return found


@pytest.mark.parametrize("ending", ["safetensors", "pt", "legacy.pt"])
def test_a_mutated_file_is_read_or_refused_but_never_crashes(tmp_path, ending):
    tensors = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.zeros(0)}
    path = tmp_path / f"model.{ending}"
    if ending == "safetensors":
        from safetensors.torch import save_file

        save_file(tensors, path, {"format": "pt"})
    else:
        torch.save({"state_dict": tensors, "step": 3}, path, _use_new_zipfile_serialization=ending == "pt")
    refused = 0
    for content in _mutations(path.read_bytes(), 400):
        path.write_bytes(content)
        try:
            open_checkpoint(str(path)).load()
        except CheckpointError:
            refused += 1
    assert refused > 50
