"""`hessent bound` as one call: the spectrum, the KL, s² from the grid, draws from the posterior, their losses.

s² is chosen by one draw: where its 0/1 loss plus the theorem's root is least.  That draw is then put away: the mean
that enters the bound is over draws that took no part in the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hessent.curvature.problem import Problem
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.estimate import Estimate
from hessent.measures.gibbs_classifier import GibbsBound
from hessent.measures.pac_bayes import (
    GRID,
    Confidence,
    bound,
    clamped_mass,
    kl_divergence,
    mean_interval,
    paper_brackets,
    slack,
)
from hessent.pipeline.bound.draws import DRAW_ERROR, EXACT_UP_TO, PosteriorSampler, StoppedError
from hessent.pipeline.bound.losses import BoundedLosses, losses_of, moved, with_own_weights
from hessent.pipeline.bound.refusals import refuse_loss, refuse_measuring, refuse_range
from hessent.pipeline.bound.spectrum import found_spectrum, measured_spectrum, measurement_of, whole_request
from hessent.pipeline.measure import Measurement
from hessent.pipeline.observer import Observer
from hessent.pipeline.prepare import Prepared, prepare
from hessent.pipeline.request import SpectrumRequest
from hessent.spectra.model import BlockSpectrum

DEFAULT_DRAWS, DRAWS_OF_FORMED = 8, 100  # of a matrix that is formed, a draw takes no product
_MATVECS = 200  # for the spectrum of a net too large to be formed: about half a minute for 1e5 parameters
_NO_TEST = "the data has no test split of its own"


def run_bound(
    request: SpectrumRequest,
    observer: Observer,
    *,
    delta: float = 0.05,
    draws: int | None = None,
    spectrum: str | None = None,
) -> GibbsBound | None:
    """Bound the error of the Gibbs classifier around a checkpoint.

    Parameters
    ----------
    request : SpectrumRequest
        What is asked of the Hessian; its blocks are not looked at.
    observer : Observer
        Told of progress; may stop the work.
    delta : float
        Probability that the bound may fail.
    draws : int, optional
        Weights drawn for the mean that enters it; by default 8, but 100 where the Hessian is small enough to be
        formed.
    spectrum : str, optional
        A spectrum file; by default the one beside the checkpoint, where it is of the same weights and data.

    Returns
    -------
    GibbsBound or None
        None where the observer stopped the work.

    Raises
    ------
    UsageError
        If an option is out of range or says how to measure beside a spectrum file, the loss is not one of classes,
        or the file is of something else.
    HessentError
        Whatever preparation and measuring raise.
    """
    refuse_range(delta, draws)
    if spectrum is not None:
        refuse_measuring(request)
    with suppress(StoppedError):
        return _run(request, observer, delta, draws, spectrum)
    return None


def _run(
    request: SpectrumRequest, observer: Observer, delta: float, draws: int | None, spectrum: str | None
) -> GibbsBound:
    prepared = prepare(whole_request(request))
    for note in prepared.notes:
        observer.noted(note)
    refuse_loss(prepared)
    small = prepared.problem.num_params <= EXACT_UP_TO
    if not small and prepared.accuracy.max_matvecs is None:
        prepared = replace(prepared, accuracy=replace(prepared.accuracy, max_matvecs=_MATVECS))
    from_file = found_spectrum(request, prepared, spectrum, observer)
    measurement = measurement_of(request, prepared)
    if from_file is None:
        block, file = measured_spectrum(measurement, observer, request.max_time), None
    else:
        block, file = from_file
        measurement.choose_engine()
    count = (DRAWS_OF_FORMED if small else DEFAULT_DRAWS) if draws is None else draws
    return _Work(prepared, measurement, block, file, observer, delta, count).result()


class _Work:
    """The steps that follow the spectrum."""

    def __init__(
        self,
        prepared: Prepared,
        measurement: Measurement,
        block: BlockSpectrum,
        file: str | None,
        observer: Observer,
        delta: float,
        draws: int,
    ) -> None:
        self._prepared, self._measurement, self._block, self._file = prepared, measurement, block, file
        self._confidence, self._draws = Confidence(delta), draws
        self._problem = with_own_weights(measurement.problem)
        self._items = self._problem.num_samples
        self._test = _test_problem(prepared, self._problem)
        self._sampler = PosteriorSampler(
            measurement, self._items, seed=prepared.seed, memory=prepared.vector_memory, observer=observer
        )
        self._norm = sum(float(p.detach().double().square().sum()) for p in self._problem.parameters.values())

    def result(self) -> GibbsBound:
        kls = kl_divergence(self._block, self._norm, self._items)
        place = self._chosen(kls)
        train, test = self._losses(GRID[place])
        wrong, clipped = _mean([own.wrong for own in train]), _mean([own.clipped for own in train])
        terms = self._draws, kls[place], self._items, self._confidence
        corrected, printed = paper_brackets(self._block, self._norm, self._items, GRID[place])
        return GibbsBound(
            checkpoint=self._prepared.checkpoint.path,
            data=self._prepared.data.name,
            samples=self._items,
            parameters=self._problem.num_params,
            norm_squared=self._norm,
            kl=kls[place],
            sigma2=GRID[place],
            delta=self._confidence.delta,
            draws=self._draws,
            steps=self._sampler.steps,
            draw_error=self._sampler.error,
            train_01=losses_of(self._problem).wrong,
            test_01=None if self._test is None else losses_of(self._test).wrong,
            gibbs_train_01=mean_interval(wrong, self._draws),
            gibbs_train_clipped=mean_interval(clipped, self._draws),
            gibbs_test_01=mean_interval(_mean(test), self._draws) if test else Estimate.unknown(_NO_TEST),
            bound_01=bound(wrong, *terms),
            bound_clipped=bound(clipped, *terms),
            clamped_mass=clamped_mass(self._block),
            paper_corrected=corrected,
            paper_printed=printed,
            test_samples=None if self._test is None else _length(self._test),
            spectrum=self._file,
            synthetic=self._prepared.data.synthetic,
            cautions=self._cautions(kls[place], self._sampler.error),
        )

    def _chosen(self, kls: Sequence[Estimate]) -> int:
        """The place of s² in the grid, by one draw."""
        pilot = self._sampler.pilot()
        sums = []
        for s2, kl in zip(GRID, kls, strict=True):
            with moved(self._problem, pilot(s2)):
                sums.append(losses_of(self._problem).wrong + slack(kl, self._items, self._confidence)[1])
        return sums.index(min(sums))

    def _losses(self, s2: float) -> tuple[list[BoundedLosses], list[float]]:
        """Losses of every draw on the training samples, and its share of wrong answers on the test split."""
        train: list[BoundedLosses] = []
        test: list[float] = []
        for direction in self._sampler.draws(s2, self._draws):
            with moved(self._problem, direction):
                train.append(losses_of(self._problem))
                test += [] if self._test is None else [losses_of(self._test).wrong]
        return train, test

    def _cautions(self, kl: Estimate, error: float) -> tuple[str, ...]:
        found = []
        if not kl.exact:
            found.append(
                "the bound takes the KL at the upper end of its 95 % interval: that this end is too low adds up to "
                "2.5 % to δ"
            )
        if error > DRAW_ERROR:
            found.append(f"the draws are by Lanczos, and off by about {100 * error:.0f} %")
        if any(buffer.is_floating_point() for buffer in self._problem.model.buffers()):
            found.append(
                "the model has buffers (running statistics of BatchNorm): they were computed from the training "
                "samples, and the theorem takes them as given"
            )
        if self._prepared.data.samples < self._prepared.data.available:
            found.append(
                f"N is {self._items:,} of {self._prepared.data.available:,} samples: more of them (--samples) make "
                "the bound tighter"
            )
        return tuple(found)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _length(problem: Problem) -> int:
    return sum(len(targets) for _, targets in problem.micro_batches())


def _test_problem(prepared: Prepared, problem: Problem) -> Problem | None:
    """The same model over the test split; None where the data has none, or the samples are of it."""
    dataset = prepared.stream.dataset
    if "test" not in dataset.splits or dataset.split != "train":
        return None
    test = open_dataset(prepared.data.name, split="test")
    return problem.with_batches(BatchStream(test, batch_size=prepared.stream.batch_size))
