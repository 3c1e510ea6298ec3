"""Which matrix a spectrum is of: the curvature, and what it is preconditioned by; which of a folder is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hessent.errors import UsageError
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.spectra.model import Spectrum

HESSIAN = "hessian"
PLAIN, ADAM, DIAGONAL = "none", "adam", "diagonal"


def matrix_in_words(spectrum: Spectrum) -> str:
    """Return the curvature, and the metric in which it was measured where that is not the parameters' own."""
    metric = spectrum.preconditioner
    if metric == DIAGONAL:
        return f"{spectrum.curvature}, unit diagonal"
    if metric == PLAIN:
        return spectrum.curvature
    return f"{spectrum.curvature} in " + ("Adam's metric" if metric == ADAM else f"the metric of {metric}")


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of matrix.

    Attributes
    ----------
    curvature : str
        ``hessian``, ``ggn``, ``fisher``, …
    preconditioner : str
        ``none``, or by what it is multiplied from both sides: ``adam``, its own ``diagonal``.
    """

    curvature: str = HESSIAN
    preconditioner: str = PLAIN

    @classmethod
    def named(cls, name: str) -> Kind:
        """Return the kind that `name` stands for, as typed: ``ggn``, ``hessian-adam``, ``empirical-fisher``."""
        curvature, dash, preconditioner = name.rpartition("-")
        return cls(curvature, preconditioner) if dash and preconditioner in (ADAM, DIAGONAL) else cls(name)

    @property
    def name(self) -> str:
        """As it stands in names of files: ``ggn``, ``hessian-adam``."""
        return self.curvature if self.is_plain else f"{self.curvature}-{self.preconditioner}"

    @property
    def is_plain(self) -> bool:
        """Whether it is the curvature itself."""
        return self.preconditioner == PLAIN


def kind_of(spectrum: JudgedSpectrum) -> Kind:
    """Return the kind of a spectrum."""
    if spectrum.spectrum is None:
        return Kind(spectrum.curvature, spectrum.precondition)
    return Kind(spectrum.curvature, spectrum.spectrum.preconditioner)


def kind_among(spectra: Sequence[JudgedSpectrum], where: str) -> Kind:
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
    if Kind() in kinds or not kinds:
        return Kind()
    if len(kinds) > 1:
        raise UsageError(
            f"holds spectra of several matrices, {', '.join(kind.name for kind in kinds)}, but not of the Hessian",
            where=where,
            fix=f"--curvature {kinds[0].curvature}, or name the files",
        )
    return kinds[0]


def of_kind(spectra: Sequence[JudgedSpectrum], kind: Kind, where: str) -> list[JudgedSpectrum]:
    """Return the spectra of a kind, at least one.

    Raises
    ------
    UsageError
        If there is none.
    """
    found = [spectrum for spectrum in spectra if kind_of(spectrum) == kind]
    if not found:
        held = sorted({kind_of(spectrum).name for spectrum in spectra})
        raise UsageError(
            f"holds no spectrum of the {kind.name}",
            where=where,
            expected=f"one of what it holds: {', '.join(held)}",
            fix=f"hessent spectrum CHECKPOINT --curvature {kind.curvature}",
        )
    return found
