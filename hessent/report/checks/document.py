"""The JSON document ``hessent.check/1``."""

from __future__ import annotations

from typing import Any

from hessent.measures.mini_batches import OF_BATCHES
from hessent.report.checks.judged_spectrum import JudgedBlock, JudgedSpectrum
from hessent.report.checks.judgement import CheckReport, Result

SCHEMA = "hessent.check/1"


def check_document(report: CheckReport) -> dict[str, Any]:
    """Return the document of a check.

    Parameters
    ----------
    report : CheckReport
        All results.

    Returns
    -------
    dict
        Valid against ``schemas/check-1.json``.
    """
    return {
        "schema": SCHEMA,
        "outcome": report.outcome,
        "failed": report.failed,
        "strict": report.strict,
        "population": report.population,
        "run": _spectrum_object(report.run),
        "baselines": [_spectrum_object(baseline) for baseline in report.baselines.values()],
        "warnings": list(report.warnings),
        "results": [_result_object(result, report) for result in report.results],
    }


def _spectrum_object(spectrum: JudgedSpectrum) -> dict[str, Any]:
    return {
        "file": spectrum.file,
        "checkpoint": {"sha256": spectrum.checkpoint_sha256, "step": spectrum.step, "arch": spectrum.arch},
        "data": {"name": spectrum.data, "samples": spectrum.samples, "sha256": spectrum.data_sha256},
        "complete": spectrum.complete and spectrum.part is None,
    }


def _result_object(result: Result, report: CheckReport) -> dict[str, Any]:
    rule = result.rule
    entry: dict[str, Any] = {
        "rule": rule.text,
        "block": result.block,
        "measure": rule.measure,
        "kind": rule.bound.kind.key,
        "bound": rule.bound.number,
        "relative": rule.bound.relative,
        "outcome": result.outcome,
        "level": rule.level,
        "fails": result.fails,
    }
    entry |= _estimate(result.quantity)
    entry |= _batches(rule.measure, report.run.blocks[result.block])
    if result.baseline is not None and rule.baseline is not None:
        block = report.baselines[rule.baseline].blocks[result.block]
        entry["paired"] = result.paired
        entry["baseline"] = {"file": rule.baseline, **_estimate(result.baseline), **_batches(rule.measure, block)}
        entry["run"] = _estimate(result.run)
    return entry


def _batches(measure: str, block: JudgedBlock) -> dict[str, int]:
    """The size of the mini-batches, of a measure that depends on it."""
    if measure not in OF_BATCHES or block.batch_size is None:
        return {}
    return {"mini_batch_size": block.batch_size}


def _estimate(estimate: Any) -> dict[str, Any]:
    entry: dict[str, Any] = estimate.to_json()
    entry.pop("population", None)  # one interval is judged; the other stands in the summary
    return entry
