"""`train`: one run from start to end, or from where it stopped.

A run is a function of its settings, its data and its seed.  The start values come from the seed; the samples of an
update and whatever an update draws (dropout) come from the seed and the number of the update; the learning rate
comes from that number too.  So a run that was interrupted goes on from its last checkpoint and ends in the same
bits, and what is evaluated in between changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.optimizer_state import find_optimizer_state
from hessent.errors import ComputationError, NonFiniteError, memory_ran_out
from hessent.training.determinism import deterministic
from hessent.training.evaluation import evaluate, place
from hessent.training.identity import describe_run, unnamed_options
from hessent.training.observer import Observer, Silent
from hessent.training.optimizer import build_optimizer
from hessent.training.plan import DTYPES, TrainingPlan, TrainingRequest, make_plan
from hessent.training.preparation import Preparation, prepare, require_trainable
from hessent.training.result import SavedCheckpoint, TrainingResult
from hessent.training.run_folder import Finished, checkpoint_path, open_run_folder
from hessent.training.sample_order import SampleOrder
from hessent.training.saved_state import restore, save
from hessent.training.seeds import derive_seed


def train(request: TrainingRequest, observer: Observer | None = None) -> TrainingResult:
    """Train a network and save its checkpoints.

    Parameters
    ----------
    request : TrainingRequest
        What to train, on what, how, and where the checkpoints go.
    observer : Observer, optional
        Told of every update and every checkpoint.

    Returns
    -------
    TrainingResult
        Every checkpoint of the run with its scores.

    Raises
    ------
    InputError
        If a name, an option or the data is wrong, or the folder holds something else; nothing is written then.
    NonFiniteError
        If a loss is NaN or infinite; the checkpoints saved before it stay.
    ComputationError
        If memory runs out, or a checkpoint cannot be written.
    """
    observer = observer or Silent()
    with deterministic(request.device, request.threads):
        preparation = prepare(request)
        plan = make_plan(request, len(preparation.train))
        require_trainable(preparation, request, plan.batch_size)
        shared = describe_run(request, plan, preparation)
        _tell_choices(preparation, shared, observer)
        finished = open_run_folder(request.out, shared, plan.milestones, force=request.force)
        run = _Run(request, plan, preparation, shared, observer)
        try:
            saved = run.complete(finished)
        except (RuntimeError, MemoryError) as error:
            if not memory_ran_out(error):
                raise
            fix = "a smaller --batch-size or a smaller network"
            raise ComputationError("memory ran out while training", where=request.out, fix=fix) from error
    return _result(request, plan, preparation, finished, saved)


class _Run:
    """Network, optimizer and order of samples at one moment of a run."""

    def __init__(
        self,
        request: TrainingRequest,
        plan: TrainingPlan,
        preparation: Preparation,
        shared: CheckpointMetadata,
        observer: Observer,
    ) -> None:
        self.request, self.plan, self.preparation = request, plan, preparation
        self.shared, self.observer = shared, observer
        self.model = preparation.built.model.train()
        self.optimizer = build_optimizer(plan.optimizer, plan.settings, self.model.named_parameters())
        self.order = SampleOrder(num_samples=len(preparation.train), batch_size=plan.batch_size, seed=request.seed)
        self.dtype = DTYPES[request.dtype]

    def complete(self, finished: tuple[Finished, ...]) -> list[SavedCheckpoint]:
        """Take the run up after the checkpoints that are there, and return those saved on the way to its end."""
        saved: list[SavedCheckpoint] = []
        if len(finished) == len(self.plan.milestones):
            return saved
        step = 0
        if finished:
            step = self.plan.milestones[len(finished) - 1]
            restore(finished[-1].path, self.model, self.optimizer, self.dtype)
        self.observer.started(step, self.plan.total_steps)
        for milestone in self.plan.milestones[len(finished) :]:
            while step < milestone:
                loss = self._update(step)
                step += 1
                self.observer.stepped(step, loss)
            saved.append(self._save(step))
            self.observer.saved(saved[-1])
        return saved

    def _update(self, step: int) -> float:
        """Do the update that follows `step` updates, and return the mean loss of its batch before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate(step)
        torch.manual_seed(derive_seed(self.request.seed, "update", step))
        loss_of = self.preparation.loss
        batch = self.preparation.train.fetch(self.order.batch(step))
        inputs, targets = place(batch, self.request.device, self.dtype)
        outputs = self.model(inputs)
        if step * self.plan.batch_size < self.order.num_samples:  # the first pass meets every target once
            loss_of.check(outputs, targets, self.request.data)
        loss = loss_of.plain_sum(outputs, targets) / max(loss_of.count(outputs, targets), 1)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _diverged(f"the loss of a batch is {value}", step + 1, self.plan, self.request.out)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value

    def _save(self, step: int) -> SavedCheckpoint:
        """Score the network after `step` updates, and save it with its optimizer's state."""
        metrics = self._metrics(step)
        path = checkpoint_path(self.request.out, step)
        save(path, self.model, self.optimizer, replace(self.shared, step=step, metrics=metrics))
        return SavedCheckpoint(path, find_optimizer_state(path), step, step / self.plan.total_steps, metrics)

    def _metrics(self, step: int) -> dict[str, float]:
        metrics = {}
        for split, dataset in (("train", self.preparation.train), ("test", self.preparation.test)):
            if dataset is None:
                continue
            score = evaluate(
                self.model, self.preparation.loss, dataset, device=self.request.device, dtype=self.dtype
            )
            if not math.isfinite(score.loss):
                raise _diverged(f"the {split} loss is {score.loss}", step, self.plan, self.request.out)
            metrics[f"{split}_loss"] = score.loss
            if score.accuracy is not None:
                metrics[f"{split}_accuracy"] = score.accuracy
        return metrics


def _tell_choices(preparation: Preparation, shared: CheckpointMetadata, observer: Observer) -> None:
    if preparation.chosen:
        listed = ", ".join(f"{key}={value}" for key, value in preparation.chosen.items())
        observer.noted(f"chosen to fit the data: {listed} (--arch-option KEY=VALUE overrides)")
    missing = unnamed_options(shared)
    if missing:
        observer.noted(
            f"the checkpoints will not say what {', '.join(missing)} named, because they may only name what is "
            "built in and data below their own folder; give the same again to analyse them"
        )


def _result(
    request: TrainingRequest,
    plan: TrainingPlan,
    preparation: Preparation,
    finished: tuple[Finished, ...],
    saved: list[SavedCheckpoint],
) -> TrainingResult:
    earlier = [_saved_earlier(found, plan.total_steps) for found in finished]
    built = preparation.built
    return TrainingResult(
        run=request.out,
        arch=request.arch,
        arch_options=built.options,
        num_params=sum(parameter.numel() for parameter in built.model.parameters()),
        data=request.data,
        train_samples=len(preparation.train),
        test_samples=None if preparation.test is None else len(preparation.test),
        synthetic=preparation.train.synthetic,
        loss=preparation.loss.name,
        optimizer=plan.description,
        seed=request.seed,
        total_steps=plan.total_steps,
        device=str(request.device),
        dtype=request.dtype,
        resumed_from=earlier[-1].step if earlier else None,
        checkpoints=(*earlier, *saved),
    )


def _saved_earlier(found: Finished, total_steps: int) -> SavedCheckpoint:
    step = found.metadata.step or 0
    state = find_optimizer_state(found.path)
    return SavedCheckpoint(found.path, state, step, step / total_steps, dict(found.metadata.metrics))


def _diverged(found: str, step: int, plan: TrainingPlan, out: str) -> NonFiniteError:
    return NonFiniteError(
        f"{found} at step {step} of {plan.total_steps}",
        where=out,
        expected="a finite loss",
        fix=f"an --lr below {plan.settings['lr']:g}, or more --warmup-steps",
    )
