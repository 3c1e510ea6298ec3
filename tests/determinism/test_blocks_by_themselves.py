"""What is found out about a block does not depend on the company it is measured in, to the last bit.

This is what lets processes share the blocks of one measurement: whoever computes a block gets the same bytes.  It
holds for a given engine; which engine multiplies is settled once for all of them.
"""

from __future__ import annotations

import pytest
import torch
from same_numbers import CASES, ENGINES, differences, measurement, problem

from hessent.curvature.blocks import resolve_blocks
from hessent.curvature.engine import HessianEngine
from hessent.eigensolver.probes import gaussian_vectors
from hessent.pipeline.observer import Silent


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["gpt, tied head, ignored tokens", "convolution+batchnorm"])
def test_a_product_is_the_same_alone_and_in_a_pass_with_all_others(name, engine):
    made = problem(CASES[name], 4, 4, 1)
    made.measure_loss()
    blocks = resolve_blocks(made.model, made.parameters, ["layer"], full=True)
    requests = [(block, gaussian_vectors(block.size, 2, seed=0, key=block.name).T) for block in blocks]
    together = HessianEngine(made, memory=2**30, engine=engine, num_groups=3)
    in_company = together.products(requests)
    alone = HessianEngine(made, memory=2**30, engine=engine, num_groups=3)
    for request, expected in list(zip(requests, in_company, strict=True))[::-3]:
        (found,) = alone.products([request])
        assert torch.equal(found.total, expected.total), request[0].name
        assert torch.equal(found.groups, expected.groups), request[0].name


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *(("mlp, mse", engine) for engine in ENGINES),
        ("convolution+batchnorm", "lockstep"),
        ("gpt, tied head, ignored tokens", "linearized"),
    ],
)
def test_a_block_has_the_same_spectrum_whichever_others_are_measured(name, engine):
    whole = measurement(problem(CASES[name], 4, 4, 1), engine=engine)
    whole.run(Silent())
    expected = {block.name: block for block in whole.spectra()}
    names = list(expected)
    for chosen in ([names[0], names[-1]], [names[len(names) // 2]]):
        part = measurement(problem(CASES[name], 4, 4, 1), engine=engine)
        part.blocks = tuple(block for block in part.blocks if block.name in chosen)
        part.run(Silent())
        assert [block.name for block in part.spectra()] == chosen
        for block in part.spectra():
            assert not list(differences(expected[block.name], block))
