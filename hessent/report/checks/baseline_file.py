"""Baselines kept in git: the measures of one run as a small JSON document, one line per measure.

The same spectrum gives the same bytes: no times, no paths, numbers unrounded.  So a run held against its own
baseline has not changed at all, and a diff of two baselines shows which numbers moved.
"""

from __future__ import annotations

import json
import os
from typing import Any

from hessent.errors import SpectrumFileError, UsageError
from hessent.report.checks.judged_spectrum import CHANCE, SPLIT, JudgedBlock, JudgedSpectrum
from hessent.report.checks.spectrum_files import read_run
from hessent.storage.whole_file import write_whole

SCHEMA = "hessent.baseline/1"
_SUFFIX = ".json"


def baseline_document(run: JudgedSpectrum) -> dict[str, Any]:
    """Return the document ``hessent.baseline/1`` of a run.

    Parameters
    ----------
    run : JudgedSpectrum
        What later runs are measured against.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "checkpoint": {
            "sha256": run.checkpoint_sha256,
            "step": run.step,
            "progress": run.progress,
            "arch": run.arch,
        },
        "data": {"name": run.data, "samples": run.samples, "sha256": run.data_sha256},
        "curvature": run.curvature,
        "loss": {"name": run.loss},
        "seed": run.seed,
        "complete": run.complete and run.part is None,
    }
    if run.precondition != "none":
        document["precondition"] = run.precondition
    if run.synthetic:
        document["data"]["synthetic"] = True
    document["blocks"] = [
        {
            "name": name,
            "size": block.size,
            "budget": _chance(block),
            **({} if block.batch_size is None else {"mini_batch_size": block.batch_size}),
            "measures": {measure: estimate.to_json() for measure, estimate in block.measures.items()},
        }
        for name, block in run.blocks.items()
    ]
    return document


def baseline_text(run: JudgedSpectrum) -> str:
    """Return the text of a baseline's file, in ASCII."""
    document = baseline_document(run)
    lines = ["{"]
    lines += [f"{_dumped(key)}: {_dumped(value)}," for key, value in document.items() if key != "blocks"]
    lines.append('"blocks": [')
    last = len(document["blocks"]) - 1
    for index, block in enumerate(document["blocks"]):
        lines.append(f'{{"name": {_dumped(block["name"])}, "size": {block["size"]},')
        batches = f'"mini_batch_size": {block["mini_batch_size"]}, ' if "mini_batch_size" in block else ""
        lines.append(f'"budget": {_dumped(block["budget"])}, {batches}"measures": {{')
        entries = [f" {_dumped(name)}: {_dumped(numbers)}" for name, numbers in block["measures"].items()]
        lines.append(",\n".join(entries))
        lines.append("}}" + "," * (index != last))
    return "\n".join([*lines, "]", "}"]) + "\n"


def read_old_baseline(path: str) -> JudgedSpectrum | None:
    """Return the baseline that is about to be replaced; None where there is none yet.

    Parameters
    ----------
    path : str
        As typed.

    Raises
    ------
    UsageError
        If the file is there and is not a baseline: nothing else is overwritten.
    """
    if not path.endswith(_SUFFIX):
        raise UsageError(
            "--update-baseline writes JSON, and this is not called so",
            where=path,
            expected="a name that ends in .json",
            fix="--baseline main.json",
        )
    if not os.path.lexists(path):
        return None
    try:
        return read_run(path)
    except (SpectrumFileError, UsageError) as error:
        raise UsageError(
            f"is there, but is no baseline, and is not overwritten: {error.found}",
            where=path,
            problems=error.problems,
            fix="delete it first, or name another file",
        ) from error


def write_baseline(path: str, run: JudgedSpectrum) -> None:
    """Write a run as a baseline, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written; a baseline that was there is then still there.
    """
    write_whole(path, baseline_text(run).encode("ascii"))


def _chance(block: JudgedBlock) -> dict[str, dict[str, float | None]]:
    """Return what of the half-widths is chance: a later change is then no wider than it has to be."""
    budget = block.budget
    return {name: {origin: budget[name].get(origin) for origin in CHANCE} for name in SPLIT if name in budget}


def _dumped(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
