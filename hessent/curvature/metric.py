"""`Metric`: lengths in parameter space other than Euclid's, and the curvature seen through them.

A positive diagonal P measures a step d by √(dᵀ P d).  In the coordinates P^{1/2} θ, where that is Euclid's length,
the curvature C is P^{-1/2} C P^{-1/2}: its entries are C_ij / √(p_i p_j), and a block of it needs P of that block
alone.  So a block's columns are scaled before a product and its result after it, and whatever multiplies, samples
or divides the data into groups need not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.errors import UsageError

_MOST_LISTED = 20


@dataclass(frozen=True, eq=False)
class Metric:
    """The diagonal metric P of a problem's parameters.

    Attributes
    ----------
    name : str
        As it stands in files: ``adam``, or the name of the file that P was read from, without its ending.
    definition : str
        One line.
    scales : mapping of str to Tensor
        p^{-1/2} of every parameter, float64, in the parameter's shape.
    sha256 : str
        Digest of P.
    """

    name: str
    definition: str
    scales: Mapping[str, Tensor]
    sha256: str

    @classmethod
    def of_diagonal(cls, name: str, definition: str, diagonal: Mapping[str, Tensor], where: str) -> Metric:
        """Return the metric of a diagonal.

        Parameters
        ----------
        name, definition : str
            As above.
        diagonal : mapping of str to Tensor
            P by parameter.
        where : str
            Where it comes from, for messages.

        Raises
        ------
        UsageError
            If an entry is not a positive number; all tensors that hold such are named.
        """
        digest, scales, problems = hashlib.sha256(), {}, []
        for parameter, values in sorted(diagonal.items()):
            values = values.detach().to("cpu", torch.float64).contiguous()
            scale = values.rsqrt()
            # Beyond the range of roots, P counts as zero or as infinite.
            wrong = int((~(torch.isfinite(scale) & torch.isfinite(values) & (scale > 0))).sum())
            if wrong:
                problems.append(f"'{parameter}': {wrong:,} of {values.numel():,} entries")
            digest.update(f"{parameter} {tuple(values.shape)} ".encode())
            digest.update(values.numpy().tobytes())
            scales[parameter] = scale
        if problems:
            raise UsageError(
                "holds entries that are not positive finite numbers, which no metric has",
                where=where,
                problems=_listed(problems),
                fix="--precondition FILE with a positive number for each; of Adam's state, epsilon must be above 0",
            )
        return cls(name, definition, scales, digest.hexdigest())

    def scale_(self, block: Block, columns: Tensor) -> Tensor:
        """Multiply the rows of columns (…, n_b, k) by p^{-1/2} of a block, in place, and return them."""
        sizes = [self.scales[name].numel() for name in block.parameters]
        for name, part in zip(block.parameters, torch.split(columns, sizes, dim=-2), strict=True):
            part.mul_(self.scales[name].reshape(-1, 1))
        return columns

    def fitted_to(self, parameters: Mapping[str, Tensor]) -> Metric:
        """Return the metric on the parameters' device, and of them alone.

        Raises
        ------
        UsageError
            If it lacks a parameter or has another shape; all are listed.
        """
        problems = [
            f"'{name}': there is nothing for it"
            if name not in self.scales
            else f"'{name}': {tuple(self.scales[name].shape)}, the parameter is {tuple(parameter.shape)}"
            for name, parameter in parameters.items()
            if name not in self.scales or self.scales[name].shape != parameter.shape
        ]
        if problems:
            raise UsageError("the metric does not fit the parameters", where=self.name, problems=_listed(problems))
        scales = {name: self.scales[name].to(parameter.device) for name, parameter in parameters.items()}
        return replace(self, scales=scales)

    def as_settings(self) -> dict[str, Any]:
        """Return what a file says of it."""
        return {
            "precondition": self.name,
            "precondition_sha256": self.sha256,
            "precondition_definition": self.definition,
        }


def _listed(problems: list[str]) -> list[str]:
    more = len(problems) - _MOST_LISTED
    return problems if more <= 0 else [*problems[:_MOST_LISTED], f"… and {more:,} more"]
