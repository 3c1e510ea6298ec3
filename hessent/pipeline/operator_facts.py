"""What is found out about the operator once per run: its check, and the source paper's probe of every tensor.

Both go through JSON, so that a run that is gone on with, and processes that share it, have the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from hessent.curvature.blocks import Block
from hessent.curvature.containers import HalvedBatches
from hessent.curvature.engine import HessianEngine
from hessent.curvature.selfcheck import OperatorCheck, check_derivative, measure_noise
from hessent.eigensolver.probes import generator_for
from hessent.pipeline.tensor_probe import probe_tensors
from hessent.spectra.model import TensorProbe


def find_out(engine: HessianEngine, blocks: tuple[Block, ...], seed: int) -> dict[str, Any]:
    """Check the operator of all blocks and take the probe of every tensor: JSON values."""
    problem = engine.problem
    recut = HessianEngine(problem.with_batches(HalvedBatches(problem.batches)), memory=0, engine="retained")
    check = measure_noise(engine, recut, blocks, lambda block: generator_for(seed, f"check/{block}"))
    check.derivative = check_derivative(problem, generator_for(seed, "check"))
    probe = probe_tensors(engine, seed)
    return {
        "check": asdict(check),
        "probe": {
            "names": list(probe.names),
            "sizes": probe.sizes.tolist(),
            "sums": probe.sums.tolist(),
            "gaps": probe.gaps.tolist(),
        },
    }


def from_facts(facts: Mapping[str, Any]) -> tuple[OperatorCheck, TensorProbe]:
    """Return check and probe from what `find_out` returned."""
    probe = facts["probe"]
    return OperatorCheck(**facts["check"]), TensorProbe(
        names=tuple(probe["names"]),
        sizes=np.array(probe["sizes"], dtype=np.int64),
        sums=np.array(probe["sums"], dtype=np.float64),
        gaps=np.array(probe["gaps"], dtype=np.float64),
    )
