"""What a check knows of a run: its measures by block, and enough of where they come from to tell what differs.

It is had from a spectrum in memory or in a file, from one of the spectra of a ``hessent.summary/1`` document, or
from a ``hessent.baseline/1`` document.  Documents may be hand-made or damaged: every number is looked at, and one
that is not a number never becomes a measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hessent.errors import SpectrumFileError, UsageError
from hessent.estimate import Estimate
from hessent.measures.mini_batches import batch_size_of
from hessent.report.checks.members import Members
from hessent.report.checks.policy import shown
from hessent.report.measure_columns import measures_with_columns

if TYPE_CHECKING:
    from hessent.report.selection import SpectrumEntry
    from hessent.spectra.model import Spectrum

Budget = Mapping[str, Mapping[str, float | None]]

DOCUMENTS = ("hessent.summary/1", "hessent.baseline/1")
_MOST_PROBLEMS = 12


@dataclass(frozen=True)
class JudgedBlock:
    """A block's size, that of its gradients' mini-batches if known, and measures: derived when first asked for."""

    size: int
    derive: Callable[[], Mapping[str, Estimate]]
    derive_budget: Callable[[], Budget] = dict
    batch_size: int | None = None

    @cached_property
    def measures(self) -> Mapping[str, Estimate]:
        """All measures by name, at Rényi order 1."""
        return self.derive()

    @cached_property
    def budget(self) -> Budget:
        """Half-widths by measure and origin, as far as they are known."""
        return self.derive_budget()


@dataclass(frozen=True)
class JudgedSpectrum:
    """The measures of a run.

    Attributes
    ----------
    file : str
        Where they come from, as typed.
    blocks : mapping of str to JudgedBlock
        By name, in the model's order.
    checkpoint_sha256, data_sha256 : str
        Fingerprints of the weights and of the samples.
    arch, data, curvature, loss : str
        What was measured, on what, for which loss.
    samples : int
        How many samples.
    seed : int
        Of probes and samples.
    step : int or None
        Training step.
    progress : float or None
        Share of the training done.
    complete : bool
        Whether all blocks of the run were measured to the end.
    part : str or None
        "I of N" for one part of a split run.
    synthetic : bool
        Whether the data is made up.
    precondition : str
        By what the matrix is preconditioned: ``none``, ``adam``, its ``diagonal``, or a file.
    spectrum : Spectrum or None
        The coefficients, where they are at hand: paired differences need them.
    """

    file: str
    blocks: Mapping[str, JudgedBlock]
    checkpoint_sha256: str
    data_sha256: str
    arch: str
    data: str
    curvature: str
    loss: str
    samples: int
    seed: int
    step: int | None = None
    progress: float | None = None
    complete: bool = True
    part: str | None = None
    synthetic: bool = False
    precondition: str = "none"
    spectrum: Spectrum | None = field(default=None, repr=False)


def judged_entry(entry: SpectrumEntry) -> JudgedSpectrum:
    """Return what a check knows of a spectrum in memory or in a file."""
    from hessent.spectra.merging import part_of  # NumPy with it, which a document does without

    spectrum = entry.spectrum
    blocks = {
        block.name: JudgedBlock(
            block.size,
            lambda block=block: entry.measures_of(block, 1.0),  # type: ignore[misc]
            lambda block=block: entry.budget_of(block, 1.0),  # type: ignore[misc]
            batch_size_of(block),
        )
        for block in spectrum.blocks
    }
    return JudgedSpectrum(
        file=entry.file,
        blocks=blocks,
        checkpoint_sha256=spectrum.checkpoint.sha256,
        data_sha256=spectrum.data.sha256,
        arch=spectrum.checkpoint.arch,
        data=spectrum.data.name,
        curvature=spectrum.curvature,
        loss=spectrum.loss.name,
        samples=spectrum.data.samples,
        seed=spectrum.seed,
        step=spectrum.checkpoint.step,
        progress=spectrum.checkpoint.progress,
        complete=spectrum.complete,
        part=part_of(spectrum),
        synthetic=spectrum.data.synthetic,
        precondition=spectrum.preconditioner,
        spectrum=spectrum,
    )


def judged_documents(document: Any, where: str) -> list[JudgedSpectrum]:
    """Return every spectrum of a JSON document.

    Parameters
    ----------
    document : object
        A ``hessent.summary/1`` or ``hessent.baseline/1`` document, not yet looked at.
    where : str
        Its file, as typed.

    Raises
    ------
    SpectrumFileError
        If it is neither, or an entry is missing or of the wrong kind; what is wrong, all at once.
    """
    schema = document.get("schema") if isinstance(document, Mapping) else None
    if schema not in DOCUMENTS:
        raise SpectrumFileError(
            f"holds no measures: its schema is {shown(schema)}",
            where=where,
            expected=" or ".join(DOCUMENTS),
            fix=f"hessent summary RUN.spectrum.h5 --json >{where}, or --update-baseline",
        )
    problems: list[str] = []
    reader = Members("", document, problems)
    entries = reader.objects("spectra") if schema == DOCUMENTS[0] else [reader]
    found = [_judged_object(entry, where) for entry in entries]
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        listed = problems[:_MOST_PROBLEMS] + ([f"and {more:,} more"] if more > 0 else [])
        raise SpectrumFileError(f"is not a valid {schema} document", where=where, problems=listed)
    if not found:
        raise SpectrumFileError("holds no spectrum", where=where)
    return found


def require_complete(spectrum: JudgedSpectrum, *, allowed: bool = False) -> None:
    """Refuse a run of which something may be missing: what is not there cannot violate a rule.

    Parameters
    ----------
    spectrum : JudgedSpectrum
        A run or a baseline.
    allowed : bool
        Whether it is taken all the same.

    Raises
    ------
    UsageError
        If it is a snapshot of a run that did not end, or one part of a split run.
    """
    if allowed or (spectrum.complete and spectrum.part is None):
        return
    if spectrum.part is not None:
        found = f"is part {spectrum.part} of a run: it lacks the blocks of the others"
        fix = "hessent merge, which joins the parts"
    else:
        found = "INCOMPLETE: its run was stopped, so blocks may be missing and intervals are wide"
        fix = "the command that began it, which goes on from there"
    raise UsageError(found, where=spectrum.file, fix=f"{fix}; or --allow-incomplete to judge what is there")


def _judged_object(entry: Members, where: str) -> JudgedSpectrum:
    checkpoint, data, loss = entry.object("checkpoint"), entry.object("data"), entry.object("loss")
    of_order_one = "alpha" not in entry  # a document states the order only where it is another
    blocks: dict[str, JudgedBlock] = {}
    for block in entry.objects("blocks"):
        name, measures = block.text("name"), block.object("measures")
        if name in blocks:
            entry.problems.append(f"{block.path} has the name {shown(name)} a second time")
        budget = block.object("budget") if "budget" in block else None
        read = _judged_block(block.whole("size") or 0, measures, budget, of_order_one)
        blocks[name] = replace(read, batch_size=block.whole("mini_batch_size", required=False))
    return JudgedSpectrum(
        file=where,
        blocks=blocks,
        checkpoint_sha256=checkpoint.text("sha256"),
        data_sha256=data.text("sha256"),
        arch=checkpoint.text("arch"),
        data=data.text("name"),
        curvature=entry.text("curvature"),
        loss=loss.text("name"),
        samples=data.whole("samples") or 0,
        seed=entry.whole("seed") or 0,
        step=checkpoint.whole("step", required=False),
        progress=checkpoint.number("progress"),
        complete=entry.truth("complete"),
        synthetic="synthetic" in data,
        precondition=entry.text("precondition") if "precondition" in entry else "none",
    )


_OF_ORDER_ALPHA = ("entropy", "entropy_gap", "effective_rank")


# What of the half-widths is chance: the probes', and for the population the samples'.
SPLIT = ("trace", "abs_trace", "entropy_gap")
CHANCE = ("probes", "data")


def _judged_block(size: int, measures: Members, budget: Members | None, of_order_one: bool) -> JudgedBlock:
    estimates = {}
    for name in measures_with_columns():
        if name not in measures:
            estimates[name] = Estimate.unknown("the file does not hold it")
        elif name in _OF_ORDER_ALPHA and not of_order_one:
            estimates[name] = Estimate.unknown("the file holds it at another Rényi order than 1")
        else:
            estimates[name] = measures.estimate(name)
    parts: dict[str, dict[str, float | None]] = {}
    for name in SPLIT:
        if budget is not None and name in budget and (of_order_one or name not in _OF_ORDER_ALPHA):
            split = budget.object(name)
            parts[name] = {origin: split.number(origin, least=0.0) for origin in CHANCE}
    return JudgedBlock(size, lambda: estimates, lambda: parts)
