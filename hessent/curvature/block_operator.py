"""One diagonal block of the curvature matrix as an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.operator import Product, SymmetricOperator

if TYPE_CHECKING:
    from hessent.curvature.engine import HessianEngine


class BlockOperator(SymmetricOperator):
    """One diagonal block of the Hessian of the mean loss."""

    def __init__(self, engine: HessianEngine, block: Block) -> None:
        self.engine = engine
        self.block = block
        self.size = block.size
        self.name = block.name
        self.dtype = engine.problem.dtype
        self.device = engine.problem.device
        self.num_matvecs = 0

    def _multiply(self, V: Tensor) -> Tensor:
        return self._divided_product(V).total

    def _divided_product(self, V: Tensor) -> Product:
        return self.engine.products([(self.block, V)])[0]
