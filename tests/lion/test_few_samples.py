"""Mini-batches of few samples stand for those of the training: exact factors, refusals; rounding is no noise."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from small_run import trained_mlp
from torch import nn

from hessent.__main__ import main
from hessent.curvature.problem import Problem
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.errors import UsageError
from hessent.measures.finite_draw import AS_DRAWN, FiniteDraw, finite_draw
from hessent.measures.update_signal import NO_NOISE, ONE_GROUP, ROUNDING_ONLY, update_signal
from hessent.optimizers.update_moments import TensorMoments, group_sizes
from hessent.pipeline.gradient_rounding import gradient_rounding
from hessent.pipeline.lion_run import LionRequest, run_lion
from hessent.pipeline.mini_batches import drawn_samples, gradient_of
from hessent.pipeline.request import SpectrumRequest


def collected(updates, rounding=0.0):
    moments = TensorMoments("t", updates.shape[1], group_sizes(len(updates)), rounding=rounding)
    for row in updates:
        moments.add(torch.as_tensor(row))
    return moments.sums()


def means_of_subsets(values, size):
    return np.array([np.mean(chosen) for chosen in itertools.combinations(values, size)])


@pytest.mark.parametrize(("available", "chosen", "size"), [(6, 4, 2), (7, 3, 2), (7, 6, 1), (6, 6, 3)])
@pytest.mark.parametrize("beta1", [0.0, 0.8])
def test_over_all_choices_noise_and_signal_are_those_of_all_samples(available, chosen, size, beta1):
    """Every choice of N of M samples, and every mini-batch of B of these: no formula in it but those of means."""
    gradients = np.random.default_rng(available).standard_normal(available) + 0.7
    draw = finite_draw(size, chosen, available, beta1_of_mean=beta1)
    noises, signals, sought = [], [], []
    for some in itertools.combinations(gradients, chosen):
        memory = np.mean(some) if beta1 else 0.0
        updates = beta1 * memory + (1 - beta1) * means_of_subsets(some, size)
        noises.append(draw.noise * updates.var())
        signals.append(updates.mean() ** 2 - draw.chance * updates.var())
        sought.append((beta1 * memory + (1 - beta1) * gradients.mean()) ** 2)
    assert np.mean(noises) == pytest.approx((1 - beta1) ** 2 * means_of_subsets(gradients, size).var(), rel=1e-12)
    assert np.mean(signals) == pytest.approx(np.mean(sought), rel=1e-12)


def test_all_samples_need_no_factor_and_few_enlarge_the_noise_by_what_is_missing():
    assert finite_draw(64, 1442, 1442) == AS_DRAWN
    assert finite_draw(16, 64, 1_000_000).noise == pytest.approx(1 / 0.75, rel=1e-4)


def test_numbers_follow_the_factors_and_the_shape_stays():
    random = np.random.default_rng(2)
    sums = collected(random.choice([-1.0, 1.0], 4000) + 0.7 * random.standard_normal((32, 4000)))
    plain, made = update_signal(sums), update_signal(sums, FiniteDraw(1.5, 0.25))
    assert made.sigma.value == pytest.approx(plain.sigma.value * 1.5**0.5)
    assert made.mu.value**2 == pytest.approx(plain.mu.value**2 - 0.25 * plain.sigma.value**2)
    assert made.tanh_scale.value == pytest.approx(made.mu.value / made.sigma.value**2)
    assert (made.skewness, made.excess_kurtosis, made.distance) == (
        plain.skewness,
        plain.excess_kurtosis,
        plain.distance,
    )
    assert made.differs.value > plain.differs.value


def squares(samples, seed):
    """μ² and s² of the whole, for mini-batches of 20 of so many samples."""
    model = SpectrumRequest(str(trained_mlp()), samples=samples, seed=seed)
    asked = LionRequest(model, batches=48, batch_size=20, beta1=0.0, momentum="zero")
    found = run_lion(asked, lambda *_: None, lambda *_: None).whole
    return found.mu.value**2, found.sigma.value**2


def test_mini_batches_of_forty_samples_have_the_noise_of_those_of_all():
    few = np.mean([squares(40, seed) for seed in range(24)], axis=0)
    all_of_them = np.mean([squares(1442, seed) for seed in range(3)], axis=0)
    assert few[1] == pytest.approx(all_of_them[1], rel=0.2)  # as drawn it is half
    assert few[0] < 0.35 * few[1] + all_of_them[0]  # as drawn it has all of 0.5 s² from the samples' choice


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--samples", "8"], "--batch-size 4, or --samples 1442"),
        (["--samples", "1"], "try: --samples 1442"),
        (["--samples", "48", "--batch-size", "48"], "--batch-size: a mini-batch of 48 is all 48 samples"),
        (["--batch-size", "1442"], "try: --batch-size 64"),
    ],
)
def test_a_mini_batch_of_all_samples_is_refused_and_nothing_written(tmp_path, capsys, words, told):
    scales = tmp_path / "scales.toml"
    assert main(["lion", str(trained_mlp()), *words, "-o", str(scales)]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""
    assert not scales.exists()


def test_one_sample_in_all_is_told_to_be_too_few():
    asked = LionRequest(SpectrumRequest(str(trained_mlp()), samples=1), batch_size=1)
    with pytest.raises(UsageError, match="the one sample"):
        run_lion(asked, lambda *_: None, lambda *_: None)


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("relative", [1e-8, 1e-9, 1e-12])
def test_rounding_of_a_constant_update_is_no_noise(no_warnings, relative):
    random = np.random.default_rng(3)
    updates = 1e-3 * (1 + relative * random.standard_normal((16, 300)))
    found = update_signal(collected(updates))
    for number in (found.sigma, found.snr, found.tanh_scale, found.differs):
        assert number.value is None
        assert number.reason == NO_NOISE
    assert found.mu.value == pytest.approx(1e-3)


def test_what_is_known_to_be_rounding_is_no_noise_however_large(no_warnings):
    random = np.random.default_rng(4)
    updates = 1e-3 * random.standard_normal((16, 300))
    assert update_signal(collected(updates)).sigma.value == pytest.approx(1e-3, rel=0.1)
    found = update_signal(collected(updates, rounding=300 * 1e-6))
    assert (found.mu.value, found.tanh_scale.reason) == (None, ROUNDING_ONLY)


def test_noise_of_one_group_alone_has_no_scale(no_warnings):
    updates = np.ones((16, 50))
    updates[5] += np.random.default_rng(5).standard_normal(50)
    found = update_signal(collected(updates))
    assert found.tanh_scale.reason == ONE_GROUP
    assert found.sigma.value == pytest.approx(0.25, rel=0.3)
    assert found.mu.value == pytest.approx(1.0, rel=0.1)


def test_updates_of_the_smallest_numbers_raise_no_warning(no_warnings):
    updates = 1e-80 * np.random.default_rng(6).standard_normal((16, 50))
    assert update_signal(collected(updates)).tanh_scale.value is None


class Shifted(nn.Module):
    """Logits that all share one shift, on which cross-entropy does not depend: its gradient is rounding alone."""

    def __init__(self):
        super().__init__()
        self.layer, self.shift = nn.Linear(64, 10), nn.Parameter(torch.tensor([0.3]))

    def forward(self, inputs):
        return self.layer(inputs.flatten(1)) + self.shift


def test_a_gradient_that_is_rounding_alone_is_found_out(no_warnings):
    torch.manual_seed(0)
    stream = BatchStream(open_dataset("digits"), batch_size=64)
    problem = Problem(Shifted(), "cross-entropy", stream)
    draws = list(drawn_samples(stream, 16, 32, 0))
    rounding = gradient_rounding(problem, stream, draws[0])
    moments = {
        name: TensorMoments(name, value.numel(), group_sizes(16), rounding=rounding[name])
        for name, value in problem.parameters.items()
    }
    for drawn in draws:
        for name, gradient in gradient_of(problem, stream, drawn).items():
            moments[name].add(gradient)
    found = {name: update_signal(one.sums()) for name, one in moments.items()}
    assert found["shift"].tanh_scale.value is None
    assert "rounding" in found["shift"].tanh_scale.reason
    assert found["layer.weight"].tanh_scale.value > 0
    assert found["layer.bias"].tanh_scale.value > 0


def test_a_model_of_one_precision_alone_has_the_rounding_of_its_size():
    class Narrow(Shifted):
        def forward(self, inputs):
            return super().forward(inputs.float()) + torch.ones(64, 10) @ torch.ones(10, 10) * 0

    torch.manual_seed(0)
    stream = BatchStream(open_dataset("digits"), batch_size=64)
    problem = Problem(Narrow(), "cross-entropy", stream)
    found = gradient_rounding(problem, stream, stream.order[:64])
    gradient = gradient_of(problem, stream, stream.order[:64])
    unit = 2.0**-23
    assert found["layer.bias"] == pytest.approx(unit**2 * float(gradient["layer.bias"].square().sum()))
