"""Division by a diagonal metric P, of which a coordinate may be 0 where nothing ever happened."""

from __future__ import annotations

from torch import Tensor

from hessent.optimizers.steps.explicit_step import ByParameter, Map


def divided(numbers: ByParameter, metric: ByParameter) -> dict[str, Tensor]:
    """Return P⁻¹ of numbers, 0 where P is 0."""
    return {name: _quotient(value, metric[name]) for name, value in numbers.items()}


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    alive = denominator > 0
    quotient: Tensor = (numerator / denominator.where(alive, 1.0)).where(alive, 0.0)
    return quotient


def positive(metric: ByParameter) -> ByParameter | None:
    """Return the metric, None where a coordinate of it is 0."""
    return metric if all(bool((values > 0).all()) for values in metric.values()) else None


def inverse_root(metric: ByParameter) -> Map:
    """Return v → P^{-1/2} v, 0 where P is 0."""
    roots = {name: values.sqrt() for name, values in metric.items()}
    return lambda vector: divided(vector, roots)
