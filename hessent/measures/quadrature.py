"""From Lanczos coefficients to nodes and weights.

The recurrence of a probe in the complement of the k outliers (dimension d = n − k) gives a tridiagonal matrix T.
Its eigenvalues θ_j and the squares w_j of the first components of its eigenvectors are the Gauss rule of the
probe's spectral measure: Σ_j w_j f(θ_j) estimates (1/d) Σ f(λ) over the complement.

**Exact weights.** w_j of an isolated eigenvalue is random: d·w_j follows χ² with one degree of freedom.  Where a
Ritz value has converged and stands alone in every probe, its weight is known to be 1/d; the rest of the rule is
rescaled to the remaining mass.  A cluster looks the same but carries several χ²: the weight is only replaced if
the sum of d·w over the probes lies below the 99.99 % point of χ² with one degree of freedom per probe.  Where the
Ritz vectors of the probes were compared, it must also be among the values at which they agree: copies of one
eigenvalue show each probe another vector, however small their weights happen to be.

Numbers here are dimensionless after division by the block's scale; see `scale_of`.

References
----------
G. H. Golub and G. Meurant, *Matrices, Moments and Quadrature with Applications*, 2010, sections 3 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import scipy  # its parts load on first use: a table of a ready file needs none of them
from numpy.typing import NDArray

from hessent.spectra.recurrences import ProbeRuns

Float64Array = NDArray[np.float64]

CONVERGED = 1e-2  # residual relative to abs(θ) below which a Ritz value counts as converged
_GUARD_TAIL = 1e-4  # a weight that one eigenvalue exceeds this rarely is taken for a cluster


@dataclass(frozen=True)
class Rule:
    """Quadrature of one probe: nodes, weights that sum to one, and residuals of the Ritz values.

    Attributes
    ----------
    nodes : Float64Array
        Ritz values, ascending. Shape (m,).
    weights : Float64Array
        Shape (m,).
    residuals : Float64Array
        Residual norms of the Ritz vectors. Shape (m,).
    """

    nodes: Float64Array  # (m,)
    weights: Float64Array  # (m,)
    residuals: Float64Array  # (m,)


def steps_taken(betas: Float64Array) -> int:
    """Return how many steps a recurrence took before it closed (a β of exactly zero), given all m betas."""
    closed = np.flatnonzero(betas == 0.0)
    return int(closed[0]) + 1 if len(closed) else len(betas)


def gauss_rule(alphas: Float64Array, betas: Float64Array, num_steps: int) -> Rule:
    """Return the Gauss rule after `num_steps` steps of one probe.

    Parameters
    ----------
    alphas : Float64Array
        Diagonal, shape (m,).
    betas : Float64Array
        Off-diagonals with the last residual norm appended, shape (m,).
    num_steps : int
        Length of the rule, 1 … m; shortened where the recurrence closed before.

    Returns
    -------
    Rule
        Nodes ascending.
    """
    length = min(num_steps, steps_taken(betas))
    nodes, vectors = scipy.linalg.eigh_tridiagonal(alphas[:length], betas[: length - 1])
    nodes, vectors = np.asarray(nodes, np.float64), np.asarray(vectors, np.float64)
    residuals = betas[length - 1] * np.abs(vectors[-1])
    return Rule(np.asarray(nodes, np.float64), np.asarray(vectors[0] ** 2, np.float64), residuals)


def gauss_rules(probes: ProbeRuns, num_steps: int) -> list[Rule]:
    """Return the Gauss rules of all probes at `num_steps` steps.

    They are kept for as long as the runs are: every measure of a block asks for the same rules.
    """
    kept = _RULES.setdefault(probes, {})
    if num_steps not in kept:
        betas = np.column_stack([probes.betas, probes.last_betas])
        kept[num_steps] = [gauss_rule(a, b, num_steps) for a, b in zip(probes.alphas, betas, strict=True)]
    return kept[num_steps]


def exact_rules(probes: ProbeRuns, num_steps: int, dimension: int) -> list[Rule]:
    """Return the Gauss rules at `num_steps` steps with exact weights put in; kept as long as the runs are."""
    kept = _EXACT_RULES.setdefault(probes, {})
    if (num_steps, dimension) not in kept:
        rules = gauss_rules(probes, num_steps)
        kept[num_steps, dimension] = with_exact_weights(rules, dimension, probes.simple)
    return kept[num_steps, dimension]


_RULES: WeakKeyDictionary[ProbeRuns, dict[int, list[Rule]]] = WeakKeyDictionary()
_EXACT_RULES: WeakKeyDictionary[ProbeRuns, dict[tuple[int, int], list[Rule]]] = WeakKeyDictionary()


def with_exact_weights(rules: Sequence[Rule], dimension: int, simple: Float64Array | None = None) -> list[Rule]:
    """Replace the random weight of every isolated, converged Ritz value by 1/d.

    Parameters
    ----------
    rules : sequence of Rule
        One per probe, of the same operator.
    dimension : int
        Dimension d of the space the probes live in.
    simple : Float64Array, optional
        Ritz values known to be simple; without them the guard alone decides. Shape (s,), ascending.

    Returns
    -------
    list of Rule
        Same nodes; weights that still sum to one.
    """
    matches = common_isolated(rules)
    if simple is not None:
        matches = [match for match in matches if _is_among(simple, rules[0], match[0])]
    limit = scipy.special.chdtri(len(rules), _GUARD_TAIL)
    certain = [
        match
        for match in matches
        if dimension * sum(rule.weights[j] for rule, j in zip(rules, match, strict=True)) < limit
    ]
    if not certain or len(certain) > dimension:
        return list(rules)
    replaced: list[Rule] = []
    for probe, rule in enumerate(rules):
        known = np.array([match[probe] for match in certain])
        rest = np.ones(len(rule.nodes), dtype=bool)
        rest[known] = False
        mass = float(rule.weights[rest].sum())
        remaining = 1 - len(certain) / dimension
        if mass <= 0.0 < remaining:
            return list(rules)
        weights = rule.weights * (remaining / mass if mass > 0.0 else 0.0)
        weights[known] = 1 / dimension
        replaced.append(Rule(rule.nodes, weights, rule.residuals))
    return replaced


def common_isolated(rules: Sequence[Rule]) -> list[tuple[int, ...]]:
    """Index tuples (one per probe) of Ritz values that are converged and alone in every probe."""
    converged = [rule.residuals <= CONVERGED * np.abs(rule.nodes) for rule in rules]
    matches: list[tuple[int, ...]] = []
    for j in np.flatnonzero(converged[0]):
        centre = rules[0].nodes[j]
        members = [int(j)]
        for rule, sure in zip(rules, converged, strict=True):
            # Two enclosures of one eigenvalue overlap; anything else this near makes it a cluster.
            reach = _reach(centre, rule.residuals)
            near = np.flatnonzero(np.abs(rule.nodes - centre) <= reach)
            if len(near) != 1 or not sure[near[0]]:
                break
            if rule is not rules[0]:
                members.append(int(near[0]))
        else:
            matches.append(tuple(members))
    return matches


def _reach(centre: float, residuals: Float64Array) -> Float64Array:
    """How far from a Ritz value `centre` another of the given residual may lie and still be the same eigenvalue."""
    reach: Float64Array = CONVERGED * abs(centre) + residuals
    return reach


def _is_among(simple: Float64Array, rule: Rule, node: int) -> bool:
    """Whether a node is one of the values known to be simple, as far as its residual tells."""
    centre = rule.nodes[node]
    return bool((np.abs(simple - centre) <= _reach(centre, rule.residuals[node : node + 1])).any())
