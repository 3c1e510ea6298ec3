"""Reading the Hessian's split into its Gauss-Newton part and the rest."""

from __future__ import annotations

from hessent.spectra import encoding
from hessent.spectra.hdf5_guard import GuardedGroup
from hessent.spectra.hdf5_versions import Readers, read_group
from hessent.spectra.split import MOMENTS, BlockSplit

_LARGEST_NORM = 1e70  # squares must not be beyond what is read of any array


def read_split(root: GuardedGroup) -> tuple[BlockSplit, ...]:
    """Read the split of every block; empty where the file has none."""
    if "split" not in root:
        return ()
    blocks: tuple[BlockSplit, ...] = read_group(root.group("split"), READERS, encoding.SPLIT)
    return blocks


def _read_blocks(group: GuardedGroup) -> tuple[BlockSplit, ...]:
    return tuple(read_group(group.group(key), READERS, encoding.SPLIT_BLOCK) for key in sorted(group.members()))


def _read_block(group: GuardedGroup) -> BlockSplit:
    exact, noise = group.boolean("exact"), group.real("noise")
    if not 0.0 <= noise <= _LARGEST_NORM:
        raise group.failure("noise", f"is {noise}, not from 0 to {_LARGEST_NORM:g}")
    moments = group.reals("moments", None, len(MOMENTS))
    if len(moments) != 1 if exact else len(moments) < 2:
        raise group.failure(
            "moments", f"has {len(moments)} rows, of a block that is {'' if exact else 'not '}exact"
        )
    if abs(moments).max() > _LARGEST_NORM:
        raise group.failure("moments", f"holds numbers beyond {_LARGEST_NORM:g}")
    if moments[:, 3:6].min() < 0.0 or abs(moments[:, 6]).max() > 1.0 + 1e-9:
        raise group.failure("moments", "holds a negative norm, or a cosine beyond 1")
    return BlockSplit(group.text("name"), group.integer("size", least=1), exact, noise, moments)


READERS: Readers = {encoding.SPLIT: _read_blocks, encoding.SPLIT_BLOCK: _read_block}
