"""The operator's check before any budget is spent: symmetric, repeatable, and truly the second derivative.

1. Symmetry: for random unit u, v of the whole matrix, abs(uᵀHv − vᵀHu)·√n / ‖Hv‖ — the relative asymmetry in the
   Frobenius sense.
2. Repeatability: one product per block, repeated with the micro-batches cut otherwise, on a vector that has been
   through the matrix once (so that it points where the curvature is large).  The relative difference is the noise
   of the products; it is stored with every block and decides which measures may be reported.  Repeated with the
   random unit vector itself, the difference is the root mean square eigenvalue of the noise, in the unit of the
   eigenvalues: the floor below which the curvature of a direction cannot be told from none.
3. Second derivative: in float64 on a few samples, a central difference of the gradient along a random direction
   against the product; for the curvatures Jᵀ M J, Jᵀ M u with u the central difference of the outputs.  It is taken
   at slightly perturbed weights, so that no unit sits exactly on a kink (at initialisation many do), with several
   step sizes of which the best counts: crossing a kink spoils large steps, rounding spoils small ones, and a wrong
   product agrees with none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.containers import samples
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.matrices.kinds import OutputForm
from hessent.curvature.problem import Problem, exact_derivatives
from hessent.errors import SelfCheckError

PRODUCTS_PER_BLOCK = 4  # that `measure_noise` spends
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # relative to ‖θ‖
_DERIVATIVE_SAMPLES = 8
_DERIVATIVE_TOLERANCE = 1e-3
_SYMMETRY_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
_REPEAT_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}


@dataclass
class OperatorCheck:
    """What the check measured.

    Attributes
    ----------
    symmetry : float
        Relative asymmetry of the whole matrix.
    derivative : float
        Relative difference to a central difference of the gradient, best of several steps.
    noise : dict of str to float
        Relative difference of a repeated product, per block.
    noise_floor : dict of str to float
        Norm of the difference of a product with a random unit vector, repeated: the root mean square eigenvalue of
        the products' noise, per block.
    matvecs : dict of str to int
        Products spent, per block.
    """

    symmetry: float = math.nan
    derivative: float = math.nan
    noise: dict[str, float] = field(default_factory=dict)
    noise_floor: dict[str, float] = field(default_factory=dict)
    matvecs: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, float]:
        """Return the figures that go into the file."""
        return {"symmetry": self.symmetry, "derivative": self.derivative, "noise": max(self.noise.values())}


def measure_noise(
    engine: HessianEngine,
    recut: HessianEngine,
    blocks: Sequence[Block],
    generator_of: Callable[[str], torch.Generator],
) -> OperatorCheck:
    """Measure symmetry and repeatability; four products per block.

    Parameters
    ----------
    engine, recut : HessianEngine
        The same problem with its data cut into different micro-batches.
    blocks : sequence of Block
        All blocks of the run.
    generator_of : callable
        Source of the random vectors of a block, by its name: what is found out about a block must not depend on
        which others there are.

    Returns
    -------
    OperatorCheck
        Without the derivative.
    """
    check = OperatorCheck()
    vectors = [_unit(_random(block.size, engine, generator_of(block.name))) for block in blocks]
    first = _totals(engine, blocks, vectors)
    turned = [_unit(product) for product in first]
    once = _totals(engine, blocks, turned)
    again = _totals(recut, blocks, [torch.hstack(pair) for pair in zip(vectors, turned, strict=True)])
    for block, Hu, Hv, repeated in zip(blocks, first, once, again, strict=True):
        scale = float(Hv.norm())
        check.noise[block.name] = float((Hv - repeated[:, 1:]).norm()) / scale if scale > 0 else 0.0
        check.noise_floor[block.name] = float((Hu - repeated[:, :1]).norm())
        check.matvecs[block.name] = PRODUCTS_PER_BLOCK
    widest = max(range(len(blocks)), key=lambda index: blocks[index].size)
    u, v, Hv = vectors[widest], turned[widest], once[widest]
    Hu = first[widest]
    gap = abs(float((u * Hv).sum()) - float((v * Hu).sum()))
    scale = float(torch.maximum(Hv.norm(), Hu.norm()))
    check.symmetry = gap * math.sqrt(blocks[widest].size) / scale if scale > 0 else 0.0
    return check


def check_derivative(problem: Problem, generator: torch.Generator) -> float:
    """Return the relative difference between a product and a central difference of the gradient, in float64."""
    inputs, targets = next(iter(problem.batches))
    few = Problem(
        problem.model,
        problem.loss,
        [(samples(inputs, 0, _DERIVATIVE_SAMPLES), samples(targets, 0, _DERIVATIVE_SAMPLES))],
        device=problem.device,
        dtype=torch.float64,
    )
    few.curvature = problem.curvature  # the loss and the samples are already as it needs them
    few_inputs, few_targets = next(few.micro_batches())
    if few.loss.count(few.outputs(few_inputs), few_targets) == 0:
        return 0.0  # every target of these samples is ignored: nothing to differentiate
    with torch.no_grad():
        for parameter in few.parameters.values():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            scale = float(parameter.square().mean().sqrt()) or 1.0
            parameter += 1e-3 * scale * noise.to(parameter.device)
    whole = Block(FULL, tuple(few.parameters), few.num_params)
    origin = _flatten(few.parameters.values())
    direction = _unit(torch.randn(whole.size, 1, generator=generator, dtype=torch.float64).to(few.device))[:, 0]
    product = _graph(few).products(whole, direction[:, None])[:, 0]
    length = float(origin.norm()) or 1.0
    scale = float(product.norm())
    if scale == 0.0:
        scale = 1.0
    best = math.inf
    for step in _STEPS:
        difference = _difference(few, origin, direction, step * length)
        best = min(best, float((difference - product).norm()) / scale)
    return best


def require_sound(check: OperatorCheck, dtype: torch.dtype) -> None:
    """Refuse an operator whose check failed.

    Raises
    ------
    SelfCheckError
        With every figure that is out of bounds.
    """
    noisiest = max(check.noise, key=lambda name: check.noise[name])
    findings = (
        ("asymmetry", check.symmetry, _SYMMETRY_TOLERANCE[dtype]),
        ("difference to the gradient's central difference", check.derivative, _DERIVATIVE_TOLERANCE),
        (
            f"difference of a repeated product (block '{noisiest}')",
            check.noise[noisiest],
            _REPEAT_TOLERANCE[dtype],
        ),
    )
    problems = [
        f"{what}: {value:.2g} (allowed {limit:.0e})" for what, value, limit in findings if not value <= limit
    ]
    if problems:
        raise SelfCheckError(
            "the products of this model cannot be trusted: the operator failed its check",
            problems=problems,
            expected="symmetric, repeatable products that agree with a difference of gradients",
            fix="--dtype float64; look for layers that are random, stateful or cast to a lower precision; "
            "--no-verify measures anyway",
        )


def _totals(engine: HessianEngine, blocks: Sequence[Block], columns: Sequence[Tensor]) -> list[Tensor]:
    """Products of every block with its own columns, from one pass over the data."""
    return [product.total for product in engine.products(list(zip(blocks, columns, strict=True)))]


def _random(size: int, engine: HessianEngine, generator: torch.Generator) -> Tensor:
    column = torch.randn(size, 1, generator=generator, dtype=torch.float64)
    return column.to(engine.problem.device)


def _unit(column: Tensor) -> Tensor:
    norm = column.norm()
    return column / norm if float(norm) > 0 else column


def _flatten(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _graph(problem: Problem) -> DoubleBackward:
    inputs, targets = next(iter(problem.micro_batches()))
    return DoubleBackward(problem, inputs, targets)


def _difference(problem: Problem, origin: Tensor, direction: Tensor, step: float) -> Tensor:
    """Return the product with `direction` as a central difference of what needs one derivative less."""
    ahead, behind = origin + step * direction, origin - step * direction
    curvature = problem.curvature
    if not isinstance(curvature, OutputForm):
        return (_gradient_at(problem, ahead) - _gradient_at(problem, behind)) / (2 * step)
    displacement = (_outputs_at(problem, ahead) - _outputs_at(problem, behind)) / (2 * step)
    _move_to(problem, origin)
    inputs, targets = next(iter(problem.micro_batches()))
    with torch.enable_grad(), exact_derivatives(problem.model):
        outputs = problem.outputs(inputs)
        at = outputs.detach()
        z = torch.zeros_like(at, requires_grad=True)
        (slope,) = torch.autograd.grad(curvature.form(problem.loss, at, targets, z), z, create_graph=True)
        (M_u,) = torch.autograd.grad(slope, z, displacement)
        pulled_back = torch.autograd.grad(outputs, list(problem.parameters.values()), M_u, materialize_grads=True)
    return _flatten(pulled_back)


def _move_to(problem: Problem, theta: Tensor) -> None:
    with torch.no_grad():
        pieces = torch.split(theta, [parameter.numel() for parameter in problem.parameters.values()])
        for parameter, piece in zip(problem.parameters.values(), pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))


def _outputs_at(problem: Problem, theta: Tensor) -> Tensor:
    """Outputs at the parameters `theta`, leaving them there."""
    _move_to(problem, theta)
    inputs, _ = next(iter(problem.micro_batches()))
    with torch.no_grad(), exact_derivatives(problem.model):
        found: Tensor = problem.outputs(inputs)
    return found


def _gradient_at(problem: Problem, theta: Tensor) -> Tensor:
    """Gradient of the summed loss at the parameters `theta`, leaving them there."""
    _move_to(problem, theta)
    inputs, targets = next(iter(problem.micro_batches()))
    with torch.enable_grad(), exact_derivatives(problem.model):
        total, _ = problem.loss_sum(inputs, targets)
        gradients = torch.autograd.grad(total, list(problem.parameters.values()), materialize_grads=True)
    return _flatten(gradients)
