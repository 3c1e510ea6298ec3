"""Made-up runs for the tests of rules: blocks with measures of which the test says the intervals."""

from hessent.estimate import Estimate
from hessent.report.checks.judged_spectrum import JudgedBlock, JudgedSpectrum
from hessent.report.checks.rules import KINDS, Bound, Rule
from hessent.report.measure_columns import measures_with_columns

UNKNOWN = Estimate.unknown("the test gives none")
MAIN = "main.json"


def block(size=100, **measures):
    """A block of which the trace is known by random probes alone, and all else from enclosures."""
    known = {name: measures.get(name, UNKNOWN) for name in measures_with_columns()}
    return JudgedBlock(size, lambda: known, lambda: {"trace": {"probes": 1e9, "data": 0.0}})


def judged(blocks=None, **changes):
    given = {
        "file": "run.json",
        "checkpoint_sha256": "ab" * 32,
        "data_sha256": "cd" * 32,
        "arch": "resnet18",
        "data": "digits",
        "curvature": "hessian",
        "loss": "cross-entropy",
        "samples": 512,
        "seed": 0,
        "step": 400,
        "progress": 1.0,
    }
    return JudgedSpectrum(blocks=blocks or {"full": block()}, **(given | changes))


def rule(measure="trace", kind="max", number=1.0, *, relative=False, glob="full", level="fail", **changes):
    bound = Bound(KINDS[kind], number, relative)
    baseline = MAIN if bound.kind.needs_baseline else None
    return Rule(measure, bound, glob, level, baseline, **changes)
