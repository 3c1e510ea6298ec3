"""Reading the factors of blocks of K-FAC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hessent.spectra import encoding
from hessent.spectra.hdf5_guard import GuardedGroup, require_ascending
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.kronecker import APPROXIMATIONS, MOST_EIGENVALUES, FactorPair

Float64Array = NDArray[np.float64]

_LARGEST = 1e70  # products must not be beyond what is read of any array


def read_factors(block: GuardedGroup, size: int, num_groups: int) -> tuple[FactorPair, ...]:
    """Read the factors of a block of `size` parameters, left out per group of the data where there are any."""
    factors = block.group("factors")
    pairs: tuple[FactorPair, ...] = read_group(factors, READERS, encoding.FACTORS)
    total = sum(pair.size for pair in pairs)
    if total != size:
        raise block.failure("factors", f"have {total} products, but the block has size {size}")
    if size > MOST_EIGENVALUES:
        raise block.failure("size", f"is {size:,}, of which at most {MOST_EIGENVALUES:,} are read")
    for pair in pairs:
        for left_out in (pair.inputs_left_out, pair.outputs_left_out):
            found = 0 if left_out is None else len(left_out)
            if found != num_groups:
                raise block.failure("factors", f"leave out {found} groups of the data, of {num_groups}")
    return pairs


def read_approximation(block: GuardedGroup) -> tuple[str, int]:
    """Read how a block of K-FAC was made: its approximation, and random square roots per sample."""
    approximation = block.text("approximation")
    if approximation not in APPROXIMATIONS:
        raise block.failure("approximation", f"is '{approximation}', not {' or '.join(APPROXIMATIONS)}")
    return approximation, block.integer("draws", least=0)


def _read_factors(group: GuardedGroup) -> tuple[FactorPair, ...]:
    return tuple(read_group(group.group(key), READERS, encoding.FACTOR_PAIR) for key in sorted(group.members()))


def _read_pair(group: GuardedGroup) -> FactorPair:
    inputs, outputs = _values(group, "inputs"), _values(group, "outputs")
    return FactorPair(
        inputs,
        outputs,
        _left_out(group, "inputs_left_out", len(inputs)),
        _left_out(group, "outputs_left_out", len(outputs)),
    )


def _values(group: GuardedGroup, name: str) -> Float64Array:
    values = group.reals(name, None)
    _check(group, name, values)
    return values


def _left_out(group: GuardedGroup, name: str, length: int) -> Float64Array | None:
    if name not in group:
        return None
    values = group.reals(name, None, length)
    _check(group, name, values)
    return values


def _check(group: GuardedGroup, name: str, values: Float64Array) -> None:
    """Refuse factors that are empty, not in order or negative, or so large that products of them overflow."""
    if not values.size:
        raise group.failure(name, "is empty")
    require_ascending(group, name, values)
    if values.min() < 0.0 or values.max() > _LARGEST:
        raise group.failure(name, f"holds numbers that are not from 0 to {_LARGEST:g}")


READERS: Readers = {encoding.FACTORS: _read_factors, encoding.FACTOR_PAIR: _read_pair}
