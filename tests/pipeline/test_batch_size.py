"""The micro-batch: as many samples as fit, no more than multiply fastest, timed once."""

import pytest
import torch
from torch import nn

from hessent.curvature.problem import Problem
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import ComputationError
from hessent.pipeline import batch_size
from hessent.pipeline.batch_size import bytes_per_sample, choose_batch_size


def made(samples=1000):
    stream = BatchStream(open_dataset("digits"), samples=samples, batch_size=8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
    return Problem(model, "cross-entropy", stream), stream


@pytest.fixture
def cost(monkeypatch):
    """Replace the clock: seconds per sample by size, and which sizes were tried."""
    tried = []

    def install(table):
        def seconds(problem, stream, size):
            tried.append(size)
            if table[size] is None:
                raise torch.OutOfMemoryError
            return table[size]

        monkeypatch.setattr(batch_size, "_seconds_per_sample", seconds)
        return tried

    return install


@pytest.mark.parametrize(
    ("table", "chosen", "tried"),
    [
        ({16: 4.0, 64: 2.0, 256: 1.0, 1000: 0.5}, 1000, [16, 64, 256, 1000]),
        ({16: 4.0, 64: 2.0, 256: 1.99, 1000: 0.5}, 64, [16, 64, 256]),  # hardly cheaper: not worth the memory
        ({16: 1.0, 64: 2.0}, 16, [16, 64]),
        ({16: 4.0, 64: 2.0, 256: None}, 64, [16, 64, 256]),
    ],
)
def test_micro_batches_grow_while_a_sample_gets_cheaper(cost, table, chosen, tried):
    asked = cost(table)
    problem, stream = made()
    assert choose_batch_size(problem, stream, 2**40) == chosen
    assert asked == tried
    assert choose_batch_size(problem, stream, 2**40) == chosen
    assert asked == tried  # the second answer was remembered


def test_only_sizes_that_fit_are_tried(cost):
    problem, stream = made()
    each = 2 * bytes_per_sample(problem)
    asked = cost({16: 4.0, 64: 2.0, 100: 1.0})
    assert choose_batch_size(problem, stream, 100 * each) == 100
    assert asked == [16, 64, 100]
    assert choose_batch_size(problem, stream, 5 * each) == 5
    assert choose_batch_size(*made(samples=10), 2**40) == 10
    with pytest.raises(ComputationError, match="one sample needs"):
        choose_batch_size(problem, stream, each - 1)


def test_the_clock_leaves_the_threads_as_they_were_and_gives_a_size_that_was_offered():
    before = torch.get_num_threads()
    problem, stream = made(samples=70)
    assert choose_batch_size(problem, stream, 2**40) in (16, 64, 70)
    assert torch.get_num_threads() == before
