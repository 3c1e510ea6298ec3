"""`SymmetricOperator`: all that an eigensolver may know of a matrix.

Eigensolvers multiply; they never see a model.  So they are tested on dense matrices with chosen eigenvalues, and
anything that can multiply (a Hessian block, a Fisher matrix, a function) can be analysed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from hessent.errors import NonFiniteError


@dataclass(frozen=True)
class Product:
    """H V for k columns, and what each group of the data contributes to it.

    Attributes
    ----------
    total : Tensor
        H V, shape (n, k), in the dtype of V.
    groups : Tensor or None
        H_G V for the mean curvature H_G of every data group, shape (g, n, k), in the dtype of the products; None
        where the data is not divided.
    """

    total: Tensor
    groups: Tensor | None = None


class SymmetricOperator(ABC):
    """A real symmetric n × n matrix H known through products.

    Attributes
    ----------
    size : int
        Dimension n.
    dtype : torch.dtype
        Precision in which products are computed.
    device : torch.device
        Where vectors must live.
    name : str
        Name used in messages.
    num_matvecs : int
        Products with single vectors so far; a product with k columns counts k.
    """

    size: int
    dtype: torch.dtype
    device: torch.device
    name: str
    num_matvecs: int

    def matvec(self, v: Tensor) -> Tensor:
        """Return H v.

        Parameters
        ----------
        v : Tensor
            Vector of shape (n,).

        Returns
        -------
        Tensor
            Shape (n,), dtype of `v`.

        Raises
        ------
        ValueError
            If `v` has another shape.
        NonFiniteError
            If the product holds NaN or infinity.
        """
        if v.ndim != 1:
            raise ValueError(f"a vector of shape ({self.size},) was expected, found {tuple(v.shape)}")
        return self.matmat(v[:, None])[:, 0]

    def matmat(self, V: Tensor) -> Tensor:
        """Return H V for k columns at once.

        Parameters
        ----------
        V : Tensor
            Columns, shape (n, k).

        Returns
        -------
        Tensor
            Shape (n, k), dtype of `V`.

        Raises
        ------
        ValueError
            If `V` has another number of rows.
        NonFiniteError
            If a product holds NaN or infinity.
        """
        return self.product(V).total

    def product(self, V: Tensor) -> Product:
        """Return H V with the contributions of the data groups, where the data is divided.

        Parameters
        ----------
        V : Tensor
            Columns, shape (n, k).

        Returns
        -------
        Product
            The total in the dtype of `V`.

        Raises
        ------
        ValueError
            If `V` has another number of rows.
        NonFiniteError
            If a product holds NaN or infinity.
        """
        if V.ndim != 2 or V.shape[0] != self.size:
            raise ValueError(f"columns of shape ({self.size}, k) were expected, found {tuple(V.shape)}")
        self.num_matvecs += V.shape[1]
        product = self._divided_product(V)
        if not bool(torch.isfinite(product.total).all()):
            raise NonFiniteError(
                f"product {self.num_matvecs} with '{self.name}' is not finite",
                fix="--dtype float64, or look for overflow in the model's activations",
            )
        return product

    def _divided_product(self, V: Tensor) -> Product:
        """Return H V and its parts; an operator whose data is divided gives them."""
        return Product(self._multiply(V))

    @abstractmethod
    def _multiply(self, V: Tensor) -> Tensor:
        """Return H V, shape (n, k), in the dtype of `V`."""
