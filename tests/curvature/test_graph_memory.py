"""Laws of counting a gradient graph's bytes: what is counted is what lives, and counting holds nothing back."""

import gc

import pytest
import torch
from engine_models import kinds, settled

from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.graph_memory import GraphMemory
from hessent.curvature.problem import Problem

KINDS = kinds()


@pytest.mark.parametrize("name", ["ResNet, two stages", "ViT, class token", "GPT, tied", "LSTM", "mlp, gelu"])
def test_a_graph_that_was_counted_is_freed_with_its_last_reference(name):
    kind = KINDS[name]
    problem = Problem(settled(kind), kind.loss, [(kind.inputs, kind.targets)])
    parameters = sum(parameter.nbytes for parameter in problem.model.state_dict().values())
    gc.disable()  # a cycle would be freed some time, and the memory be missing until then
    try:
        with GraphMemory() as counter:
            graph = DoubleBackward(problem, *next(problem.micro_batches()))
        assert counter.nbytes > 2 * parameters
        del graph
        assert counter.nbytes <= 2 * parameters
    finally:
        gc.enable()


def test_shared_storages_count_once():
    x = torch.ones(1000, requires_grad=True)
    with GraphMemory() as counter:
        graph = x.view(10, 100).sin() * x.view(10, 100).cos()
    assert counter.nbytes == 3 * x.nbytes  # x itself, its sine and its cosine
    assert graph.requires_grad
