"""A check as a GitLab code quality report.

GitLab tells a new finding from a known one by its fingerprint, so that holds the rule's measure, kind, glob and
block, and neither the measured value nor the bound: a finding stays the same while its number moves.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import Any

from hessent.report.checks.judgement import CheckReport, Result
from hessent.report.checks.sentences import sentence

_FAILS = {"violated": "critical", "unsure": "major"}
_SHOWS = {"violated": "minor", "unsure": "info"}


def to_gitlab(report: CheckReport) -> str:
    """Return a JSON list with one finding per rule and block that does not hold.

    Parameters
    ----------
    report : CheckReport
        All results.
    """
    seen: dict[str, int] = {}
    findings = [_finding(result, report, seen) for result in report.results if result.outcome != "holds"]
    return json.dumps(findings, indent=1, allow_nan=False) + "\n"


def _finding(result: Result, report: CheckReport, seen: dict[str, int]) -> dict[str, Any]:
    rule = result.rule
    path = _path(rule.file or rule.baseline or report.run.file)
    identity = [path, rule.measure, rule.bound.kind.key, rule.block, result.block, rule.level]
    fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    seen[fingerprint] = seen.get(fingerprint, 0) + 1
    if seen[fingerprint] > 1:  # the same rule with another bound: findings must differ
        fingerprint = hashlib.sha256(f"{fingerprint} {seen[fingerprint]}".encode()).hexdigest()
    return {
        "description": sentence(result),
        "check_name": f"hessent check {rule.measure} {rule.bound.kind.key}",
        "fingerprint": fingerprint,
        "severity": (_FAILS if result.fails else _SHOWS)[result.outcome],
        "location": {"path": path, "lines": {"begin": rule.line or 1}},
    }


def _path(file: str) -> str:
    """Return a path as GitLab wants it: relative to the repository, without a leading ``./``."""
    return posixpath.normpath(file.replace("\\", "/"))
