"""What a PAC-Bayes bound does not speak of."""

from __future__ import annotations

from hessent.curvature.losses.softmax_losses import CrossEntropy, NextToken
from hessent.errors import UsageError
from hessent.measures.pac_bayes import LEAST_SAMPLES
from hessent.pipeline.prepare import Prepared
from hessent.pipeline.request import SpectrumRequest

LEAST_DRAWS = 2


def refuse_range(delta: float, draws: int | None) -> None:
    """Refuse a probability or a number of draws that makes no sense.

    Raises
    ------
    UsageError
        Listing both, where both are out of range.
    """
    problems = []
    if not 0.0 < delta < 1.0:
        problems.append(f"--delta {delta:g}: must be above 0 and below 1")
    if draws is not None and draws < LEAST_DRAWS:
        problems.append(f"--draws {draws}: must be at least {LEAST_DRAWS}")
    if problems:
        raise UsageError("some options are out of range", problems=problems)


def refuse_measuring(request: SpectrumRequest) -> None:
    """Refuse what says how to measure a spectrum that is taken from a file.

    Parameters
    ----------
    request : SpectrumRequest
        As typed; the spectrum is not measured.

    Raises
    ------
    UsageError
        Naming every such option.
    """
    accuracy = request.accuracy
    given = (
        ("--method", None if accuracy.method == "auto" else accuracy.method),
        ("--rtol", request.rtol),
        ("--max-matvecs", accuracy.max_matvecs),
        ("--max-time", request.max_time),
    )
    named = [option for option, value in given if value is not None]
    if named:
        raise UsageError(
            f"{', '.join(named)}: how to measure the spectrum, which is taken from a file",
            where="--spectrum",
            fix="leave them out, or --spectrum",
        )


def refuse_loss(prepared: Prepared) -> None:
    """Refuse what the theorem does not speak of.

    Raises
    ------
    UsageError
        If the loss is not a cross-entropy of independent samples, or there are fewer than eight of them.
    """
    loss = prepared.problem.loss
    if isinstance(loss, NextToken):
        raise UsageError(
            "the tokens of a text are not independent, which the theorem asks of its samples",
            where=f"--loss {loss.name}",
            expected="cross-entropy of classes",
        )
    if not isinstance(loss, CrossEntropy):
        raise UsageError(
            "the bound is on the share of wrong classes, which this loss does not know",
            where=f"--loss {loss.name}",
            expected="cross-entropy of classes",
        )
    if prepared.data.samples < LEAST_SAMPLES:
        raise UsageError(
            f"{prepared.data.samples} samples are too few",
            where="--samples",
            expected=f"at least {LEAST_SAMPLES}: the theorem holds from there on",
        )
