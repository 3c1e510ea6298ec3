"""Error against products, and coverage of the printed intervals, on spectra that are known.

Run from the folder `tests` as `python -m benchmarks.calibration`, or as `python tests/benchmarks/calibration.py`.
Prints Markdown and, with `--out`, writes it to a file.  The full default takes about an hour on one core;
`--seeds 3 --budgets 300 --spectra nets` a minute.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy
import torch
from benchmarks import peers
from benchmarks.machine import processor
from benchmarks.plain_quadrature import plain_quadrature
from benchmarks.spectra_generator import FAMILIES, KnownSpectrum, of_eigenvalues
from benchmarks.trials import Trial, coverage, median, over_seeds, trial, worst
from exact_nets import KINDS, ExactNet, exact_net

import hessent
from hessent.estimate import Estimate

COMPARED = ("trace", "abs_trace", "gap 1", "lambda_max", "lambda_min")
COVERED = (
    *("trace", "abs_trace", "gap ½", "gap 1", "gap 2", "gap ∞", "effective_rank", "lambda_max"),
    *("positive_ratio", "negative_ratio", "zero_ratio"),
)
_PEER_SEEDS = 3  # their products are with dense matrices or whole nets


def main(arguments: list[str] | None = None) -> None:
    """Print the report, and write it where asked."""
    options = parse(arguments)
    torch.set_num_threads(1)
    out = options.out.open("w", encoding="utf-8") if options.out else None
    for line in report(options):
        print(line, flush=True)  # noqa: T201
        if out:
            out.write(line + "\n")
            out.flush()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", type=_numbers, default=[150, 300, 1000], help="products, as 150,300,1000")
    parser.add_argument("--sizes", type=_numbers, default=[10**5, 10**8], help="of the synthetic spectra")
    parser.add_argument(
        "--spectra",
        type=lambda text: text.split(","),
        default=["nets", "variants", *FAMILIES],
        help=f"of nets, variants, {', '.join(FAMILIES)}",
    )
    parser.add_argument("--out", type=Path, help="a Markdown file")
    return parser.parse_args(arguments)


def report(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    tools = peers.installed()
    yield f"# Calibration, {datetime.date.today().isoformat()}"
    yield ""
    libraries = {"hessent": hessent, "torch": torch, "numpy": np, "scipy": scipy}
    yield ", ".join(f"{name} {library.__version__}" for name, library in libraries.items())
    yield "; ".join(["beside: plain quadrature", *(f"{name} {version}" for name, (version, _) in tools.items())])
    yield f"seeds {options.seeds}, budgets {options.budgets}, float64, one thread, {processor()}"
    yield ""
    yield (
        "Errors: median (worst) over seeds, relative, in per cent. Coverage: share of the printed 95 % intervals "
        "that held the truth. ± is the median half-width, relative, in per cent. Other tools: the whole budget for "
        f"every single figure, {min(_PEER_SEEDS, options.seeds)} seeds, exact nets alone."
    )
    for spectrum, net in chosen(options):
        yield ""
        yield f"## {spectrum.name}"
        yield from of_spectrum(spectrum, net, options)


def chosen(options: argparse.Namespace) -> Iterator[tuple[KnownSpectrum, ExactNet | None]]:
    """Yield the spectra asked for, with the net where there is one."""
    for name in options.spectra:
        if name in FAMILIES:
            for size in options.sizes:
                yield FAMILIES[name](size), None
            continue
        variant = ("nets", "variants").index(name)
        for kind in KINDS:
            net = exact_net(kind, variant)
            yield of_eigenvalues(f"{kind}, variant {variant}, n = {len(net.eigenvalues):,}", net.eigenvalues), net


def of_spectrum(spectrum: KnownSpectrum, net: ExactNet | None, options: argparse.Namespace) -> Iterator[str]:
    """Yield both tables of one spectrum."""
    own = {budget: over_seeds(spectrum, range(options.seeds), max_matvecs=budget) for budget in options.budgets}
    yield ""
    yield from _row("products", "tool", *COMPARED)
    yield from _row(*["---"] * (2 + len(COMPARED)))
    for budget, found in own.items():
        rows = {"hessent": found, "plain quadrature": beside(spectrum, None, "", budget, options.seeds)}
        if net is not None:
            few = min(_PEER_SEEDS, options.seeds)
            rows |= {tool: beside(spectrum, net, tool, budget, few) for tool in peers.installed()}
        for tool, figures in rows.items():
            yield from _row(budget, tool, *(_error(figures.get(name)) for name in COMPARED))
    yield ""
    yield from _row("products", "± trace", "± gap 1", *COVERED)
    yield from _row(*["---"] * (3 + len(COVERED)))
    for budget, found in own.items():
        widths = (f"{100 * median(found[name], 'half_width'):.2g}" for name in ("trace", "gap 1"))
        yield from _row(budget, *widths, *(f"{coverage(found[name]):.2f}" for name in COVERED))


def beside(
    spectrum: KnownSpectrum, net: ExactNet | None, tool: str, budget: int, seeds: int
) -> dict[str, list[Trial]]:
    """Return the trials of another tool (of plain quadrature, without a net) over seeds."""
    truth = spectrum.truth(0.0)
    found: dict[str, list[Trial]] = {}
    for seed in range(seeds):
        if net is None:
            figures = plain_quadrature(spectrum, budget, seed)
        else:
            figures = peers.installed()[tool][1](net, budget, seed)
        for name, value in figures.items():
            key = "gap 1" if name == "entropy_gap" else name
            found.setdefault(key, []).append(trial(Estimate(value, None, None), truth[name]))
    return found


def _error(found: list[Trial] | None) -> str:
    if found is None:
        return "–"
    numbers = (100 * median(found, "error"), 100 * worst(found))
    return "{} ({})".format(*("< 1e-4" if number < 1e-4 else f"{number:.2g}" for number in numbers))


def _row(*cells: object) -> Iterator[str]:
    yield "| " + " | ".join(str(cell) for cell in cells) + " |"


def _numbers(text: str) -> list[int]:
    return [int(float(part)) for part in text.split(",")]


if __name__ == "__main__":
    main()
