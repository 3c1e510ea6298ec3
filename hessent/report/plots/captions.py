"""What a picture says in words: which checkpoint, how measured, and what spoils it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import PurePath

from hessent.report.kinds import matrix_in_words
from hessent.report.names import printable
from hessent.report.selection import SpectrumEntry
from hessent.spectra.kronecker import KroneckerBlock
from hessent.spectra.model import BlockSpectrum

_LETTERS_PER_INCH = 17.0  # of small print: 7 points
_LONGEST_FILE = 70  # letters; its middle is left out
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def file_label(entry: SpectrumEntry, entries: Sequence[SpectrumEntry]) -> str:
    """Return the name of a file without its folder, or with it where that is needed to tell files apart."""
    names = [PurePath(other.file).name for other in entries]
    name = PurePath(entry.file).name
    return printable(entry.file if names.count(name) > 1 else name)


def provenance(entries: Sequence[SpectrumEntry]) -> str:
    """Return one line on what was measured, with what a reader must know of it; of a single file its name, too."""
    first = entries[0].spectrum
    words = [first.checkpoint.arch]
    if len(entries) == 1:
        words.insert(0, shortened(entries[0].file, _LONGEST_FILE))
        if first.checkpoint.step is not None:
            words.append(f"step {first.checkpoint.step:,}")
    words.append(f"{matrix_in_words(first)} of {first.loss.name}")
    words.append(f"{first.data.samples:,} samples of {first.data.name}")
    if any(entry.spectrum.data.synthetic for entry in entries):
        words.append("SYNTHETIC DATA")
    if not all(entry.spectrum.complete for entry in entries):
        words.append("INCOMPLETE")
    return printable(" · ".join(words))


def how_measured(blocks: Sequence[BlockSpectrum]) -> str:
    """Return whether a block was measured whole or sampled, once where it is the same in all files."""
    return " | ".join(dict.fromkeys(_how(block) for block in blocks))


def fitted(text: str, width: float) -> str:
    """Break small print into lines that fit `width` inches."""
    return "\n".join(textwrap.wrap(text, max(20, int(width * _LETTERS_PER_INCH)), break_long_words=False))


def shortened(name: str, letters: int) -> str:
    """Return a printable name of at most so many letters, its middle left out."""
    name = printable(name)
    if len(name) <= letters:
        return name
    tail = (letters - 1) // 2
    return name[: letters - 1 - tail] + "…" + name[-tail:]


def power_of_ten(value: float) -> str:
    """Return a power of ten as it is written: 0, 1, −10, 10⁻³."""
    if value == 0.0:
        return "0"
    exponent = round(math.log10(abs(value)))
    size = f"{10.0**exponent:g}" if -1 <= exponent <= 2 else "10" + str(exponent).translate(_RAISED)
    return ("−" if value < 0 else "") + size


def _how(block: BlockSpectrum) -> str:
    if isinstance(block, KroneckerBlock):
        return f"K-FAC, {block.approximation}"
    if block.probes is None:
        return "exact"
    outliers = 0 if block.outliers is None else len(block.outliers.values)
    return f"sampled {outliers}+{block.probes.num_probes}×{block.probes.num_steps}"
