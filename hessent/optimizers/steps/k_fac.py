"""K-FAC: the gradient of each layer, divided by A ⊗ G of its inputs and of its output gradients.

    d = −η (A ⊗ G + δ I)⁻¹ g

layer by layer, with the factors of `hessent.curvature.kronecker` over all samples at the checkpoint's weights:
those of the Gauss-Newton matrix, which is the Fisher matrix for a softmax.  δ is the damping times the largest
eigenvalue of any layer, and stands in the eigenbasis of the product, not in the factors one by one.  Parameters
without factors (norms, embeddings, attention that a function computes, factors too large to decompose) take the
plain gradient, times the ratio of lengths, step over gradient, of the parameters that have them; on other
gradients the same number.

Reference: Martens, Grosse (2015), Optimizing neural networks with Kronecker-factored approximate curvature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hessent.curvature.groups import Division
from hessent.curvature.kronecker.coverage import Coverage, find_coverage
from hessent.curvature.kronecker.curvature import KroneckerFactored
from hessent.curvature.kronecker.factors import Factoring, Factors, draws_for, measure_factors, num_columns
from hessent.curvature.kronecker.output_roots import output_roots
from hessent.curvature.kronecker.sums import bytes_of_sums
from hessent.errors import UsageError
from hessent.measures.step_analysis import REBUILT
from hessent.optimizers.steps.explicit_step import ByParameter, ExplicitStep
from hessent.optimizers.steps.rotated_block import RotatedBlock, powered
from hessent.optimizers.steps.situation import StepMaker

_LARGEST_SIDE = 2_048


class KroneckerFactors(StepMaker):
    """K-FAC."""

    def step(self, gradient: ByParameter) -> ExplicitStep:
        """Return the step.

        Raises
        ------
        UsageError
            If the loss tells no square root of its second derivative, or no layer has factors.
        """
        factors = self._factors()
        blocks, damping = self._blocks(factors)
        covered = {name for block in blocks for name in block.parameters}
        rate = _ratio(powered(blocks, gradient, -1.0), {name: gradient[name] for name in sorted(covered)})

        def power(vector: ByParameter, exponent: float) -> dict[str, Tensor]:
            found = powered(blocks, vector, exponent)
            return {name: found.get(name, value * rate**-exponent) for name, value in vector.items()}

        def direction(other: ByParameter) -> dict[str, Tensor]:
            return {name: -value for name, value in power(other, -1.0).items()}

        return ExplicitStep(
            optimizer="k-fac",
            source=REBUILT,
            told=self._told(factors, covered, damping),
            direction=direction(gradient),
            apply=direction,
            linear=True,
            inverse_root=lambda vector: power(vector, -0.5),
            stable_up_to=2.0,
            customary_rate=1.0,
        )

    def _factors(self) -> Factors:
        problem = self.situation.problem
        output_roots(problem.loss)
        reduces = KroneckerFactored(None, None, problem.loss).reduces
        found = find_coverage(problem, reduce=reduces)
        memory = self.situation.engine.memory
        layers = tuple(
            layer
            for layer in found.layers
            if max(layer.input_size, layer.output_size) <= _LARGEST_SIDE and bytes_of_sums(layer, 1) <= memory // 4
        )
        if not layers:
            raise UsageError("no layer has Kronecker factors: K-FAC covers linear layers and convolutions")
        factoring = Factoring(reduces, draws_for(num_columns(problem), None), self.situation.seed)
        return measure_factors(problem, Coverage(layers, found.refused), factoring, Division())

    def _blocks(self, factors: Factors) -> tuple[list[RotatedBlock], float]:
        """The damped products, and δ."""
        decomposed = []
        for layer in factors.coverage.layers:
            inputs, outputs = factors.sums[layer.name].factors(factors.items)
            (a, right), (b, left) = torch.linalg.eigh(inputs), torch.linalg.eigh(outputs)
            products = b.clamp_min(0.0)[:, :, None] * a.clamp_min(0.0)[:, None, :]
            decomposed.append(RotatedBlock(layer.parameters, left, right, products))
        largest = max(float(block.values.max()) for block in decomposed)
        if largest <= 0.0:
            raise UsageError("the Kronecker factors are 0: no parameter has any influence on the outputs")
        damping = self.situation.damping * largest
        return [RotatedBlock(b.parameters, b.left, b.right, b.values + damping) for b in decomposed], damping

    def _told(self, factors: Factors, covered: set[str], damping: float) -> str:
        weights, approximation = self.situation.weights, "reduce" if factors.factoring.reduce else "expand"
        told = f"factors ({approximation}) over all samples, damping {damping:.3g}"
        draws = factors.factoring.draws
        told += f", {draws} random square root{'s' * (draws != 1)} a sample" if draws else ""
        left_out = sum(value.numel() for name, value in weights.items() if name not in covered)
        if left_out:
            told += f"; {left_out:,} of {self.situation.problem.num_params:,} parameters have no factors and take "
            told += "the plain gradient, scaled as the others are in length"
        return told


def _ratio(step: ByParameter, gradient: ByParameter) -> float:
    """‖step‖ over ‖gradient‖; 1 where the gradient is 0."""
    lengths = [float(sum(value.square().sum() for value in part.values())) for part in (step, gradient)]
    return (lengths[0] / lengths[1]) ** 0.5 if lengths[1] > 0 and lengths[0] > 0 else 1.0
