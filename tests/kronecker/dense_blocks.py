"""Dense matrices of small problems: Gauss-Newton blocks from Jacobians in float64, and A ⊗ G as a matrix."""

import torch
from torch.func import functional_call, jacrev, vmap

from hessent.curvature.groups import divide
from hessent.curvature.kronecker.coverage import find_coverage
from hessent.curvature.kronecker.factors import Factoring, measure_factors
from hessent.curvature.problem import Problem


def output_hessians(problem, outputs, targets):
    """Hessian of each sample's summed loss by its outputs, shape (N, M, M)."""

    def one(output, target):
        return problem.loss.sum(output.reshape(1, *outputs.shape[1:]), target[None])

    flat = outputs.flatten(1)
    return torch.stack([jacrev(jacrev(one))(flat[n], targets[n]) for n in range(len(flat))])


def gauss_newton(problem, inputs, targets, names):
    """The exact block of the named parameters: (1/N) Σ Jᵀ H J, flattened and joined in order."""
    model = problem.model
    parameters = {name: problem.parameters[name].detach() for name in names}

    def outputs(values, x):
        return functional_call(model, values, (x[None],)).flatten()

    jacobians = vmap(jacrev(outputs), in_dims=(None, 0))(parameters, inputs)
    joined = torch.cat([jacobians[name].flatten(2) for name in names], dim=2)  # (N, M, n)
    inner = output_hessians(problem, model(inputs).detach(), targets)
    return torch.einsum("nmi,nmk,nkj->ij", joined, inner, joined).detach() / problem.num_items


def kronecker(sums, items):
    """A ⊗ G of every pair as one matrix, in the order of the layer's parameters: weight, then bias."""
    layer = sums.layer
    inputs, outputs = sums.factors(items)
    pairs, o, a, w = layer.num_pairs, layer.output_size, layer.input_size, layer.weight_size
    whole = torch.zeros(pairs, o, a, pairs, o, a, dtype=torch.float64)
    for pair in range(pairs):
        whole[pair, :, :, pair] = torch.einsum("ij,kl->ikjl", outputs[pair], inputs[pair])
    places = torch.arange(pairs * o * a).reshape(pairs * o, a)
    order = torch.cat([places[:, :w].reshape(-1), places[:, w:].reshape(-1)])
    return whole.reshape(pairs * o * a, -1)[order][:, order]


def problem_of(model, loss, inputs, targets, *sizes, dtype=torch.float64):
    cut = list(sizes) or [len(inputs)]
    problem = Problem(model, loss, list(zip(inputs.split(cut), targets.split(cut), strict=True)), dtype=dtype)
    problem.measure_loss()
    return problem


def factors_of(problem, *, reduce=False, draws=0, seed=0, groups=1):
    coverage = find_coverage(problem, reduce=reduce)
    assert not coverage.refused
    return measure_factors(problem, coverage, Factoring(reduce, draws, seed), divide(problem, groups))


def matrices_of(problem, **how):
    """A ⊗ G by layer."""
    found = factors_of(problem, **how)
    return {name: kronecker(sums, found.items) for name, sums in found.sums.items()}


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())
