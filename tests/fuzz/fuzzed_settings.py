"""Strategies for what a user types or keeps: options of commands, hessent.toml and pyproject.toml."""

from __future__ import annotations

import json
from typing import Any

from fuzzed_checkpoints import METADATA, valid
from fuzzed_spectra import FILE, samples
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mutations import ODD_INTEGERS, damaged, odd_texts
from reading_law import Case
from small_networks import MLP

SETTINGS: dict[str, tuple[Any, ...]] = {
    "arch": ("mlp", "auto", "resnet18", "outside.py:factory", "os.path:join", "hf:.", "timm:x", ""),
    "arch_options": (
        {},
        {"activation": "gelu"},
        {"sizes": [64, 6, 10]},
        {"sizes": "64-6-10"},
        {"a": {"b": {}}},
        {"bias": []},
    ),
    "data": ("digits", "digits?split=test", "synthetic", "outside.py:load", "arrays:../outside.npz", "/dev/zero"),
    "loss": (
        "cross-entropy",
        "mse",
        "cross-entropy?label_smoothing=2",
        "os:system",
        "cross-entropy?label_smoothing=nan",
    ),
    "samples": (1, 5, 10**18),
    "batch_size": (1, 7, 10**18),
    "seed": (0, 2**63, 2**64, -1, 2**31),
    "blocks": (
        ["layer"],
        ["full"],
        ["*=all"],
        ["nothing*=x"],
        [1],
        [["layer"]],
        [],
        [""],
        ["=", "[=x", "*="],
        [None],
    ),
    "rtol": (0.05, 0, 1e-320, -1.0, 1e308),
    "device": ("cpu", "auto", "cuda:99", "meta", "mps", "cpu:7", "cuda:-1", "xla:" + "9" * 30),
    "dtype": ("float32", "float64", "float16"),
    "memory": ("1G", "512M", "1", "1e400G", "nan", "-1G", "9" * 400, "0x10", "1_000M", "٣G", "G", "1ſ"),
}
ODD_TOML = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e999",
        "0x" + "f" * 5000,
        "9" * 5000,
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "1979-13-40",
        "{}",
    ),
    *(
        "[" * 50 + "]" * 50,
        "[" * 900 + "]" * 900,
        "[" * 50_000,
        "{a=" * 900 + "1" + "}" * 900,
        "'''",
        '"\\ud800"',
        "true",
    ),
    *(
        "-0",
        "1_0",
        "[[]]",
        "[1, 'a']",
        '"\\u001b[31m"',
        "'\x00'",
        "''",
        "a.b",
        "0b101",
        "1e5",
        "{a.b.c=1}",
        "[nan]",
    ),
)


def toml(value: Any) -> str:
    """Write a value as TOML; JSON's text and lists are TOML's, too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(entry) for entry in value) + "]"
    return '""' if value is None else json.dumps(value) if not isinstance(value, int) else str(value).lower()


@st.composite
def configurations(draw: st.DrawFn) -> Case:
    """A sound checkpoint beside a configuration that may be odd in one or two settings."""
    known = {"arch": "mlp", "data": "digits", "samples": 16}
    lines = {key: toml(value) for key, value in known.items()}
    for key in draw(st.lists(st.sampled_from(tuple(SETTINGS)), min_size=1, max_size=2)):
        odd = st.sampled_from(ODD_TOML) | odd_texts.map(json.dumps) | st.sampled_from(ODD_INTEGERS).map(str)
        likely = st.sampled_from(SETTINGS[key]).map(toml)
        key = draw(st.sampled_from((*(key,) * 9, key.replace("_", "-"), key + "s", "tool." + key, '"\x1b"')))
        lines[key] = draw(likely | likely | odd)
    text = "[tool.hessent]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items()) + "\n"
    if draw(st.integers(0, 5)) == 0:
        heads = (
            "[tool]\nhessent = 1\n",
            "tool = []\n",
            "",
            "[[tool.hessent]]\n",
            "[tool.hessent.x]\n",
            "\ufeff",
            "[" * 60_000,
        )
        text = draw(st.sampled_from((*heads, "a" + ".a" * 3000 + " = 1\n", "[" + "a." * 3000 + "a]\n")))
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 5)) == 0:
        content = draw(damaged(content))
    name = draw(st.sampled_from(("hessent.toml", "pyproject.toml")))
    command = ("spectrum", "--dry-run", "{folder}/model.safetensors")
    # A limit of memory that nothing fits into is not an input that is wrong, but a computation that cannot be done.
    return Case(
        "command",
        command,
        {"model.safetensors": valid(MLP), name: content},
        codes=(0, 2, 3),
        named=("--", "arrays:", "loss"),
    )


OPTIONS: dict[str, tuple[str, ...]] = {
    "--memory": (
        "8G",
        "1",
        "0",
        "-1",
        "nan",
        "1e400",
        "1e-400G",
        "9" * 400,
        "5 GiB",
        "ſ",
        "٣G",
        "1T" * 9,
        "inf",
        "1 2",
    ),
    "--blocks": (
        "layer",
        "full",
        "*=a",
        "[=a",
        "[!]=a",
        "[z-a]=a",
        "*" * 60 + "x=a",
        "=a",
        "a=",
        "=",
        "\x1b=x",
        "**/..=x",
        "*=full",
    ),
    "--arch-option": (
        "activation=gelu",
        "sizes=64-6-10",
        "sizes=" + "9-" * 900,
        "=",
        "a",
        "sizes=",
        "bias=maybe",
        "\x1b=1",
    ),
    "--arch": (
        "mlp",
        "auto",
        "gpt",
        "vit",
        "resnet50",
        "",
        ":",
        "a:b",
        "hf:/nowhere",
        "timm:x",
        "x.py",
        ".py:x",
        "a.b:c",
        "\0:x",
    ),
    "--data": (
        "digits",
        "synthetic",
        "digits?split=",
        "synthetic:vectors?shape=64",
        "/dev/null",
        "arrays:",
        "n" * 300,
    ),
    "--loss": (
        "cross-entropy",
        "mse",
        "cross-entropy?label_smoothing=1e999",
        "x?",
        "?",
        "a:b",
        "cross-entropy?x=1&&",
    ),
    "--samples": ("1", "7", "0", "-1", "9" * 30, "1e3", "٣", ""),
    "--batch-size": ("1", "7", "0", "-1", "9" * 30),
    "--seed": ("0", str(2**63), str(2**64), "-1", "9" * 40),
    "--rtol": ("0.1", "nan", "inf", "-0.0", "1e-400", "0"),
    "--max-time": ("1s", "nan", "inf", "1e400h", "h", "-1s", "1_0m"),
    "--max-matvecs": ("1", "40", "9" * 30, "-5"),
    "--probes": ("1", "3", "0", str(2**63), "9" * 30),
    "--steps": ("1", "3", "0", str(2**63), "9" * 30),
    "--data-groups": ("2", "5", "1", "9" * 30),
    "--population": ("1", "50000", "9" * 30, "0"),
    "--method": ("auto", "exact", "lanczos", "x"),
    "--only": ("trace", "gap"),
    "--dtype": ("float64", "float16"),
    "--device": ("cpu", "meta", "cuda:99", "cuda:-1", "cpu:" + "9" * 30, "\x1b"),
    "--engine": ("auto", "retained", "lockstep", "replayed", "x"),
    "--format": ("json", "csv", "markdown", "x"),
    "-o": ("/nowhere/x.h5", "/dev/full", "/dev/null/x", "n" * 300, "", ".", "/proc/x.h5", "\0"),
    "--json-out": ("/nowhere/x.json", "n" * 300, "", ".", "\0"),
}
SHOWN: dict[str, tuple[str, ...]] = {
    "--block": ("*", "full", "[", "[!]", "*" * 80 + "x", "\x1b[31m", "layer1*", "", "\ud800"),
    "--sort": ("trace", "size", "entropy_gap", "x", ""),
    "--alpha": ("0", "1", "2", "0.5", "inf", "nan", "-1", "1e308", "1e-300", "1.0000000001", "1e400", "999"),
    "--measure": ("trace", "condition_lower_entropy", "negative_ratio", "x", ""),
    "--format": ("json", "csv", "markdown", "x"),
}


@st.composite
def options(draw: st.DrawFn, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One to three options with their values."""
    words: list[str] = []
    for name in draw(st.lists(st.sampled_from(tuple(known)), min_size=1, max_size=3)):
        likely = st.sampled_from(known[name])
        value = draw(likely | likely | odd_texts.filter(lambda text: ":" not in text))
        words += draw(st.sampled_from(((name, value),) * 8 + ((f"{name}={value}",), (name,), (value,))))
    return tuple(words)


@st.composite
def measuring_commands(draw: st.DrawFn) -> Case:
    """`hessent spectrum --dry-run` on a sound checkpoint, with odd options."""
    told = {"hessent.format": "1"} | {
        key: METADATA[key] for key in ("hessent.arch", "hessent.data", "hessent.samples")
    }
    words = draw(options(OPTIONS))
    command = ("spectrum", "--dry-run", *words, "{folder}/model.safetensors")
    return Case("command", command, {"model.safetensors": valid(MLP, told)}, codes=(0, 2, 3), named=("--",))


@st.composite
def showing_commands(draw: st.DrawFn) -> Case:
    """`hessent summary` of a sound file, and the commands that look things up, with odd options."""
    if draw(st.integers(0, 3)):
        words = ("summary", *draw(options(SHOWN)), f"{{folder}}/{FILE}")
        return Case(
            "command", words, {FILE: samples()[1]}, named=("--", "no such file", "is a directory", "cannot be read")
        )
    words = draw(st.sampled_from(("archs", "data", "inspect", "summary", "", "--version", "spectrum", "nothing")))
    return Case("command", (words, *draw(st.lists(odd_texts, max_size=2))))


SETTING_CASES: dict[str, SearchStrategy[Case]] = {
    "configuration": configurations(),
    "measuring": measuring_commands(),
    "showing": showing_commands(),
}
