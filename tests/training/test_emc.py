"""EMC as a torch optimizer and in training runs."""

import hashlib
import math

import pytest
import torch
from torch import nn

from hessent.errors import UsageError
from hessent.optimizers.emc import Emc, gradient_entropy, memory_name, spread
from hessent.training.optimizer import resolve_settings
from hessent.training.plan import TrainingRequest
from hessent.training.trainer import train


def by_hand(gradients, start, *, rate, levels):
    """The update in plain Python numbers, over lists of weights."""
    weights, memories = list(start), [[0.0] * len(start) for _ in range(levels)]
    for gradient in gradients:
        total = sum(map(abs, gradient))
        shares = [abs(entry) / total for entry in gradient]
        entropy = -sum(p * math.log(p) for p in shares if p)
        h = entropy / math.log(len(gradient))
        for k in range(1, levels + 1):
            beta = 1 - 2**-k
            memories[k - 1] = [beta * m + (1 - beta) * g for m, g in zip(memories[k - 1], gradient, strict=True)]
        scores = [math.exp(k / levels * h) for k in range(1, levels + 1)]
        for i in range(len(weights)):
            mixed = sum(s / sum(scores) * m[i] for s, m in zip(scores, memories, strict=True))
            weights[i] -= rate * math.copysign(abs(mixed) ** (2 - h), mixed)
    return weights, memories


def test_steps_follow_the_formulas_with_one_entropy_over_all_tensors():
    gradients = [[0.5, -2.0, 0.0, 0.25], [0.1, 0.3, -0.2, 0.0], [4.0, 0.01, 0.02, -0.03]]
    start, rate, levels = [1.5, -0.5, 0.0, 2.0], 0.3, 3
    first, second = (nn.Parameter(torch.tensor(part, dtype=torch.float64)) for part in (start[:1], start[1:]))
    optimizer = Emc([first, second], lr=rate, levels=levels)
    for gradient in gradients:
        first.grad = torch.tensor(gradient[:1], dtype=torch.float64)
        second.grad = torch.tensor(gradient[1:], dtype=torch.float64)
        optimizer.step()
    weights, memories = by_hand(gradients, start, rate=rate, levels=levels)
    assert torch.cat([first, second]).tolist() == pytest.approx(weights, rel=1e-12)
    for k in range(levels):
        held = torch.cat([optimizer.state[part][memory_name(k + 1)] for part in (first, second)])
        assert held.tolist() == pytest.approx(memories[k], rel=1e-12)


def test_entropy_of_equal_entries_is_the_largest_and_of_one_entry_is_none():
    assert gradient_entropy([torch.full((3, 4), -2.0)]) == pytest.approx((math.log(12), math.log(12)))
    assert gradient_entropy([torch.zeros(3), torch.tensor([0.0, 5.0])])[0] == pytest.approx(0.0)
    assert spread([torch.tensor([0.0, 5.0])]) == 0.0
    assert spread([torch.tensor([1e-30, 1e-30, 2e-30])]) == pytest.approx(spread([torch.tensor([1.0, 1.0, 2.0])]))


@pytest.mark.parametrize("gradient", [torch.zeros(3), torch.tensor(0.5), torch.zeros(0)])
def test_gradients_without_a_spread_count_as_spread_evenly(gradient):
    assert spread([gradient]) == 1.0


def test_where_there_is_no_gradient_nothing_moves():
    still, zero, moving, empty = (nn.Parameter(torch.ones(size)) for size in (2, 2, 2, 0))
    optimizer = Emc([still, zero, moving, empty], lr=0.1)
    zero.grad, moving.grad, empty.grad = torch.zeros(2), torch.ones(2), torch.zeros(0)
    optimizer.step()
    assert still.tolist() == zero.tolist() == [1.0, 1.0]
    assert max(moving.tolist()) < 1.0
    assert still not in optimizer.state


def asked(out, **changes):
    settings = {"arch": "mlp", "arch_options": {"sizes": "64-8-10"}, "data": "digits", "out": str(out)}
    settings |= {"optimizer": "emc", "optimizer_settings": {"levels": 3}, "steps": 40, "threads": 1}
    return TrainingRequest(**{**settings, "percents": (0, 50, 100), **changes})


class Stop:
    """An observer that ends a run as Ctrl-C does."""

    def __init__(self, after):
        self.after = after

    def __getattr__(self, name):
        return lambda *told: None

    def stepped(self, step, loss):
        if step == self.after:
            raise KeyboardInterrupt


def test_it_learns_and_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path):
    whole = train(asked(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(asked(tmp_path / "parts"), Stop(27))
    again = train(asked(tmp_path / "parts"))
    assert again.resumed_from == 20
    digests = [
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / run).glob("*")}
        for run in ("whole", "parts")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 5
    losses = [saved.metrics["train_loss"] for saved in whole.checkpoints]
    assert losses[-1] < 0.5 * losses[0]
    assert whole.optimizer["levels"] == 3


@pytest.mark.parametrize("levels", [0, -1, 21, 2.5])
def test_numbers_of_levels_that_make_no_sense_are_refused(levels):
    with pytest.raises(UsageError, match="--levels"):
        resolve_settings("emc", {"levels": levels})
