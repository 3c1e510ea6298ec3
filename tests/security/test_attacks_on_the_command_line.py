"""As an attacker would: files of strangers given to the commands, each of which must end in exit code 2.

Soon and small: within 5 s and 512 MiB beyond what the program takes for a valid tiny file.  No traceback, no letter
that a terminal would obey, nothing run, and no file written.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attack_files import ATTACKS, entry, write_safetensors
from safetensors.torch import save_file
from spectrum_attacks import SPECTRUM_ATTACKS, attacked_file

import hessent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and /proc")

RUNNER = Path(__file__).with_name("attack_runner.py")
ROOT = str(Path(hessent.__file__).parents[1])
EVIL_NAME = "\x1b[31mred\n[/red]\u202e"
MARKER = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


def weights():
    sizes = {"0.weight": (6, 64), "0.bias": (6,), "2.weight": (10, 6), "2.bias": (10,)}
    return {name: torch.ones(size) for name, size in sizes.items()}


def checkpoint(folder, metadata=None, tensors=None):
    """Write a small net with things beside it that must not be run; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evil.py").write_text(MARKER)
    ours = {f"hessent.{key}": text for key, text in (metadata or {}).items()}
    save_file(tensors or weights(), folder / "m.safetensors", {"hessent.format": "1"} | ours if ours else {})
    return str(folder / "m.safetensors")


NAMES_OF_CODE = {
    "arch": ["evil.py:build", "evil:build", "os:system", "timm:resnet18"],
    "data": ["evil.py:load", "os:system", "arrays:/etc/passwd", "arrays:../x.npz", "hf:.", "tokens:/dev/zero"],
    "loss": ["evil.py:loss", "os:system", "mse?x=evil.py:loss"],
}


def no_files(folder):
    """What is no regular file, for every command that opens one."""
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.path.relpath(folder / "socket"))
    finally:
        listener.close()
    (folder / "zero").symlink_to("/dev/zero")
    for ending in (".safetensors", ".pt", ".spectrum.h5", ".safetensors.index.json"):
        for kind in ("pipe", "socket", "zero"):
            (folder / f"{kind}{ending}").symlink_to(kind)
            yield folder / f"{kind}{ending}"


def spectrum_attacks(folder):
    folder.mkdir()
    for name, (edit, _) in SPECTRUM_ATTACKS.items():
        yield name, ["summary", str(attacked_file(folder / f"{name}.spectrum.h5", edit))]


def attacks(root):
    """Yield name and command of every attack."""
    for name, build in ATTACKS.items():
        (root / name).mkdir()
        yield name, ["inspect", str(build(root / name))]
    yield from spectrum_attacks(root / "spectra")
    for path in no_files(root / "kinds"):
        yield path.name, ["summary" if path.name.endswith(".h5") else "inspect", str(path)]
    for option, names in NAMES_OF_CODE.items():
        for number, name in enumerate(names):
            given = [word for other in DEFAULTS.keys() - {option} for word in (f"--{other}", DEFAULTS[other])]
            told = checkpoint(root / f"metadata-{option}-{number}", {option: name})
            yield f"metadata {option}={name}", ["spectrum", told, *given, "--dry-run"]
            beside = checkpoint(root / f"configured-{option}-{number}")
            Path(beside).with_name("hessent.toml").write_text(f"[tool.hessent]\n{option} = {json.dumps(name)}\n")
            yield f"configuration {option}={name}", ["spectrum", beside, *given, "--dry-run"]
    plain = ["--arch", "mlp", "--data", "digits", "--dry-run"]
    diverged = checkpoint(root / "nan", tensors=weights() | {"0.bias": torch.full((6,), float("nan"))})
    yield "weights that are NaN", ["spectrum", diverged, *plain]
    whole = checkpoint(root / "whole", tensors={name: tensor.int() for name, tensor in weights().items()})
    yield "weights that are whole numbers", ["spectrum", whole, *plain]
    evil = write_safetensors(root / "names.safetensors", {EVIL_NAME: entry(0, 4, [1])}, b"\0" * 4)
    yield "a name with escapes", ["spectrum", str(evil), *plain]
    yield "a path with escapes", ["inspect", str(root / f"{EVIL_NAME}\udcff.safetensors")]
    yield "a summary of a path with escapes", ["summary", str(root / f"{EVIL_NAME}.spectrum.h5")]


DEFAULTS = {"arch": "mlp", "data": "digits"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacks")
    started = dict(attacks(root))
    harmless = {"harmless": ["inspect", checkpoint(root / "harmless")]}
    here = root / "here"
    here.mkdir()
    (here / "evil.py").write_text(MARKER)  # what "evil:build" would import
    lines = [json.dumps([name, words]) for name, words in (harmless | started).items()]
    before = set(root.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=280,
        cwd=here,
        env=os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"},
    )
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == harmless.keys() | started.keys(), done.stderr
    return found, sorted(str(path) for path in set(root.rglob("*")) - before)


def test_the_harmless_file_is_read(outcomes):
    assert outcomes[0]["harmless"][0] == 0


def test_every_attack_ends_in_exit_code_2_and_an_error(outcomes):
    found = {name: rest for name, rest in outcomes[0].items() if name != "harmless"}
    assert len(found) > 150
    wrong = {name: rest for name, rest in found.items() if rest[0] != 2 or not rest[4].startswith("error: ")}
    assert not wrong
    assert not [name for name, rest in found.items() if "Traceback" in rest[4]]


def test_names_of_code_are_refused_as_such(outcomes):
    for name, (_, _, _, _, err) in outcomes[0].items():
        if name.startswith("metadata "):
            assert "its metadata cannot be taken" in err
        if name.startswith("configuration "):
            assert "names code, or data by a path of its own" in err


def test_every_attack_ends_soon(outcomes):
    slow = {name: rest[1] for name, rest in outcomes[0].items() if rest[1] > 4}  # a second more is for starting
    assert not slow


def test_all_attacks_together_take_less_than_512_mib(outcomes):
    peaks = {name: rest[2] for name, rest in outcomes[0].items()}
    assert max(peaks.values()) - peaks["harmless"] < 512


def test_no_attack_reaches_the_terminal(outcomes):
    for name, (_, _, _, out, err) in outcomes[0].items():
        assert all(line.isprintable() for line in (out + err).split("\n")), name


def test_no_attack_runs_code_or_writes_a_file(outcomes):
    assert outcomes[1] == []
