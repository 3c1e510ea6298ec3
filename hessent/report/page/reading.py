"""What the numbers of a page mean, in a few lines."""

from __future__ import annotations

from hessent.report.page.html import Markup, element, joined

_TERMS = (
    (
        "trace",
        "Σλ of the curvature matrix: its mean curvature times the number of parameters; the “sharpness” of "
        "the entropy-gap papers.",
    ),
    ("λ_max, λ_min", "the largest and the smallest eigenvalue."),
    (
        "λ > τ",
        "share of eigenvalues above τ, a bracket: without a threshold this share is not knowable, for most "
        "eigenvalues of a network are nearly zero.",
    ),
    (
        "gap",
        "the entropy gap log n − H of p = |λ|/Σ|λ|, in nats: 0 when all directions are equally curved, log n "
        "when one direction has all the curvature.",
    ),
    ("κ ≥", "the least condition number that this gap allows; the true one may be far larger."),
    ("how", "exact: the block was formed whole; k+q×m: k outliers deflated, q random probes of m Lanczos steps."),
    (
        "intervals",
        "12.3 ± 0.4 is a value with its 95 % half-width; 0.42–0.61 an interval of which the ends are the "
        "message (-1…3 where one is negative); ≥ 41.6 an interval with one end open. What is exact says so. “—” is "
        "unknown; a line below the table says why.",
    ),
    (
        "population",
        "the first table of a run is about the samples that were used. The second, where groups of the "
        "data were kept, is about the population that they were drawn from: usually much wider.",
    ),
    (
        "* † ‡",
        "not converged: the interval is wider than was asked for · over 1 % of Σ|λ| lies on negative "
        "eigenvalues: gap and κ are about |λ| · some eigenvalues may have further copies.",
    ),
)


def reading() -> Markup:
    """Return the terms and what they mean."""
    lines = [joined(element("dt", term), element("dd", meaning)) for term, meaning in _TERMS]
    return element("dl", *lines, class_="facts terms")
