"""Laws of a run: one seed one result, interruption changes nothing, full batches descend by the formula."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from hessent.arch.registry import build
from hessent.checkpoint.matching import load_into
from hessent.checkpoint.optimizer_state import read_optimizer_state
from hessent.checkpoint.reader import open_checkpoint
from hessent.checkpoint.run import open_run
from hessent.curvature.losses.registry import resolve_loss
from hessent.data.registry import open_dataset
from hessent.errors import ArchitectureError, CheckpointError, DataError, NonFiniteError, UsageError
from hessent.training.evaluation import evaluate
from hessent.training.observer import Observer
from hessent.training.plan import TrainingRequest
from hessent.training.trainer import train

DROPOUT = """
from torch import nn

def network(width=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Dropout(0.3), nn.BatchNorm1d(width), nn.ReLU(),
                         nn.Linear(width, 10))
"""


@dataclass
class Listener(Observer):
    """Remembers what it hears, and stops the run after an update as Ctrl-C would."""

    stop_after: int | None = None
    sentences: list[str] = field(default_factory=list)
    started_at: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def noted(self, sentence):
        self.sentences.append(sentence)

    def started(self, step, total_steps):
        self.started_at.append(step)

    def stepped(self, step, loss):
        self.losses.append(loss)
        if step == self.stop_after:
            raise KeyboardInterrupt

    def saved(self, checkpoint):
        pass


def asked(out, **changes):
    usual = {
        "arch": "mlp",
        "arch_options": {"sizes": "64-8-10"},
        "data": "digits",
        "optimizer": "adam",
        "threads": 1,
    }
    return TrainingRequest(**{**usual, "steps": 12, "batch_size": 32, "out": str(out), **changes})


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(folder).iterdir())}


def weights(folder, step):
    return open_checkpoint(f"{folder}/step-{step:06d}.safetensors").load(torch.float64).tensors


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def dropout(tmp_path):
    """A network whose updates draw random numbers and whose buffers move."""
    (tmp_path / "network.py").write_text(DROPOUT)
    return {"arch": f"{tmp_path}/network.py:network", "arch_options": {}}


def test_one_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, dropout):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        torch.manual_seed(hash(name) % 1000)  # what ran before must not matter
        train(asked(tmp_path / name, seed=seed, **dropout))
    assert digests(tmp_path / "one") == digests(tmp_path / "again")
    for step in (0, 12):
        assert not same(weights(tmp_path / "one", step), weights(tmp_path / "other", step))


def test_the_start_is_that_of_the_seed_whatever_the_optimizer(tmp_path):
    train(asked(tmp_path / "sgd", optimizer="sgd", seed=3))
    train(asked(tmp_path / "adam", optimizer="adam", seed=3))
    torch.manual_seed(3)
    fresh = build("mlp", options={"sizes": "64-8-10"}, where="here").model.state_dict()
    for run in ("sgd", "adam"):
        assert same(weights(tmp_path / run, 0), {name: value.double() for name, value in fresh.items()})


def test_where_checkpoints_are_saved_does_not_change_the_run(tmp_path, dropout):
    train(asked(tmp_path / "few", percents=(100,), **dropout))
    train(asked(tmp_path / "many", percents=(0, 10, 20, 30, 90), **dropout))
    assert same(weights(tmp_path / "few", 12), weights(tmp_path / "many", 12))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("stop_after", [0, 1, 7])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, dropout, optimizer, stop_after):
    train(asked(tmp_path / "whole", optimizer=optimizer, **dropout))
    request = asked(tmp_path / "parts", optimizer=optimizer, **dropout)
    if stop_after:
        with pytest.raises(KeyboardInterrupt):
            train(request, Listener(stop_after=stop_after))
    kept = {name: digest for name, digest in digests(tmp_path / "whole").items() if _step_of(name) < stop_after}
    if stop_after:
        assert digests(tmp_path / "parts") == kept
    listener = Listener()
    result = train(request, listener)
    assert listener.started_at == [max((_step_of(name) for name in kept), default=0)]
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    assert [saved.step for saved in result.checkpoints] == [0, 1, 3, 6, 9, 12]


def _step_of(name):
    return int(re.match(r"step-(\d+)", name)[1])


def test_a_finished_run_is_not_computed_again(tmp_path):
    first = train(asked(tmp_path / "run"))
    before = digests(tmp_path / "run")
    listener = Listener()
    second = train(asked(tmp_path / "run"), listener)
    assert listener.started_at == []
    assert second.checkpoints == first.checkpoints
    assert (first.resumed_from, second.resumed_from) == (None, 12)
    assert digests(tmp_path / "run") == before


def test_going_on_without_the_optimizers_state_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(asked(tmp_path), Listener(stop_after=7))
    (tmp_path / "step-000006.optim.safetensors").unlink()
    with pytest.raises(CheckpointError, match="optimizer's state beside it is gone"):
        train(asked(tmp_path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer_settings": {"lr": 0.5}}, "optimizer lr: 0.001 there, 0.5 now"),
        ({"steps": 13}, "total_steps: 12 there, 13 now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"arch_options": {"sizes": "64-9-10"}}, "option sizes: [64, 8, 10] there, [64, 9, 10] now"),
        ({"data": "synthetic:vectors?shape=64"}, "data: digits there"),
        ({"batch_size": 31}, "optimizer batch_size: 32 there, 31 now"),
        ({"percents": (0, 50)}, "checkpoints"),
    ],
)
def test_a_folder_with_a_run_of_other_settings_is_refused_and_left_alone(tmp_path, changes, named):
    train(asked(tmp_path))
    before = digests(tmp_path)
    with pytest.raises(UsageError) as caught:
        train(asked(tmp_path, **changes))
    assert named in str(caught.value)
    assert digests(tmp_path) == before


def test_force_discards_checkpoints_and_nothing_else(tmp_path):
    train(asked(tmp_path))
    (tmp_path / "notes.txt").write_text("mine")
    train(asked(tmp_path, steps=5, force=True))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [entry.step for entry in open_run(str(tmp_path)).checkpoints] == [0, 1, 3, 4, 5]


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty: notes\.txt"):
        train(asked(tmp_path))
    with pytest.raises(UsageError, match="this is a file"):
        train(asked(tmp_path / "notes.txt"))


@pytest.mark.parametrize("where", ["batch", "train loss"])
def test_a_loss_that_is_not_finite_names_its_step_and_keeps_what_was_saved(tmp_path, where):
    percents = (0,) if where == "batch" else (0, 1)  # a checkpoint after the first update scores it before a batch
    with pytest.raises(NonFiniteError, match=rf"{where}.* is \w+ at step [12] of 12") as caught:
        train(asked(tmp_path, optimizer="sgd", optimizer_settings={"lr": 1e30}, percents=percents))
    assert "--lr" in str(caught.value)
    assert caught.value.exit_code == 3
    assert "step-000000.safetensors" in digests(tmp_path)


def test_a_full_batch_run_descends_by_the_formula(tmp_path):
    """Linear least squares in float64, momentum and cosine: every iterate follows from X, y and the rates alone."""
    torch.manual_seed(0)
    X, y = torch.randn(20, 3).double(), torch.randn(20, 1).double()
    (tmp_path / "line.py").write_text(
        "from torch import nn\ndef line():\n    return nn.Linear(3, 1, bias=False)\n"
        "import torch\ndef data():\n"
        f"    return torch.tensor({X.tolist()}), torch.tensor({y.tolist()})\n"
    )
    settings = {"lr": 0.2, "momentum": 0.5, "weight_decay": 0.1}
    train(
        asked(
            tmp_path / "run",
            arch=f"{tmp_path}/line.py:line",
            arch_options={},
            data=f"{tmp_path}/line.py:data",
            loss="mse",
            optimizer="sgd",
            optimizer_settings=settings,
            batch_size=None,
            steps=4,
            percents=(0, 25, 50, 75),
            dtype="float64",
        )
    )
    theta, velocity = weights(tmp_path / "run", 0)["weight"].T, 0
    for step in range(4):
        gradient = 2 / 20 * X.T @ (X @ theta - y) + 0.1 * theta
        velocity = 0.5 * velocity + gradient
        theta = (
            theta - 0.2 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 4, dtype=torch.float64))) * velocity
        )
        torch.testing.assert_close(weights(tmp_path / "run", step + 1)["weight"].T, theta, rtol=1e-12, atol=1e-14)
    state = read_optimizer_state(open_checkpoint(f"{tmp_path}/run/step-000004.safetensors"), torch.float64)
    torch.testing.assert_close(state.states["weight"]["momentum_buffer"].T, velocity, rtol=1e-12, atol=1e-14)


def test_half_the_squared_error_on_one_hot_labels_can_be_said(tmp_path):
    (tmp_path / "square.py").write_text(
        "from torch.nn.functional import one_hot\ndef half_square(outputs, targets):\n"
        "    errors = outputs - one_hot(targets, outputs.shape[1]).to(outputs.dtype)\n"
        "    return 0.5 * errors.square().sum(dim=1).mean()\n"
    )
    listener = Listener()
    loss = f"{tmp_path}/square.py:half_square"
    result = train(asked(tmp_path / "run", loss=loss, batch_size=None), listener)
    assert result.checkpoints[-1].metrics["train_loss"] < result.checkpoints[0].metrics["train_loss"]
    assert "test_accuracy" in result.checkpoints[-1].metrics
    metadata = open_checkpoint(result.checkpoints[-1].file).metadata
    assert metadata.loss is None
    assert metadata.extra["train.loss"] == loss
    assert any("--loss" in sentence for sentence in listener.sentences)


@pytest.mark.parametrize(
    ("arch", "options"), [("resnet18", {"width": "2"}), ("vit", {"width": "8", "depth": "1"}), ("mlp", {})]
)
def test_a_checkpoint_alone_is_enough_to_repeat_its_scores(tmp_path, arch, options):
    request = asked(tmp_path, arch=arch, arch_options=options, steps=3, loss="cross-entropy?label_smoothing=0.1")
    result = train(request)
    for saved in result.checkpoints:
        checkpoint = open_checkpoint(saved.file)
        metadata = checkpoint.metadata
        built = build(metadata.arch, tensors=checkpoint.shapes, options=metadata.arch_options, where=saved.file)
        load_into(built.model, checkpoint.load().tensors, rename=built.rename, where=saved.file)
        assert built.assumptions == ()
        for split in ("train", "test"):
            score = evaluate(
                built.model,
                resolve_loss(metadata.loss),
                open_dataset(metadata.data, split=split),
                device=torch.device("cpu"),
                dtype=torch.float32,
            )
            assert score.loss == pytest.approx(metadata.metrics[f"{split}_loss"], rel=1e-5)
            assert score.accuracy == metadata.metrics[f"{split}_accuracy"]
        assert metadata.progress == saved.progress


def test_metadata_says_how_the_run_was_made(tmp_path):
    train(asked(tmp_path, spectrum_samples=256, seed=4, optimizer_settings={"betas": (0.8, 0.99)}))
    metadata = open_checkpoint(f"{tmp_path}/step-000006.safetensors").metadata
    assert (metadata.arch, metadata.data, metadata.loss) == ("mlp", "digits", "cross-entropy")
    assert (metadata.step, metadata.total_steps, metadata.seed, metadata.samples) == (6, 12, 4, 256)
    assert metadata.optimizer == {
        "name": "adam",
        "lr": 0.001,
        "betas": [0.8, 0.99],
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "batch_size": 32,
        "schedule": "cosine",
        "warmup_steps": 0,
    }
    assert set(metadata.metrics) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}


def test_the_optimizers_state_lies_beside_every_trained_checkpoint(tmp_path):
    train(asked(tmp_path))
    assert read_optimizer_state(open_checkpoint(f"{tmp_path}/step-000000.safetensors")) is None
    for step in (1, 3, 6, 9, 12):
        checkpoint = open_checkpoint(f"{tmp_path}/step-{step:06d}.safetensors")
        state = read_optimizer_state(checkpoint)
        assert state.state_names == ("exp_avg", "exp_avg_sq", "step")
        assert state.states.keys() == checkpoint.tensors.keys()
        assert {float(each["step"]) for each in state.states.values()} == {float(step)}


def test_data_below_the_run_is_named_relative_to_it_and_other_data_is_not_named(tmp_path):
    from safetensors.torch import save_file

    out = tmp_path / "run"
    for folder in (out / "data", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        save_file({"x": torch.randn(40, 5), "y": torch.arange(40) % 3}, folder / "points.safetensors")
    listener = Listener()
    train(asked(tmp_path / "far", arch_options={}, data=f"{tmp_path}/elsewhere/points.safetensors"), listener)
    assert any("--data" in sentence for sentence in listener.sentences)
    metadata = open_checkpoint(f"{tmp_path}/far/step-000000.safetensors").metadata
    assert metadata.data is None
    assert metadata.extra["train.data"].endswith("elsewhere/points.safetensors")
    train(asked(out, arch_options={}, data=f"arrays:{out}/data/points.safetensors", force=True))
    assert open_checkpoint(f"{out}/step-000000.safetensors").metadata.data == "arrays:data/points.safetensors"


def test_options_follow_from_the_data_unless_said(tmp_path):
    listener = Listener()
    request = asked(tmp_path / "a", arch="resnet18", arch_options={"width": "2"}, steps=1)
    assert train(request, listener).arch_options["stem"] == "cifar"
    assert any("stem=cifar" in sentence for sentence in listener.sentences)
    request = asked(tmp_path / "b", arch="resnet18", arch_options={"width": "2", "stem_stride": "2"}, steps=1)
    assert train(request).arch_options["stem_stride"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        (
            {"arch": "resnet18", "arch_options": {}, "data": "synthetic:vectors?shape=5"},
            ArchitectureError,
            "images",
        ),
        ({"arch": "vit_tiny_patch16_224", "arch_options": {}}, ArchitectureError, "224"),
        ({"arch": "resnet18", "arch_options": {"width": "2"}, "batch_size": 1}, ArchitectureError, "--batch-size"),
        ({"arch": "resnet81", "arch_options": {}}, ArchitectureError, "resnet18"),
        ({"arch": "auto", "arch_options": {}}, ArchitectureError, "auto"),
        ({"arch_options": {"size": "64-10"}}, ArchitectureError, "sizes"),
        ({"arch_options": {"sizes": "64-9"}}, ArchitectureError, "outputs for 9"),
        ({"data": "digitz"}, DataError, "digits"),
        ({"data": "digits?split=test"}, DataError, "test split"),
        ({"loss": "mse"}, DataError, "mse"),
        ({"loss": "crossentropy"}, UsageError, "cross-entropy"),
        ({"dtype": "float16"}, UsageError, "--dtype"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, changes, error, named):
    with pytest.raises(error) as caught:
        train(asked(tmp_path / "run", **changes))
    assert named in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_torch_is_left_as_it_was(tmp_path):
    torch.manual_seed(5)
    before = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    train(asked(tmp_path, steps=2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[1:]


def test_every_loss_that_is_reported_is_the_mean_of_its_batch(tmp_path):
    listener = Listener()
    train(asked(tmp_path, batch_size=None, steps=3, percents=(0, 34, 67)), listener)
    for step, loss in enumerate(listener.losses):
        metadata = open_checkpoint(f"{tmp_path}/step-{step:06d}.safetensors").metadata
        assert loss == pytest.approx(metadata.metrics["train_loss"], rel=1e-5)
