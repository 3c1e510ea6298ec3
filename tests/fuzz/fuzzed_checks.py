"""Strategies for `hessent check`: documents of measures, baselines, policies and typed rules."""

from __future__ import annotations

import functools
from typing import Any

import sample_spectra
from fuzzed_settings import ODD_TOML, toml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mutations import changed_tree, damaged, odd_texts, tree, written
from reading_law import Case

from hessent.report.selection import Selection, SpectrumEntry
from hessent.report.summary_document import summary_document

FORMATS = ("table", "json", "junit", "github", "gitlab", "markdown")


@functools.cache
def document() -> Any:
    """The tree of a valid `hessent.summary/1` of two blocks."""
    blocks = (sample_spectra.exact_block(), sample_spectra.lanczos_block("full", seed=5))
    entry = SpectrumEntry("run.spectrum.h5", sample_spectra.spectrum(blocks))
    return tree(summary_document([entry], Selection()))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A document with a few odd places, or damaged bytes."""
    content = written(draw(changed_tree(document(), most=2))).encode("utf-8", "surrogatepass")
    return draw(damaged(content)) if draw(st.integers(0, 5)) == 0 else content


def _command(*words: str, form: str) -> tuple[str, ...]:
    return ("check", "{folder}/run.json", *words, "--format", form)


@st.composite
def checked_documents(draw: st.DrawFn) -> Case:
    """An odd document as the run that is checked, or as the baseline that it is held against."""
    sound = written(document()).encode()
    odd = draw(documents())
    rules = ("--max", "full:lambda_max=250", "--max-increase", "full:trace=20%", "--min-ratio", "entropy_gap=0.5")
    files = {"run.json": sound, "main.json": sound} | {draw(st.sampled_from(("run.json", "main.json"))): odd}
    words = _command(*rules, "--baseline", "{folder}/main.json", form=draw(st.sampled_from(FORMATS)))
    return Case("command", words, files, codes=(0, 1, 2))


RULE: dict[str, tuple[Any, ...]] = {
    "measure": ("trace", "lambda_max", "entropy_gap", "positive_ratio", "x", "", 1),
    "block": ("full", "layer*", "[", "*" * 60 + "x", "", "\x1b", "none"),
    "max": (250, 0.5, -1, 1e308, 10**400, "20%", True),
    "min": (0, 1e-320, 10**400, "1"),
    "max_increase": ("20%", "-5%", "1e999%", "%", 0, "nan%", 1.5),
    "max_ratio": (2, 0, -1, 1e-320),
    "level": ("error", "warning", "x", 3),
    "baseline": ("main.json", "../outside.safetensors", "/etc/hostname", "run.json", "gone.json", "\0", "n" * 300),
}


@st.composite
def policies(draw: st.DrawFn) -> Case:
    """A policy with odd rules, or that is hardly TOML."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        rule = {"measure": "trace", "max": 1000}
        for key in draw(st.lists(st.sampled_from(tuple(RULE)), max_size=3)):
            rule[key] = draw(st.sampled_from(RULE[key]))
        written_rule = {key: toml(value) for key, value in rule.items()}
        if draw(st.integers(0, 4)) == 0:
            written_rule[draw(st.sampled_from((*RULE, "maximum", '"\\u001b"', "a" + ".a" * 300)))] = draw(
                st.sampled_from(ODD_TOML)
            )
        lines += ["[[rule]]", *(f"{key} = {value}" for key, value in written_rule.items())]
    text = "\n".join(lines) + "\n"
    if draw(st.integers(0, 5)) == 0:
        heads = (
            "",
            "rule = 1",
            "[rule]\n",
            "[[rule]]\n" * 20_000,
            "[" * 60_000,
            "a" + ".a" * 3000 + " = 1\n",
            "rule = [1]",
        )
        text = draw(st.sampled_from(heads))
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 5)) == 0:
        content = draw(damaged(content))
    sound = written(document()).encode()
    files = {"run.json": sound, "main.json": sound, "policy.toml": content}
    words = _command("--policy", "{folder}/policy.toml", form=draw(st.sampled_from(FORMATS)))
    return Case("command", words, files, codes=(0, 1, 2), named=tuple(map(str, RULE["baseline"])))


@st.composite
def typed_rules(draw: st.DrawFn) -> Case:
    """Rules on the command line."""
    bounds = st.sampled_from(
        ("lambda_max=250", "*:trace=nan", "a:b:c=1", "=", "trace=1e999", "[:trace=1", "trace=20%", "x=1")
    )
    words = []
    for _ in range(draw(st.integers(1, 3))):
        option = draw(st.sampled_from(("--max", "--min", "--max-ratio", "--max-increase", "--block", "--step")))
        words += [option, draw(bounds | bounds | odd_texts | st.sampled_from(("1", "full", "9" * 30)))]
    if draw(st.booleans()):
        words += [
            "--baseline",
            draw(st.sampled_from(("{folder}/run.json", "", "/dev/zero", "n" * 300, "{folder}"))),
        ]
    files = {"run.json": written(document()).encode()}
    named = ("--", "rule", "cannot be read", "no such file", "/dev/zero")
    return Case(
        "command", _command(*words, form=draw(st.sampled_from(FORMATS))), files, codes=(0, 1, 2), named=named
    )


CHECKS: dict[str, SearchStrategy[Case]] = {
    "documents": checked_documents(),
    "policies": policies(),
    "typed": typed_rules(),
}
