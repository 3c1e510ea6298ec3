"""The engine's benchmarks: one command per device, one dated result.

Run as `python tests/benchmarks/engines.py --device cpu` (under ten minutes on two cores) or `--device cuda` (under
eight), or from the folder `tests` as `python -m benchmarks.engines`.  It prints Markdown and writes it, with a JSON
file of the same name, into `tests/benchmarks/results`; `--out` names another folder.  Other tools take part where
they are installed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks import block_cost, end_to_end, machine, non_product_time, peak_memory, product_cost
from benchmarks.models import CASES, SETS
from benchmarks.sections import Section, bar_table

_PARTS: dict[str, Callable[[argparse.Namespace], Section]] = {
    "product": lambda options: product_cost.section(
        options.device, options.models, rounds=options.rounds, vectors=options.vectors
    ),
    "blocks": lambda options: block_cost.section(options.device, options.models, rounds=options.rounds),
    "end": lambda options: end_to_end.section(seeds=options.seeds, rounds=options.rounds),
    "memory": lambda options: peak_memory.section(options.device, options.models, vectors=options.vectors),
    "outside": lambda options: non_product_time.section(
        options.device, probes=options.probes, steps=options.steps, layers=options.layers
    ),
}
_DEFAULT_PARTS = {"cpu": tuple(_PARTS), "cuda": ("product", "memory")}
_VECTORS = {"cpu": 4, "cuda": 8}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    start = time.perf_counter()
    head = heading(options)
    print(*_head_lines(head), sep="\n", flush=True)  # noqa: T201
    sections = []
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, HESSENT_CACHE=cache):
        for part in options.parts:  # with nothing remembered: engines are chosen in this run
            section = _PARTS[part](options)
            print("", *section.lines(), sep="\n", flush=True)  # noqa: T201
            sections.append(section)
            head["minutes"] = round((time.perf_counter() - start) / 60, 1)
            head["minutes of the processor"] = round(_processor_seconds() / 60, 1)
            if len(sections) < len(options.parts):
                head["missing"] = options.parts[len(sections) :]
            write(options.out, head, sections)  # what was measured is not lost with what follows
            head.pop("missing", None)
    print("", _minutes(head), sep="\n", flush=True)  # noqa: T201


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of a command line, with the device's defaults filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=tuple(SETS), default="cpu")
    parser.add_argument("--models", type=_names, help=f"of {', '.join(CASES)}")
    parser.add_argument("--parts", type=_names, help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=int, help="per call; 4 on a CPU, 8 on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5, help="runs per budget, end to end")
    parser.add_argument("--probes", type=int, default=10, help="of the run whose time outside products is measured")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--layers", action="store_true", help="that run with all layers too; takes many minutes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"), help="a folder")
    options = parser.parse_args(arguments)
    options.models = options.models or list(SETS[options.device])
    options.parts = options.parts or list(_DEFAULT_PARTS[options.device])
    options.vectors = options.vectors or _VECTORS[options.device]
    for names, known in ((options.models, CASES), (options.parts, _PARTS)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device here")
    return options


def heading(options: argparse.Namespace) -> dict[str, Any]:
    """Return date, machine, versions and the whole configuration."""
    configuration = {name: value for name, value in vars(options).items() if name != "out"}
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(options.device),
        "configuration": configuration,
        "models": {
            name: {
                "architecture": CASES[name].arch,
                "options": dict(CASES[name].options),
                "input": CASES[name].shape,
                "samples": CASES[name].batch[options.device],
                "loss": CASES[name].loss,
            }
            for name in options.models
        },
        "threads in the environment": os.environ.get("OMP_NUM_THREADS"),
    }


def write(folder: Path, head: dict[str, Any], sections: list[Section]) -> None:
    """Write `engine-DATE-DEVICE.md` and `.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"engine-{head['date']}-{head['configuration']['device']}"
    lines = [*_head_lines(head)]
    if bars := [bar for section in sections for bar in section.bars]:
        lines += ["", "## Bars", "", *bar_table(bars)]
    for section in sections:
        lines += ["", *section.lines()]
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = head | {"sections": [section.document() for section in sections]}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    stem.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def _head_lines(head: dict[str, Any]) -> Iterator[str]:
    yield f"# Engine, {head['date']}, {head['configuration']['device']}"
    yield ""
    yield ", ".join(f"{name} {value}" for name, value in head["machine"].items())
    yield ""
    yield "; ".join(f"{name} {_listed(value)}" for name, value in head["configuration"].items())
    yield ""
    for name, model in head["models"].items():
        yield f"- {name}: " + ", ".join(f"{key} {value}" for key, value in model.items())
    yield ""
    yield "Float32 but for the exact nets; random weights and data from seeds; medians (least–greatest)."
    if "minutes" in head:
        yield _minutes(head)


def _minutes(head: dict[str, Any]) -> str:
    missing = f" Missing: {', '.join(head['missing'])}." if "missing" in head else ""
    return f"{head['minutes']} minutes in all, {head['minutes of the processor']} of the processor.{missing}"


def _processor_seconds() -> float:
    """Seconds of this process and of its children: what a loaded machine does not stretch."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
