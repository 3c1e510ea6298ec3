"""How many samples go into a micro-batch: as many as fit, but no more than multiply fastest.

Small nets gain from large micro-batches, where the cost of calling an operation is spread; large ones lose by them,
where activations fall out of the caches.  Measured on two CPU cores: 8 × 8 images in a ResNet18 of 100,000
parameters cost 3.4 times as much per sample in micro-batches of 16 as of 128; tokens in a GPT of 1.2 million 1.3
times as much in micro-batches of 128 as of 32.
"""

from __future__ import annotations

import math
import time

import torch

from hessent.curvature.blocks import FULL, Block
from hessent.curvature.containers import num_samples, samples
from hessent.curvature.engines.double_backward import DoubleBackward
from hessent.curvature.engines.graph_memory import GraphMemory
from hessent.curvature.engines.remembered import found_once, identity
from hessent.curvature.problem import Problem
from hessent.data.stream import BatchStream
from hessent.errors import ComputationError, memory_ran_out

_MEASURED_SAMPLES = 4
_SIZES = (16, 64, 256, 1024)  # beyond the last nothing was gained by any net
_WORTH = 0.95  # of the time per sample that a larger micro-batch may take at most to be preferred
# A second backward pass holds about as much again as the graph it goes through, for a moment.
_PEAK_OVER_GRAPH = 2


def bytes_per_sample(problem: Problem) -> int:
    """Measure the bytes a gradient graph keeps per sample, on the first few samples."""
    inputs, targets = next(iter(problem.micro_batches()))
    count = min(num_samples(inputs), _MEASURED_SAMPLES)
    with GraphMemory() as counter:
        graph = DoubleBackward(problem, samples(inputs, 0, count), samples(targets, 0, count))
    nbytes = counter.nbytes
    del graph  # it had to live until then
    return max(nbytes // count, 1)


def choose_batch_size(problem: Problem, stream: BatchStream, memory: int) -> int:
    """Return the micro-batch size that multiplies fastest among those whose product fits in memory.

    Parameters
    ----------
    problem : Problem
        Its batches are measured with a few samples.
    stream : BatchStream
        All samples.
    memory : int
        Bytes allowed.

    Returns
    -------
    int
        Between 1 and 1,024.

    Raises
    ------
    ComputationError
        If not even one sample fits.
    """
    each = bytes_per_sample(problem)
    fitting = memory // (each * _PEAK_OVER_GRAPH)
    if fitting < 1:
        raise ComputationError(
            f"one sample needs about {each * _PEAK_OVER_GRAPH / 2**20:,.0f} MiB, "
            f"{memory / 2**20:,.0f} MiB are allowed",
            fix="a larger --memory, or a machine with more",
        )
    most = min(fitting, stream.num_samples, _SIZES[-1])
    sizes = [size for size in _SIZES if size < most] + [most]
    if len(sizes) == 1:
        return most
    question = {"what": "micro-batch", "sizes": sizes, "input": list(stream.spec.input_shape), **identity(problem)}
    known = found_once(
        question,
        lambda: {"samples": _fastest(problem, stream, sizes)},
        fits=lambda known: known.get("samples") in sizes,
    )
    return int(known["samples"])


def _fastest(problem: Problem, stream: BatchStream, sizes: list[int]) -> int:
    """Try ever larger micro-batches while a sample gets cheaper; with one thread, which nothing can contend for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best, least = sizes[0], math.inf
    try:
        for size in sizes:
            seconds = _seconds_per_sample(problem, stream, size)
            if seconds > _WORTH * least:
                break
            best, least = size, seconds
    except (RuntimeError, MemoryError) as error:
        if not memory_ran_out(error):
            raise
    finally:
        torch.set_num_threads(threads)
    return best


def _seconds_per_sample(problem: Problem, stream: BatchStream, size: int) -> float:
    """Time of one product with the whole matrix over a micro-batch, per sample; the faster of two."""
    whole = Block(FULL, tuple(problem.parameters), problem.num_params)
    v = torch.ones(whole.size, 1, dtype=problem.dtype, device=problem.device)
    inputs, targets = next(problem.with_batches(stream.with_batch_size(size)).micro_batches())
    graph = DoubleBackward(problem, inputs, targets)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        float(graph.products(whole, v)[0, 0])  # waits for a device that works asynchronously
        seconds.append(time.perf_counter() - start)
    return min(seconds) / size
