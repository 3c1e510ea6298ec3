"""How near the expanded and the reduced factors are to exact Gauss-Newton blocks: what the default rests on.

    python tests/benchmarks/kfac_nearness.py      # minutes on one core

A layer's exact block is had from the gradients of all samples' outputs, in float64.  Printed are medians over
layers: error over norm (Frobenius), abs(ln of the trace ratio), abs(difference of entropy gaps), abs(ln of the
λ_max ratio) and the Jensen–Shannon distance of the spectra.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from exact_nets import exact_net  # noqa: E402

from hessent.arch.registry import build  # noqa: E402
from hessent.curvature.groups import Division  # noqa: E402
from hessent.curvature.kronecker.coverage import find_coverage  # noqa: E402
from hessent.curvature.kronecker.factors import Factoring, measure_factors  # noqa: E402
from hessent.curvature.kronecker.output_roots import output_roots  # noqa: E402
from hessent.curvature.kronecker.spectra import eigenvalues  # noqa: E402
from hessent.curvature.problem import Problem  # noqa: E402
from hessent.measures.heterogeneity import distance, profile  # noqa: E402
from hessent.pipeline.prepare import prepare  # noqa: E402
from hessent.pipeline.request import SpectrumRequest  # noqa: E402
from hessent.spectra.model import BlockSpectrum  # noqa: E402

COLUMNS = ("Frobenius", "ln trace", "gap", "ln λ_max", "distance")


def weighted_gradients(problem, layer):
    """Rows Sᵀ J / √N of all samples: their Gram matrix has the block's eigenvalues that are not zero."""
    roots, rows = output_roots(problem.loss), []
    parameters = [problem.parameters[name] for name in layer.parameters]
    for inputs, targets in problem.micro_batches():
        for n in range(len(inputs)):
            outputs = problem.outputs(inputs[n : n + 1])
            for column in roots.exact(outputs.detach(), targets[n : n + 1]):
                found = torch.autograd.grad(outputs, parameters, column, retain_graph=True)
                rows.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(rows).double() / math.sqrt(problem.num_items)


def exact_eigenvalues(rows):
    small = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    values = torch.linalg.eigvalsh(small).clamp_min(0.0).numpy()
    return np.concatenate([np.zeros(rows.shape[1] - len(values)), values])


def gap(values):
    shares = values[values > 0.0] / values.sum()
    return math.log(len(values)) + float((shares * np.log(shares)).sum())


def block(values):
    return BlockSpectrum("", len(values), (), "exact", 0, True, "", 0.0, eigenvalues=np.sort(values))


def nearness(layer, rows, exact, inputs, outputs):
    """The five numbers for one layer with a single pair of factors."""
    values = np.multiply.outer(eigenvalues(inputs)[0], eigenvalues(outputs)[0]).reshape(-1)
    o, w = layer.output_size, layer.weight_size
    parts = [rows[:, : o * w].reshape(len(rows), o, w)]
    if layer.bias is not None:
        parts.append(rows[:, o * w :].reshape(len(rows), o, 1))
    matrices = torch.cat(parts, dim=2)
    inner = float((torch.einsum("ij,rjk,kl->ril", outputs[0], matrices, inputs[0]) * matrices).sum())
    norm = float((exact**2).sum())
    return (
        math.sqrt(max(norm + float((values**2).sum()) - 2 * inner, 0.0) / norm),
        abs(math.log(values.sum() / exact.sum())),
        abs(gap(values) - gap(exact)),
        abs(math.log(values.max() / exact.max())),
        distance(profile(block(values)), profile(block(exact))),
    )


def compare(title, problem):
    problem.measure_loss()
    coverage = find_coverage(problem, reduce=True)
    factors = [measure_factors(problem, coverage, Factoring(reduce, 0, 0), Division()) for reduce in (False, True)]
    found = []
    for layer in coverage.layers:
        rows = weighted_gradients(problem, layer)
        exact = exact_eigenvalues(rows)
        pairs = [own.sums[layer.name].factors(own.items) for own in factors]
        found.append([nearness(layer, rows, exact, *pair) for pair in pairs])
    for name, medians in zip(("expand", "reduce"), np.median(found, axis=0), strict=True):
        show(f"{title:26} {name}", (f"{value:9.3f}" for value in medians))


def show(title, cells):
    sys.stdout.write("  ".join([title, *cells]) + "\n")
    sys.stdout.flush()


def trained_gpt():
    """A small GPT on sequences in which the next token depends on two: 600 steps."""
    torch.manual_seed(0)
    vocabulary, length = 12, 10
    options = {"vocab": vocabulary, "context": length, "width": 16, "depth": 2, "heads": 2}
    model = build("gpt", options=options, where="nearness").model
    table = torch.softmax(2.0 * torch.randn(vocabulary, vocabulary, vocabulary), -1)

    def sequences(count):
        tokens = torch.randint(0, vocabulary, (count, 2))
        for _ in range(length - 1):
            tokens = torch.cat([tokens, torch.multinomial(table[tokens[:, -2], tokens[:, -1]], 1)], dim=1)
        return tokens[:, :length], tokens[:, 1 : length + 1]

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(600):
        tokens, targets = sequences(64)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    return Problem(model, "next-token", [sequences(24)], dtype=torch.float64)


def main():
    show(" " * 33, (f"{name:>9}" for name in COLUMNS))
    for kind in ("mlp", "conv", "attention"):
        net = exact_net(kind)
        compare(
            f"{kind}, trained",
            Problem(net.model, "cross-entropy", [(net.inputs, net.targets)], dtype=torch.float64),
        )
    compare("gpt, trained", trained_gpt())
    for run in (
        "vit/adam/step-000000",
        "vit/adam/step-001352",
        "resnet18/sgd/step-000000",
        "resnet18/sgd/step-001352",
    ):
        file = ROOT / "sample_checkpoints" / f"{run}.safetensors"
        compare(run, prepare(SpectrumRequest(str(file), samples=96, dtype="float64")).problem)


if __name__ == "__main__":
    main()
