"""Metadata survives the way through text, and nothing in it is guessed or dropped."""

import pytest

from hessent.checkpoint.metadata import CheckpointMetadata, from_text, to_text
from hessent.errors import CheckpointError

FULL = CheckpointMetadata(
    arch="resnet18",
    arch_options={"width": 16, "stem": "cifar", "widths": [1, 2.5], "bias": True, "act": None},
    data="digits?split=train",
    loss="cross-entropy?label_smoothing=0.1",
    samples=512,
    batch_size=64,
    step=400,
    total_steps=800,
    optimizer={"name": "adam", "lr": 1e-3, "betas": [0.9, 0.999]},
    metrics={"train_loss": 0.031, "test_accuracy": 0.97},
    seed=0,
    extra={"format": "pt", "note": "ünïcode"},
)


def test_text_and_back_is_the_identity():
    assert from_text(to_text(FULL), "here") == FULL
    assert to_text(from_text(to_text(FULL), "here")) == to_text(FULL)


def test_the_text_is_sorted_and_only_says_what_is_known():
    assert list(to_text(FULL)) == sorted(to_text(FULL))
    assert to_text(CheckpointMetadata()) == {}
    assert to_text(CheckpointMetadata(step=0)) == {"hessent.format": "1", "hessent.step": "0"}


def test_other_peoples_keys_are_kept_and_ask_for_nothing():
    metadata = from_text({"format": "pt", "step": "-7"}, "here")
    assert metadata == CheckpointMetadata(extra={"format": "pt", "step": "-7"})


@pytest.mark.parametrize(("step", "total", "progress"), [(1, 4, 0.25), (4, 4, 1.0), (3, None, None), (0, 0, None)])
def test_progress_is_the_share_of_the_run(step, total, progress):
    assert CheckpointMetadata(step=step, total_steps=total).progress == progress


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("format", "2"),
        ("archh", "resnet18"),
        ("arch", ""),
        ("arch", "package.module:factory"),
        ("arch_options", "[]"),
        ("arch_options", '{"a": {"b": 1}}'),
        ("arch_options", '{"a": 1, "a": 2}'),
        ("arch_options", "{"),
        ("data", "../secret"),
        ("loss", "os:system"),
        ("samples", "0"),
        ("batch_size", "-1"),
        ("step", "1.5"),
        ("step", "1" * 30),
        ("step", "١"),
        ("total_steps", ""),
        ("optimizer", '{"lr": 1}'),
        ("optimizer", '{"name": "a:b"}'),
        ("optimizer", '{"name": "sgd", "lr": NaN}'),
        ("metrics", '{"train_loss": "low"}'),
        ("metrics", '{"train_loss": Infinity}'),
        ("metrics", '{"train_loss": 1e999}'),
        ("metrics", '{"accuracy": true}'),
        ("metrics", "[" * 100_000),
        ("seed", "-1"),
    ],
)
def test_a_wrong_value_is_refused_and_its_key_named(key, text):
    mapping = {"hessent.format": "1", f"hessent.{key}": text}
    with pytest.raises(CheckpointError) as caught:
        from_text(mapping, "run/a.safetensors")
    assert f"hessent.{key}" in str(caught.value)
    assert str(caught.value).startswith("run/a.safetensors: ")
    assert len(caught.value.problems) == 1


def test_all_problems_are_told_at_once():
    mapping = {"hessent.arch": "a:b", "hessent.step": "x", "hessent.metrics": "1", "hessent.sede": "1"}
    with pytest.raises(CheckpointError) as caught:
        from_text(mapping, "here")
    assert len(caught.value.problems) == 5  # the format is missing, too
    assert any("did you mean 'seed'" in problem for problem in caught.value.problems)


def test_a_step_beyond_the_last_one_is_refused():
    with pytest.raises(CheckpointError, match="lies beyond the last one"):
        from_text({"hessent.format": "1", "hessent.step": "5", "hessent.total_steps": "4"}, "here")


@pytest.mark.parametrize(
    "wrong",
    [
        CheckpointMetadata(metrics={"train_loss": float("nan")}),
        CheckpointMetadata(arch="mine.py"),
        CheckpointMetadata(step=-1),
        CheckpointMetadata(extra={"hessent.other": "1"}),
    ],
)
def test_nothing_is_written_that_could_not_be_read(wrong):
    with pytest.raises(CheckpointError):
        to_text(wrong)
