"""What is found out once per run: the operator's check, the source paper's probe of tensors, gradients, the split.

Both go through JSON, so that a run that is gone on with, and processes that share it, have the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hessent.curvature.blocks import Block
from hessent.curvature.containers import HalvedBatches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.selfcheck import OperatorCheck, check_derivative, measure_noise
from hessent.eigensolver.probes import generator_for
from hessent.pipeline.gradient_facts import gradients_from
from hessent.pipeline.residual_split import as_facts, split_from
from hessent.pipeline.tensor_probe import probe_tensors
from hessent.spectra.model import TensorProbe
from hessent.spectra.split import BlockSplit


def find_out(
    engine: HessianEngine,
    blocks: tuple[Block, ...],
    seed: int,
    split: Callable[[Mapping[str, float]], tuple[BlockSplit, ...]] | None = None,
    gradients: Callable[[], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Check the operator of all blocks and take the probe of every tensor: JSON values.

    Parameters
    ----------
    engine : HessianEngine
        Serves the products.
    blocks : tuple of Block
        All of the run.
    seed : int
        Of the vectors.
    split : callable, optional
        Splits the Hessian, told of the noise of the products by block.
    gradients : callable, optional
        Returns what `find_gradients` does.
    """
    problem = engine.problem
    recut = HessianEngine(problem.recut(HalvedBatches(problem.batches)), memory=0, engine="retained")
    check = measure_noise(engine, recut, blocks, lambda block: generator_for(seed, f"check/{block}"))
    check.derivative = check_derivative(problem, generator_for(seed, "check"))
    probe = probe_tensors(engine, seed)
    return {
        "symmetry": _told(check.symmetry),
        "derivative": _told(check.derivative),
        "noise": {name: _told(noise) for name, noise in check.noise.items()},
        "noise_floor": {name: _told(floor) for name, floor in check.noise_floor.items()},
        "matvecs": check.matvecs,
        "tensors": list(probe.names),
        "sizes": probe.sizes.tolist(),
        "sums": [_told(value) for value in probe.sums],
        "gaps": [_told(value) for value in probe.gaps],
        **({} if split is None else {"split": as_facts(split(check.noise_floor))}),
        **({} if gradients is None else {"gradients": gradients()}),
    }


def are_facts(facts: Any) -> bool:
    """Whether something that was stored is what `find_out` returned."""
    try:
        from_facts(facts)
        gradients_from(facts.get("gradients"))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True


def from_facts(facts: Mapping[str, Any]) -> tuple[OperatorCheck, TensorProbe, tuple[BlockSplit, ...]]:
    """Return check, probe and split (empty where none was asked for) from what `find_out` returned."""
    check = OperatorCheck(
        symmetry=float(facts["symmetry"]),
        derivative=float(facts["derivative"]),
        noise={name: float(noise) for name, noise in facts["noise"].items()},
        noise_floor={name: float(floor) for name, floor in facts["noise_floor"].items()},
        matvecs=dict(facts["matvecs"]),
    )
    probe = TensorProbe(
        names=tuple(facts["tensors"]),
        sizes=np.array(facts["sizes"], dtype=np.int64),
        sums=np.array([float(value) for value in facts["sums"]]),
        gaps=np.array([float(value) for value in facts["gaps"]]),
    )
    return check, probe, split_from(facts.get("split", ()))


def _told(value: float) -> float | str:
    """Return a number as JSON can hold it: a check that failed may have found none."""
    return float(value) if math.isfinite(value) else str(float(value))
