"""Which matrix a spectrum is of: the curvature, and what it is preconditioned by; which of a folder is meant."""

from __future__ import annotations

from collections.abc import Sequence

from hessent.errors import UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum

HESSIAN = "hessian"
PLAIN = "none"


def kind_of(spectrum: JudgedSpectrum) -> str:
    """Return the kind of matrix: ``hessian``, ``ggn``, …; of a preconditioned one ``hessian-adam``, and so on."""
    preconditioner = PLAIN
    if spectrum.spectrum is not None:
        preconditioner = str(spectrum.spectrum.settings.get("precondition", PLAIN))
    return spectrum.curvature if preconditioner == PLAIN else f"{spectrum.curvature}-{preconditioner}"


def kind_among(spectra: Sequence[JudgedSpectrum], where: str) -> str:
    """Return the kind that is meant where none was asked for: the Hessian's, or the only one there is.

    Parameters
    ----------
    spectra : sequence of JudgedSpectrum
        Of one run; none stands for a run that has not been measured.
    where : str
        The run, for messages.

    Raises
    ------
    UsageError
        If there are several kinds, and none is the Hessian's.
    """
    kinds = sorted({kind_of(spectrum) for spectrum in spectra})
    if HESSIAN in kinds or not kinds:
        return HESSIAN
    if len(kinds) > 1:
        raise UsageError(
            f"holds spectra of several matrices, {', '.join(kinds)}, and none of the Hessian",
            where=where,
            fix=f"--curvature {kinds[0].partition('-')[0]}, or name the files",
        )
    return kinds[0]
