"""The gradient of a block in a spectrum file: what it, and that of less of the data, was reduced to."""

from __future__ import annotations

import math

from hessent.spectra import encoding
from hessent.spectra.gradients import REDUCED, BlockGradient, Float64Array, GradientAlong
from hessent.spectra.hdf5_guard import GuardedGroup, require_ascending
from hessent.spectra.hdf5_versions import Readers, read_group

_LARGEST_NORM = 1e70  # squares must not be beyond what is read of any array
_MOST_ITEMS = 1 << 48  # of one group of the data: sums and products with it must not overflow
_ROUNDING = 1e-6
_ORTHOGONALITY = 1e-2  # of vectors that are kept in float32


def read_gradient(block: GuardedGroup) -> BlockGradient | None:
    """Read the gradient of a block, where the file has it."""
    if "gradient" not in block:
        return None
    group = block.group("gradient")
    gradient: BlockGradient = read_group(group, READERS, encoding.GRADIENT)
    size = block.integer("size", least=1)
    for rows in (gradient.total[None], gradient.batches, gradient.left_out):
        if rows is not None:
            _require_possible(group, rows, size)
    if gradient.along is not None:
        _require_directions(group, gradient.along, size, exact="eigenvalues" in block)
    return gradient


def _read_gradient(group: GuardedGroup) -> BlockGradient:
    reduced = group.reals("reduced", None, len(REDUCED))
    items = group.integers("items", None) if "items" in group else None
    count = 0 if items is None else len(items)
    if items is not None and (count < 2 or (items < 1).any() or (items > _MOST_ITEMS).any()):
        raise group.failure("items", f"is not two or more group sizes from 1 to {_MOST_ITEMS:,}")
    if len(reduced) < 1 + count:
        raise group.failure("reduced", f"has {len(reduced)} rows, fewer than 1 and {count} groups of the data")
    fraction, rounding = group.real("sampled_fraction"), group.real("rounding")
    if not 0.0 <= fraction <= 1.0:
        raise group.failure("sampled_fraction", f"is {fraction}, not a share from 0 to 1")
    if not 0.0 <= rounding < math.inf:
        raise group.failure("rounding", f"is {rounding}, not a finite number from 0")
    return BlockGradient(
        total=reduced[0],
        rounding=rounding,
        batches=reduced[1 + count :],
        batch_size=group.integer("batch_size", least=1),
        left_out=None if items is None else reduced[1 : 1 + count],
        items=items,
        sampled_fraction=fraction,
        along=_read_along(group) if "shares" in group else None,
    )


def _read_along(group: GuardedGroup) -> GradientAlong:
    shares = group.reals("shares", None)
    if "values" not in group:
        return GradientAlong(shares)
    values, residuals = (group.reals(name, len(shares)) for name in ("values", "residuals"))
    require_ascending(group, "values", values)
    if residuals.min(initial=0.0) < 0.0:
        raise group.failure("residuals", "holds a negative norm")
    return GradientAlong(shares, values, residuals)


def _require_possible(group: GuardedGroup, rows: Float64Array, size: int) -> None:
    """Refuse sums and entropies that no gradient of n entries has."""
    absolute, square, entropy = rows.T
    if rows.min(initial=0.0) < 0.0 or absolute.max(initial=0.0) > _LARGEST_NORM:
        raise group.failure("reduced", f"holds a number below 0, or a norm beyond {_LARGEST_NORM:g}")
    if entropy.max(initial=0.0) > math.log(size) + _ROUNDING:
        raise group.failure("reduced", f"holds an entropy above log {size:,}")
    least, most = absolute**2 / size, absolute**2
    if (square < least * (1 - _ROUNDING)).any() or (square > most * (1 + _ROUNDING)).any():
        raise group.failure("reduced", f"holds norms that no {size:,} numbers have")


def _require_directions(group: GuardedGroup, along: GradientAlong, size: int, *, exact: bool) -> None:
    """Refuse shares that are none, or of other vectors than the block's."""
    if along.shares.min(initial=0.0) < 0.0 or along.shares.sum() > 1 + _ORTHOGONALITY:
        raise group.failure("shares", "is not shares of one whole")
    if exact and (along.values is not None or len(along.shares) != size):
        raise group.failure("shares", f"is not that of the {size:,} eigenvectors of an exact block")
    if not exact and (along.values is None or len(along.shares) > size):
        raise group.failure("shares", f"has no Ritz values, or more than the {size:,} that there can be")


READERS: Readers = {encoding.GRADIENT: _read_gradient}
