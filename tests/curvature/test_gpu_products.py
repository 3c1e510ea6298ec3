"""Products on a CUDA device agree with those of the processor."""

import pytest
import torch
from cases import cases, seeded

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.curvature.engines.catalogue import ENGINES
from hessent.curvature.problem import Problem

CASES = {case.name: case for case in cases()}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def products(case, device, engine, V):
    problem = Problem(seeded(case.model), case.loss, case.batches(4, 4, 1), device=device, dtype=torch.float32)
    problem.measure_loss()
    served = HessianEngine(problem, memory=2**30, engine=engine, num_groups=2)
    blocks = resolve_blocks(problem.model, problem.parameters, ["layer"], full=True)
    served.choose([(blocks[-1], 1000)])
    answers = served.products([(block, V[: block.size].to(device)) for block in blocks])
    return [(answer.total.cpu(), answer.groups.cpu()) for answer in answers]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_agrees_with_the_processor_to_1e_4(name, engine):
    case = CASES[name]
    size = sum(parameter.numel() for parameter in seeded(case.model).parameters())
    V = torch.randn(size, 3, generator=torch.Generator().manual_seed(0))
    expected = products(case, "cpu", "retained", V)
    for (total, groups), (own, own_groups) in zip(expected, products(case, "cuda", engine, V), strict=True):
        scale = max(float(total.norm()), 1e-6)
        assert float((own - total).norm()) <= 1e-4 * scale
        assert float((own_groups - groups).norm()) <= 1e-4 * max(float(groups.norm()), 1e-6)
