"""Runs side by side: the measures of each, and their differences to the first run.

A difference has the interval of `hessent.measures.paired` where the coefficients of both are at hand: paired probe
by probe where that tells more.  Of two JSON documents only the intervals are known; they add.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hessent.errors import UsageError, suggest
from hessent.measures.difference import Difference, unknown, unpaired_difference
from hessent.measures.mini_batches import OF_BATCHES, obstacle, other_size
from hessent.measures.registry import measure_names
from hessent.report.checks.judged_spectrum import JudgedSpectrum
from hessent.report.comparison_batches import cautions_on_batches
from hessent.report.comparison_cautions import Caution, cautions_of
from hessent.report.comparison_rows import ComparedRun, Row, matched_rows
from hessent.report.selection import HEADLINE

FULL = "full"
_NO_COEFFICIENTS = "of one of them only the measures are at hand, not the coefficients"


@dataclass(frozen=True)
class RunDifference:
    """All measures of a block of a run minus those of the reference.

    Attributes
    ----------
    run, reference : str
        Names of the runs.
    row : Row
        Which checkpoints.
    block : str
        Name of the block.
    measures : mapping of str to Difference
        By name.
    """

    run: str
    reference: str
    row: Row
    block: str
    measures: Mapping[str, Difference]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    runs : tuple of ComparedRun
        The first is the reference.
    rows : tuple of Row
        Checkpoints that belong together, by progress.
    blocks : tuple of str
        The blocks compared.
    measures : tuple of str
        The measures shown.
    differences : tuple of RunDifference
        To the first run: by row, run, block.
    warnings : tuple of str
        What else than the weights differs: sentences.
    by_block : bool
        Whether the blocks are the question, rather than the training.
    """

    runs: tuple[ComparedRun, ...]
    rows: tuple[Row, ...]
    blocks: tuple[str, ...]
    measures: tuple[str, ...]
    differences: tuple[RunDifference, ...]
    warnings: tuple[str, ...] = ()
    by_block: bool = False

    @property
    def sentence(self) -> str:
        """What the intervals support, in words."""
        from hessent.report.comparison_sentence import closing_sentence

        return closing_sentence(self)

    def to_json(self) -> dict[str, Any]:
        """Return the document ``hessent.compare/1``."""
        from hessent.report.comparison_document import comparison_document

        return comparison_document(self)


def compare_runs(
    runs: Sequence[ComparedRun],
    *,
    measures: Sequence[str] = (),
    blocks: Sequence[str] = (),
    by_block: bool = False,
    strict: bool = False,
    cautions: Sequence[Caution] = (),
    of_several_matrices: bool = False,
) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    runs : sequence of ComparedRun
        At least two, with different names.
    measures : sequence of str
        Which are shown; by default the headline.
    blocks : sequence of str
        Globs; by default the whole matrix, or every block with `by_block`.
    by_block : bool
        Compare block by block, at the last row alone.
    strict : bool
        Refuse runs of other data, seeds or settings.
    cautions : sequence of Caution
        What is known of the spectra beyond what they say themselves.
    of_several_matrices : bool
        Whether matrices of several kinds are held against each other on purpose.

    Raises
    ------
    UsageError
        If they cannot be compared, or a name is wrong.
    """
    for name in measures:
        if name not in measure_names():
            raise UsageError(
                f"--measure '{name}': there is no such measure",
                expected=", ".join(measure_names()),
                fix=suggest(name, measure_names()),
            )
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs at least", fix="hessent compare RUN RUN")
    rows = matched_rows(runs)
    if by_block:
        rows = tuple(row for row in rows if row.checkpoints[0] is not None)[-1:]
    cautions = [*cautions, *cautions_of(runs, rows, of_several_matrices=of_several_matrices)]
    if set(measures) & set(OF_BATCHES):
        cautions += cautions_on_batches(runs, rows)
    if strict:
        _refuse(cautions)
    chosen = _chosen_blocks(rows, blocks, by_block)
    found = tuple(
        RunDifference(run.name, runs[0].name, row, block, block_differences(own, row.checkpoints[0], block))
        for row in rows
        for run, own in zip(runs[1:], row.checkpoints[1:], strict=True)
        for block in chosen
        if own is not None
        and row.checkpoints[0] is not None
        and block in own.blocks
        and block in row.checkpoints[0].blocks
    )
    if not found:
        raise UsageError(
            "no run has a checkpoint and a block in common with the first one", fix="name another run first"
        )
    texts = tuple(dict.fromkeys(caution.text for caution in cautions))
    return Comparison(tuple(runs), rows, chosen, tuple(measures or HEADLINE), found, texts, by_block)


def _refuse(cautions: Sequence[Caution]) -> None:
    """Refuse what `--strict` insists on.

    Raises
    ------
    UsageError
        If a caution is about what was measured or how.
    """
    problems = [caution.text for caution in cautions if caution.of_fingerprints]
    if problems:
        raise UsageError(
            "the runs differ in more than their weights",
            problems=list(dict.fromkeys(problems)),
            fix="measure them alike, or leave out --strict",
        )


def block_differences(run: JudgedSpectrum, reference: JudgedSpectrum, block: str) -> Mapping[str, Difference]:
    """Return the difference of every measure of a block of two spectra.

    Parameters
    ----------
    run, reference : JudgedSpectrum
        Both have the block.
    block : str
        Its name.
    """
    own, other = run.blocks[block].measures, reference.blocks[block].measures
    if run.spectrum is not None and reference.spectrum is not None:
        from hessent.measures.paired import differences

        return differences(
            run.spectrum.block(block),
            reference.spectrum.block(block),
            same_seed=run.seed == reference.seed,
            same_samples=run.data_sha256 == reference.data_sha256,
            known=(own, other),
        )
    sizes = run.blocks[block].batch_size, reference.blocks[block].batch_size
    if _is_itself(run, reference) and own == other and other_size(*sizes) is None:
        return {
            name: Difference(0.0, 0.0, 0.0, own[name].exact, paired=True)
            if own[name].value is not None
            else unknown(own[name], own[name])
            for name in measure_names()
        }
    found = {name: unpaired_difference(own[name], other[name], _NO_COEFFICIENTS) for name in measure_names()}
    for name in OF_BATCHES:
        if found[name].value is not None and (reason := obstacle(*sizes)) is not None:
            found[name] = Difference(None, None, None, reason=reason)
    return found


def _is_itself(run: JudgedSpectrum, reference: JudgedSpectrum) -> bool:
    """Whether two spectra were measured on the same weights and samples, with the same probes."""
    return (run.checkpoint_sha256, run.data_sha256, run.seed) == (
        reference.checkpoint_sha256,
        reference.data_sha256,
        reference.seed,
    )


def _chosen_blocks(rows: Sequence[Row], globs: Sequence[str], by_block: bool) -> tuple[str, ...]:
    """Blocks that two runs have in common; the whole matrix, else the largest one, where none was named."""
    spectra = [spectrum for row in rows for spectrum in row.checkpoints if spectrum is not None]
    sizes = {name: block.size for spectrum in spectra for name, block in spectrum.blocks.items()}
    shared = [name for name in sizes if any(sum(name in s.blocks for s in _of(row)) > 1 for row in rows)]
    if not shared:
        raise UsageError("the runs have no block in common")
    for glob in globs:
        if not any(fnmatch.fnmatchcase(name, glob) for name in shared):
            raise UsageError(
                f"--block '{glob}' matches no block that the runs have in common",
                expected=f"a glob for one of {len(shared)} blocks: {', '.join(shared[:8])}",
                fix=suggest(glob, shared),
            )
    if globs:
        return tuple(name for name in shared if any(fnmatch.fnmatchcase(name, glob) for glob in globs))
    if by_block:
        return tuple(shared)
    return (FULL,) if FULL in shared else (max(sorted(shared), key=lambda name: sizes[name]),)


def _of(row: Row) -> list[JudgedSpectrum]:
    return [spectrum for spectrum in row.checkpoints if spectrum is not None]
