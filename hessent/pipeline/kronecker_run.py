"""K-FAC of a checkpoint: one pass over the data for the factors, and their eigenvalues into the file.

It takes seconds to a minute, so nothing is kept of a pass that is stopped; the file is written whole, at the end.
"""

from __future__ import annotations

from typing import Any

import torch

from hessent.curvature.blocks import Block, resolve_blocks
from hessent.curvature.groups import divide
from hessent.curvature.kronecker.coverage import Coverage, find_coverage, uncovered_kinds
from hessent.curvature.kronecker.curvature import KroneckerFactored
from hessent.curvature.kronecker.factors import Factoring, StoppedError, draws_for, measure_factors, num_columns
from hessent.curvature.kronecker.output_roots import output_roots
from hessent.curvature.kronecker.spectra import COVERED, FactorSpectra, blocks_with_factors
from hessent.curvature.kronecker.sums import bytes_of_sums
from hessent.curvature.problem import Problem
from hessent.errors import HessentError, UsageError
from hessent.measures.written import MeasuredWriter
from hessent.pipeline.accuracy import sampled_fraction
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared
from hessent.pipeline.request import DIAGONAL, TRACE, SpectrumRequest
from hessent.pipeline.versions import library_versions
from hessent.spectra.model import Spectrum
from hessent.spectra.provenance import LossInfo

_SHOWN = 4  # of what is left out, by name
_BY_USER, _BY_SIGNAL = 130, 75  # exit codes


def refuse_options_of_products(request: SpectrumRequest) -> None:
    """Refuse what only means something where products are spent.

    Raises
    ------
    UsageError
        Naming all such options.
    """
    accuracy = request.accuracy
    given = {
        "--method": None if accuracy.method == "auto" else accuracy.method,
        "--rtol": accuracy.rtol if request.rtol is None else request.rtol,
        "--max-matvecs": accuracy.max_matvecs,
        "--probes": accuracy.num_probes,
        "--steps": accuracy.num_steps,
        "--only": accuracy.only,
        "--max-time": request.max_time,
        "--engine": request.engine,
        "--units": request.part,
        "--no-verify": None if request.verify else "",
    }
    problems = [f"{option} {value}".strip() for option, value in given.items() if value is not None]
    if problems:
        raise UsageError(
            "K-FAC is known without products, so some options mean nothing",
            where="--curvature kfac",
            problems=problems,
            fix="leave them out",
        )


def kronecker_settings(request: SpectrumRequest, prepared: Prepared) -> dict[str, Any]:
    """Return every setting that can change a number, as it goes into the file."""
    accuracy = prepared.accuracy
    return {
        "blocks": list(prepared.blocks),
        "full": prepared.full,
        "data_groups": accuracy.num_groups if accuracy.num_groups > 1 else None,
        "population": accuracy.population,
        "batch_size": prepared.stream.batch_size,
        "dtype": str(prepared.problem.dtype).removeprefix("torch."),
        **prepared.problem.curvature.as_settings(),
        **({} if request.normalization == TRACE else {"normalization": request.normalization}),
    }


def measure_kronecker(request: SpectrumRequest, prepared: Prepared, observer: Observer) -> Spectrum:
    """Measure the factors, write the file and return what is in it.

    Parameters
    ----------
    request : SpectrumRequest
        What is asked.
    prepared : Prepared
        The problem.
    observer : Observer
        Told of progress; may stop the work.

    Returns
    -------
    Spectrum

    Raises
    ------
    UsageError
        If the loss has no square root, or no block has factors.
    HessentError
        If it was stopped, or memory runs out, or the file cannot be written.
    """
    problem = prepared.problem
    output_roots(problem.loss)
    blocks = resolve_blocks(problem.model, problem.parameters, prepared.blocks, full=prepared.full)
    problem.measure_loss()
    for note in problem.notes:
        observer.noted(note)
    fraction = sampled_fraction(problem.num_samples, prepared.accuracy.population)
    curvature = problem.curvature
    assert isinstance(curvature, KroneckerFactored)
    coverage = _coverage(problem, curvature, prepared.memory, observer)
    chosen = _chosen(problem, coverage, blocks, observer)
    try:
        spectra = _spectra(request, prepared, curvature, coverage, fraction, observer)
        observer.started("eigenvalues of the factors", 0)
        found = tuple(spectra.block(block) for block in chosen)
    except StoppedError:
        raise _stopped(request, observer) from None
    spectrum = Spectrum(
        checkpoint=prepared.checkpoint,
        data=prepared.data,
        loss=LossInfo(problem.loss.name, problem.loss_value),
        curvature=curvature.name,
        seed=prepared.seed,
        complete=True,
        settings={**kronecker_settings(request, prepared), "device": problem.device.type},
        versions=library_versions(),
        checks={},
        blocks=found,
    )
    MeasuredWriter().write(request.output, spectrum)
    return spectrum


def _coverage(problem: Problem, curvature: KroneckerFactored, memory: int, observer: Observer) -> Coverage:
    """Find the layers with factors that fit into memory, and tell of the others."""
    found = find_coverage(problem, reduce=curvature.reduces)
    refused = dict(found.refused)
    for layer in found.layers:
        if bytes_of_sums(layer, 1) > memory // 4:
            size = max(layer.input_size, layer.output_size)
            refused[layer.name] = f"its factor of {size:,} × {size:,} does not fit into --memory"
    for name, why in refused.items():
        observer.noted(f"no factors for {name}: {why}")
    return Coverage(tuple(layer for layer in found.layers if layer.name not in refused), refused)


def _chosen(
    problem: Problem, coverage: Coverage, blocks: tuple[Block, ...], observer: Observer
) -> tuple[Block, ...]:
    """Choose the blocks that factors cover, and tell what is left out."""
    sizes = {name: parameter.numel() for name, parameter in problem.parameters.items()}
    layers = coverage.parameters
    chosen, left_out = blocks_with_factors(blocks, layers, sizes)
    if len(layers) < len(sizes):
        count = sum(size for name, size in sizes.items() if name in layers)
        kinds = ", ".join(uncovered_kinds(problem.model, list(sizes), layers))
        whole = (
            f"; the block '{COVERED}' is their part of the whole"
            if any(block.name == COVERED for block in chosen)
            else ""
        )
        observer.noted(
            f"K-FAC covers {count:,} of {problem.num_params:,} parameters ({count / problem.num_params:.1%}), "
            f"those of linear layers and convolutions{whole}; it has no factors for {kinds}"
        )
    if not chosen:
        raise UsageError(
            "none of the blocks consists of linear layers and convolutions alone",
            where="--blocks",
            problems=[f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN]],
            fix="--blocks layer, or --curvature ggn, which needs no factors",
        )
    if left_out:
        names = [*list(left_out)[:_SHOWN], *(["…"] if len(left_out) > _SHOWN else [])]
        observer.noted(f"no K-FAC of {len(left_out)} of {len(blocks)} blocks: {', '.join(names)}")
    return chosen


def _spectra(
    request: SpectrumRequest,
    prepared: Prepared,
    curvature: KroneckerFactored,
    coverage: Coverage,
    fraction: float,
    observer: Observer,
) -> FactorSpectra:
    """Pass over the data."""
    problem, num_groups = prepared.problem, prepared.accuracy.num_groups
    if sum(bytes_of_sums(layer, num_groups) for layer in coverage.layers) > prepared.memory // 2:
        observer.noted("the factors by data group do not fit into --memory: the error of the samples is not told")
        num_groups = 1
    division = divide(problem, num_groups)
    if division.note is not None:
        observer.noted(division.note)
    columns = num_columns(problem)
    draws = draws_for(columns, curvature.draws)
    if draws:
        observer.noted(
            f"{draws} random square root{'s' if draws > 1 else ''} for each sample's {columns:,} outputs: the "
            "numbers are estimates, with intervals that hold the error of the samples too"
        )
    planned = (draws or columns) * problem.num_samples
    observer.started(f"factors: {planned:,} backward passes of a sample", 0)
    factors = measure_factors(
        problem,
        coverage,
        Factoring(curvature.reduces, draws, prepared.seed),
        division,
        advanced=lambda done: observer.advanced(f"{done / planned:.0%} done", 0),
        should_stop=observer.should_stop,
    )
    noise = float(torch.finfo(problem.dtype).eps)
    return FactorSpectra(
        factors,
        sampled_fraction=fraction,
        noise=noise,
        unit_diagonal=request.normalization == DIAGONAL,
        should_stop=observer.should_stop,
    )


def _stopped(request: SpectrumRequest, observer: Observer) -> HessentError:
    error = HessentError(
        "stopped early: nothing was written",
        where=str(request.out or request.output),
        fix="the same command begins anew",
    )
    by_user = getattr(getattr(observer, "stop", None), "by_user", True)
    error.exit_code = _BY_USER if by_user else _BY_SIGNAL
    return error
