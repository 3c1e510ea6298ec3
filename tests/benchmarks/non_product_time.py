"""Share of the time that a measurement spends on anything but products.

What happens between products (Lanczos, orthogonalisation, bookkeeping) depends neither on the number of samples nor
on the size of an image, so the run is made once with few samples, and its products are replaced by what they take
with all: the time of one product per block, times the columns of the run.  Minutes instead of an hour.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from benchmarks.candidates import room
from benchmarks.clocks import clock_for, clock_name
from benchmarks.figures import Bar, Spread
from benchmarks.models import CASES, Case, Workload, workload
from benchmarks.sections import Section
from torch import Tensor

import hessent
from hessent.curvature.blocks import Block
from hessent.curvature.engine import HessianEngine
from hessent.curvature.operator import Product
from hessent.pipeline.observer import Silent

_SAMPLES = 512
_RUN_SAMPLES = 4  # one per data group
_TIMED_SAMPLES = 64
_MICRO_BATCH = 32
_SIDES = (32, 8)  # of an image: CIFAR's, and that of the built-in digits
_BOUND = 5.0  # per cent


@dataclass
class Watched(Silent):
    """What happened since the measurement began its first look.

    Attributes
    ----------
    began : float
        Seconds on the clock; 0 before.
    seconds : float
        Of all products since.
    columns : Counter of Block
        Products since, by block.
    """

    clock: Callable[[], float]
    began: float = 0.0
    seconds: float = 0.0
    columns: Counter[Block] = field(default_factory=Counter)

    def started(self, stage: str, planned: int) -> None:
        """Note when the first stage begins: engine and operator have been checked."""
        self.began = self.began or self.clock()


def section(device: str, *, probes: int, steps: int, layers: bool) -> Section:
    """Measure ResNet18 of width 16.

    Parameters
    ----------
    device : str
    probes, steps : int
    layers : bool
        Whether all layers are measured beside the whole matrix, in a second run.
    """
    found = Section(
        "Time outside products",
        [
            f"`hessent.spectrum` of resnet18-w16, {probes} probes × {steps} steps, {_SAMPLES} samples. The run "
            f"itself has {_RUN_SAMPLES} small samples; seconds of products are those with {_SAMPLES} (from "
            f"{_TIMED_SAMPLES}, in micro-batches of {_MICRO_BATCH}, median of 3) per block, times the columns "
            "of the run. Outside: all that is not `HessianEngine.products`, from the first look to the end; before "
            f"it lie the loss, the choice of the engine and the check of the operator. {clock_name(device)}",
        ],
    )
    for blocks in ("full", "layer") if layers else ("full",):
        watched, outside = _run(device, blocks, probes, steps)
        for side in _SIDES:
            products = _products(device, side, watched.columns)
            share = 100 * outside / (outside + products)
            found.rows.append(
                {
                    "blocks": blocks,
                    "images": f"{side}×{side}",
                    "products": watched.columns.total(),
                    "products s": products,
                    "outside s": outside,
                    "outside %": share,
                }
            )
            claim = f"blocks {blocks}, images {side}×{side}: at most {_BOUND:g} % of the time outside products"
            found.bars.append(Bar(claim, Spread.of([share]), _BOUND))
    return found


def _run(device: str, blocks: str, probes: int, steps: int) -> tuple[Watched, float]:
    """Make the run, and return what was seen and the seconds outside products."""
    work = workload(_with_images(min(_SIDES)), device, samples=_RUN_SAMPLES)
    clock = clock_for(device)
    watched = Watched(clock)
    with _watching(watched):
        hessent.spectrum(
            _problem(work),
            blocks=blocks,
            method="lanczos",
            num_probes=probes,
            num_steps=steps,
            memory=room(device),
            observer=watched,
        )
        outside = clock() - watched.began - watched.seconds
    return watched, outside


@contextmanager
def _watching(watched: Watched) -> Iterator[None]:
    """Time every call of `HessianEngine.products`."""
    untouched: Callable[..., list[Product]] = HessianEngine.products

    def products(engine: HessianEngine, requests: Sequence[tuple[Block, Tensor]]) -> list[Product]:
        start = watched.clock()
        found = untouched(engine, requests)
        if watched.began:
            watched.seconds += watched.clock() - start
            watched.columns.update({block: V.shape[1] for block, V in requests})
        return found

    with mock.patch.object(HessianEngine, "products", products):
        yield


def _products(device: str, side: int, columns: Counter[Block]) -> float:
    """Return the seconds that these products would take with all samples."""
    work = workload(_with_images(side), device, samples=_TIMED_SAMPLES)
    engine = hessent.operator(_problem(work), memory=room(device)).engine
    clock, total = clock_for(device), 0.0
    for block, count in columns.items():
        requests = [(block, work.columns([block], 1)[0])]
        engine.products(requests)  # graphs are built in the first pass
        seconds = []
        for _ in range(3):
            start = clock()
            engine.products(requests)
            seconds.append(clock() - start)
        total += count * statistics.median(seconds) * _SAMPLES / _TIMED_SAMPLES
    return total


def _with_images(side: int) -> Case:
    return dataclasses.replace(CASES["resnet18-w16"], shape=(3, side, side))


def _problem(work: Workload) -> hessent.Problem:
    inputs, targets = torch.split(work.inputs, _MICRO_BATCH), torch.split(work.targets, _MICRO_BATCH)
    batches = list(zip(inputs, targets, strict=True))
    return hessent.Problem(work.model, work.case.loss, batches, device=work.device)
