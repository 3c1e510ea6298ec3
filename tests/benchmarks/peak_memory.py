"""Peak memory of products over that of the plain gradient, each candidate in a process of its own.

On the CPU the bytes of live tensors are counted, parameters and data included; on CUDA it is what the allocator
gave out.  `python tests/benchmarks/peak_memory.py MODEL CANDIDATE DEVICE VECTORS SAMPLES` prints one measurement as
JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.candidates import CANDIDATES, Candidate, taking_part
from benchmarks.figures import Bar, Spread
from benchmarks.live_storages import LiveStorages
from benchmarks.models import CASES, Workload, gradient, workload
from benchmarks.sections import Section
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.errors import HessentError

_MEBIBYTE = 2**20
_SUM_BYTES = 8  # per number: our partial products are added in float64
_LIMIT = 600  # seconds of a child
_TIMES = 4.0  # the bar: times the gradient's peak, vectors aside
_JUDGED = "hessent auto"
_BEYOND = "beyond the gradient", "without sums"
_CHILDREN = 2
_LARGE = {"cpu": 64}  # samples of a second batch: of the sizes that a run tries on its own


def section(device: str, names: Sequence[str], *, vectors: int) -> Section:
    """Measure the peak of every candidate in a child process.

    Parameters
    ----------
    device : str
    names : sequence of str
        Of the cases.
    vectors : int
        Columns of a product, for those that take several at once.
    """
    found = Section(
        "Peak memory",
        [
            "Peak of building what is kept and of two calls, over the peak of one plain gradient; parameters and "
            "data are in both. "
            + (
                "Bytes of live tensors; scratch inside kernels is not seen."
                if device == "cpu"
                else "Bytes given out by the allocator of the device."
            ),
            "Vectors are the columns that go in and those that come out, in float32; sums those in float64 that "
            "the products of all micro-batches are added to, which a dry run announces as a part of what steps "
            "take. Beyond the gradient: the peak without vectors, and without sums too, over the gradient's; the "
            f"bar is {_TIMES:g}.",
        ],
    )
    candidates = [one for one in taking_part(device) if one.whole and not one.beside]
    jobs = [(name, candidate, CASES[name].batch[device]) for name in names for candidate in candidates]
    if device in _LARGE:
        jobs += [(name, one, _LARGE[device]) for name in names for one in candidates if one.name == _JUDGED]
    with ThreadPoolExecutor(_CHILDREN if device == "cpu" else 1) as pool:  # nothing is timed
        peaks = pool.map(lambda job: _child(*job[:2], device, vectors if job[1].together else 1, job[2]), jobs)
        for (name, candidate, samples), there in zip(jobs, peaks, strict=True):
            found.rows.append({"model": name, "samples": samples, "product by": candidate.name, **_row(there)})
            if candidate.name == _JUDGED and "products" in there:
                what = f"{name}, {samples} samples, {there['count']} vectors: peak"
                for aside, beyond in zip(("vectors", "vectors and sums"), _beyond(there), strict=True):
                    claim = f"{what} without {aside} at most {_TIMES:g} times the gradient's"
                    found.bars.append(Bar(claim, Spread.of([beyond]), _TIMES))
    return found


def _row(peaks: dict[str, Any]) -> dict[str, Any]:
    if "products" not in peaks:
        names = ("vectors", "gradient MiB", "vectors MiB", "sums MiB", "products MiB", *_BEYOND)
        return dict.fromkeys(names) | {"remark": peaks["refusal"]}
    return {
        "vectors": peaks["count"],
        "gradient MiB": peaks["gradient"] / _MEBIBYTE,
        "vectors MiB": peaks["vectors"] / _MEBIBYTE,
        "sums MiB": peaks["sums"] / _MEBIBYTE,
        "products MiB": peaks["products"] / _MEBIBYTE,
        **dict(zip(_BEYOND, _beyond(peaks), strict=True)),
        "remark": peaks["remark"],
    }


def _beyond(peaks: dict[str, Any]) -> tuple[float, float]:
    """Peak without the columns that go in and come out, and without the sums beside those, over the gradient's.

    Results are made of the sums after the last product, so that columns that go in and sums is all there is during
    products.
    """
    without = peaks["products"] - peaks["vectors"], peaks["products"] - peaks["vectors"] / 2 - peaks["sums"]
    return float(without[0] / peaks["gradient"]), float(min(without) / peaks["gradient"])


def _child(name: str, candidate: Candidate, device: str, vectors: int, samples: int) -> dict[str, Any]:
    command = [sys.executable, __file__, name, candidate.name, device, str(vectors), str(samples)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"refusal": f"stopped after {_LIMIT} s"}
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with code {done.returncode}"]
        return {"refusal": f"refused: {last[0][:160]}"}
    peaks: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def measured(name: str, candidate: Candidate, device: str, vectors: int, samples: int) -> dict[str, Any]:
    """Return the peaks of the gradient and of the products in bytes, in this process."""
    work = workload(CASES[name], device, samples=samples)
    blocks = work.whole()
    columns = work.columns(blocks, vectors)
    with _peak(work) as peak_of_gradient:
        gradient(work)
    with sdpa_kernel(SDPBackend.MATH), _peak(work, *columns) as peak_of_products:
        try:
            multiply = candidate.prepare(work, blocks)
            for _ in range(2):
                multiply(columns)
        except (HessentError, RuntimeError) as error:
            return {"refusal": f"refused: {' '.join(str(error).split())[:160]}"}
    chosen = getattr(candidate.prepare, "chosen", "")
    return {
        "count": vectors,
        "gradient": peak_of_gradient[0],
        "products": peak_of_products[0],
        "vectors": 2 * sum(V.nbytes for V in columns),
        "sums": sum(V.numel() * _SUM_BYTES for V in columns) if candidate.ours else 0,
        "remark": f"chose {chosen}" if candidate.name == _JUDGED else "",
    }


@contextlib.contextmanager
def _peak(work: Workload, *columns: torch.Tensor) -> Iterator[list[int]]:
    """Yield a list that holds the peak in bytes when the context has ended."""
    found: list[int] = []
    gc.collect()
    if work.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        yield found
        found.append(torch.cuda.max_memory_allocated())
        return
    standing = [*work.parameters.values(), *work.model.buffers(), work.inputs, work.targets, *columns]
    with LiveStorages(standing) as storages:
        yield found
    found.append(storages.peak)


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, wanted, where, count, size = sys.argv[1:]
    chosen = next(candidate for candidate in CANDIDATES if candidate.name == wanted)
    print(json.dumps(measured(model, chosen, where, int(count), int(size))))  # noqa: T201
