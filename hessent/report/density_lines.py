"""Spectral densities in a terminal: a line of block characters for each block, on one common axis.

The axis is `hessent.measures.density`'s, in units of each block's own τ: so all blocks share it, and its ends are
about ±max abs(λ).  A character's height is the logarithm of the share of eigenvalues in its stretch of the axis,
from a tenth of one eigenvalue to the highest of the block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hessent.measures.density import NARROW, has_density, spectral_densities
from hessent.measures.functionals import scale_of
from hessent.measures.ratios import relative_tau
from hessent.report.names import printable
from hessent.report.numbers import format_number
from hessent.report.selection import SpectrumEntry, blocks_named
from hessent.spectra.model import BlockSpectrum

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 80
_NAME = 22  # columns, at most
_SCALE = 9  # columns of max|λ|
_LABELS = ((0.0, "0"), (-1.0, "−1"), (1.0, "1"), (-0.1, "−.1"), (0.1, ".1"), (-0.01, "−.01"), (0.01, ".01"))
_TENTH_OF_ONE = 0.1 / (NARROW * math.sqrt(2 * math.pi))


def density_lines(entry: SpectrumEntry, patterns: Sequence[str], width: int | None = None) -> list[Text]:
    """Return the densities of the blocks that match as lines of text.

    Parameters
    ----------
    entry : SpectrumEntry
        What was measured.
    patterns : sequence of str
        Globs for names of blocks; none for all.
    width : int, optional
        Columns there are; 80 where the output has no width.

    Raises
    ------
    UsageError
        If a glob matches no block.
    """
    blocks = blocks_named(entry, patterns)
    names = [printable(block.name) for block in blocks]
    name_width = min(_NAME, max(map(cell_len, names), default=0))
    across = max(16, min(width or _WIDTH, 160) - name_width - _SCALE - 4)
    reach = max((_reach(block) for block in blocks if has_density(block)), default=3.0) + 3 * NARROW
    lines = []
    for block, name in zip(blocks, names, strict=True):
        label = set_cell_size(name if cell_len(name) <= name_width else name[: name_width - 1] + "…", name_width)
        if not has_density(block):
            lines.append(Text(f"{label}  only the trace was measured"))
            continue
        bars = _bars(block, reach, across)
        lines.append(
            Text.assemble(label, " ", (bars, "cyan"), "  ", format_number(scale_of(block), 3).rjust(_SCALE))
        )
    return [*lines, *_axis_lines(reach, across, name_width)] if lines else []


def _bars(block: BlockSpectrum, reach: float, across: int) -> str:
    """Return one character per stretch of the axis from −reach to reach; the middle one holds zero."""
    (density,) = spectral_densities([block])  # around the block's own τ, which is thus 1 on the axis
    edges = np.linspace(-reach, reach, across + 1)
    stretches = np.digitize(density.grid, edges) - 1
    peaks = np.zeros(across)
    inside = (stretches >= 0) & (stretches < across)
    np.maximum.at(peaks, stretches[inside], density.mean[inside])
    return "".join(_BARS[height] for height in _heights(peaks, _TENTH_OF_ONE / block.size))


def _heights(peaks: NDArray[np.float64], floor: float) -> list[int]:
    top = max(float(peaks.max()), 10 * floor)
    logs = np.log(np.maximum(peaks, floor) / floor) / math.log(top / floor)
    return [math.ceil(share * (len(_BARS) - 1) - 1e-9) for share in logs]


def _reach(block: BlockSpectrum) -> float:
    """Position of max abs(λ) on the axis, τ being 1."""
    return math.log10(1.0 + 1.0 / relative_tau(block))


def _axis_lines(reach: float, across: int, name_width: int) -> list[Text]:
    """Return the line below the bars, its labels, and how to read it."""
    ruler, labels = ["─"] * across, [" "] * across
    for value, label in _LABELS:
        place = math.copysign(math.log10(1.0 + abs(value) * 10.0**3), value) if value else 0.0
        cell = int((place + reach) / (2 * reach) * across)
        start = min(cell - len(label) // 2, across - len(label))
        if start >= 0 and not "".join(labels[max(0, start - 1) : start + len(label) + 1]).strip():
            ruler[min(cell, across - 1)] = "┴"
            labels[start : start + len(label)] = label
    pad = " " * (name_width + 1)
    return [
        Text(pad + "".join(ruler) + "  " + "max|λ|".rjust(_SCALE)),
        Text(pad + "".join(labels)),
        Text("Across: λ / max|λ| of the block, signed log around τ = 0.001. Up: the log of the"),
        Text("share of eigenvalues, from a tenth of one to the highest share of the block."),
    ]
