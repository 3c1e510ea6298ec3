"""Where vectors go that do not fit in memory beside the products: host memory, then a file.

Reading vectors from a file is cheap beside products.  Measured on one core with 320 vectors of 1,000,000 float32
(1.3 GB): one pass over them takes 0.2 s from memory, as much from a file that the system still caches, and 1.4 s
where every byte comes from a disk of 0.9 GB/s.  A step with 8 probes reads them twice; its 8 products, with a
ResNet18 of that size on 2,048 small images, take 60 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace


def _untold(nbytes: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Overflow:
    """Bytes allowed for vectors beyond the memory of the device that multiplies.

    Attributes
    ----------
    host : int
        In host memory; 0 where that is the device's own.
    file : int
        In a file.
    folder : str or None
        Where the file is made; None where there may be none.
    spilled : callable
        Told the bytes whenever the file is made larger.
    """

    host: int = 0
    file: int = 0
    folder: str | None = None
    spilled: Callable[[int], None] = field(default=_untold, compare=False)

    def share(self, part: int, whole: int) -> Overflow:
        """Return the room of one of several sets of vectors, `part` of `whole`."""
        return replace(self, host=self.host * part // whole, file=self.file * part // whole)
