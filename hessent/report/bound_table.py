"""The PAC-Bayes bound of a checkpoint as a table and as the document ``hessent.bound/1``.

Rows: what the weights and the Gibbs classifier get wrong, the bounds beside it, and what they are made of.  The
column "what" says of each number whether it is exact, an estimate or a bound.
"""

from __future__ import annotations

from typing import Any

from hessent.estimate import Estimate
from hessent.measures.gibbs_classifier import GibbsBound
from hessent.report.numbers import format_number
from hessent.report.tables import Cell, Column, Table

SCHEMA = "hessent.bound/1"
VACUOUS = "vacuous: not below 1, so it says nothing"
_PAPER = "the paper's theorem 2.4"


def bound_table(found: GibbsBound) -> Table:
    """Build the table.

    Parameters
    ----------
    found : GibbsBound
        What came of a bound.
    """
    return Table(
        columns=(
            Column("quantity", "quantity", "text"),
            Column("value", "value", "estimate"),
            Column("what", "what", "prose"),
        ),
        rows=tuple(_rows(found)),
        facts=_facts(found),
        notes=(
            "The bound is on the Gibbs classifier, which draws its weights anew for each answer, not on the "
            "checkpoint's own weights.",
            *(f"Note: {caution}." for caution in found.cautions),
        ),
    )


def _facts(found: GibbsBound) -> tuple[tuple[str, str], ...]:
    how = "exact, the Hessian was formed" if not found.steps else f"by {found.steps} Lanczos steps"
    error = f" · relative error about {found.draw_error:.1g}" if found.draw_error else ""
    return (
        ("checkpoint", f"{found.checkpoint} · {found.parameters:,} parameters"),
        ("data", f"{found.data} · N = {found.samples:,} samples"),
        ("prior", f"N(0, s²I) · s² = {format_number(found.sigma2)}, from a fixed grid"),
        ("posterior", "N(θ, (H⁺ + I/s²)^-1) · H of the summed loss, N times that of the mean"),
        ("draws", f"{found.draws:,}, {how}{error}"),
        ("spectrum", found.spectrum or "measured for this table"),
        ("holds", f"each bound with probability {1.0 - found.delta:g} over the choice of the samples"),
    )


def _rows(found: GibbsBound) -> list[tuple[Cell, ...]]:
    test = f"exact, of {found.test_samples:,} test samples" if found.test_samples else "no test split"
    own_test = found.gibbs_test_01 if found.test_01 is None else Estimate.exactly(found.test_01)
    norm = found.norm_squared / (2 * found.sigma2)
    return [
        ("train error of θ", Estimate.exactly(found.train_01), "exact: share of wrong answers of the weights"),
        ("test error of θ", own_test, test),
        ("Gibbs train error", found.gibbs_train_01, f"estimate over {found.draws} draws"),
        ("Gibbs test error", found.gibbs_test_01, f"estimate over {found.draws} draws, of this test split"),
        ("bound on Gibbs error", _at_most(found.bound_01), _verdict(found.bound_01)),
        ("Gibbs train loss", found.gibbs_train_clipped, "estimate; cross-entropy cut off at 1 nat"),
        ("bound on Gibbs loss", _at_most(found.bound_clipped), _verdict(found.bound_clipped)),
        ("KL", found.kl, f"{'exact' if found.kl.exact else 'estimate'}, nats"),
        ("  of which ‖θ‖²/2s²", Estimate.exactly(norm), "exact, nats"),
        ("clamped mass", found.clamped_mass, "share of Σ abs(λ) that is negative, taken as 0"),
        ("paper, corrected", found.paper_corrected, f"{_PAPER} with σ² + 1/μ: an upper bound of the KL, nats"),
        ("paper, as printed", found.paper_printed, f"{_PAPER} with σ² + μ: can be below the KL, nats"),
    ]


def _at_most(bound: Estimate) -> Estimate:
    """A bound as what it says: the expected loss is not above it."""
    return Estimate(bound.value, None, bound.high)


def _verdict(bound: Estimate) -> str:
    if bound.value is None or bound.value >= 1.0:
        return VACUOUS if bound.value is not None else "no bound: the KL is not bounded above"
    return "bound, not an estimate"


def bound_document(found: GibbsBound) -> dict[str, Any]:
    """Return the JSON document.

    Parameters
    ----------
    found : GibbsBound
        What came of a bound.
    """
    return {
        "schema": SCHEMA,
        "checkpoint": found.checkpoint,
        "data": found.data,
        "parameters": found.parameters,
        "norm_squared": found.norm_squared,
        "kl": found.kl.to_json(),
        "sigma2": found.sigma2,
        "delta": found.delta,
        "samples": found.samples,
        "test_samples": found.test_samples,
        "draws": found.draws,
        "steps": found.steps,
        "draw_error": found.draw_error,
        "train_01": found.train_01,
        "test_01": found.test_01,
        "gibbs_train_01": found.gibbs_train_01.to_json(),
        "gibbs_train_clipped": found.gibbs_train_clipped.to_json(),
        "gibbs_test_01": found.gibbs_test_01.to_json(),
        "bound_01": found.bound_01.to_json(),
        "bound_clipped": found.bound_clipped.to_json(),
        "vacuous": found.bound_01.value is None or found.bound_01.value >= 1.0,
        "clamped_mass": found.clamped_mass.to_json(),
        "paper_corrected": found.paper_corrected.to_json(),
        "paper_printed": found.paper_printed.to_json(),
        "spectrum": found.spectrum,
        "cautions": list(found.cautions),
    }
