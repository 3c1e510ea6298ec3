"""A run is put in order by what its checkpoints say, and two runs are not taken for one."""

import json

import pytest
import torch
from attack_files import write_index
from safetensors.torch import save_file

from hessent.checkpoint.metadata import CheckpointMetadata
from hessent.checkpoint.run import open_run
from hessent.checkpoint.writer import save_checkpoint
from hessent.errors import CheckpointError


def save(folder, name, step=None, **fields):
    metadata = CheckpointMetadata(step=step, **fields)
    save_checkpoint(str(folder / name), {"w": torch.zeros(1)}, metadata, {"w": {"exp_avg": torch.zeros(1)}})


def table(run):
    return [(entry.path.rpartition("/")[2], entry.step, entry.progress) for entry in run.checkpoints]


def test_steps_come_from_the_metadata_and_progress_from_the_length(tmp_path):
    for name, step in (("c", 0), ("a", 100), ("b", 50)):
        save(tmp_path, f"{name}.safetensors", step, total_steps=200)
    (tmp_path / "a.spectrum.h5").touch()
    (tmp_path / "log.txt").touch()
    (tmp_path / ".d.safetensors.1-2.tmp").touch()
    run = open_run(str(tmp_path))
    assert table(run) == [("c.safetensors", 0, 0.0), ("b.safetensors", 50, 0.25), ("a.safetensors", 100, 0.5)]
    assert run.notes == ()


def test_without_a_length_the_last_step_is_the_end(tmp_path):
    for step in (0, 5, 20):
        save(tmp_path, f"x{step}.safetensors", step)
    assert [progress for _, _, progress in table(open_run(str(tmp_path)))] == [0.0, 0.25, 1.0]


def test_a_run_of_the_beginning_alone_has_no_progress(tmp_path):
    save(tmp_path, "a.safetensors", 0)
    assert table(open_run(str(tmp_path))) == [("a.safetensors", 0, 0.0)]


def test_paths_are_kept_as_typed(tmp_path, monkeypatch):
    save(tmp_path, "a.safetensors", 1)
    monkeypatch.chdir(tmp_path.parent)
    run = open_run(tmp_path.name)
    assert run.path == tmp_path.name
    assert run.checkpoints[0].path == f"{tmp_path.name}/a.safetensors"


@pytest.mark.parametrize(
    "form", ["step-{:06d}.safetensors", "checkpoint-{}.safetensors", "epoch=1-step={}.safetensors"]
)
def test_numbers_in_names_stand_in_where_nothing_is_said(tmp_path, form):
    for step in (9, 123, 1000):
        save_file({"w": torch.zeros(1)}, tmp_path / form.format(step))
    run = open_run(str(tmp_path))
    assert [step for _, step, _ in table(run)] == [9, 123, 1000]
    assert "numbers in their names" in run.notes[0]


def test_the_metadata_is_believed_and_not_the_name(tmp_path):
    save(tmp_path, "step-000001.safetensors", 900)
    save(tmp_path, "step-000002.safetensors", 30)
    assert [step for _, step, _ in table(open_run(str(tmp_path)))] == [30, 900]


def test_a_mix_of_checkpoints_with_and_without_steps_is_refused(tmp_path):
    save(tmp_path, "a.safetensors", 1)
    save_file({"w": torch.zeros(1)}, tmp_path / "step-000002.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_run(str(tmp_path))
    assert caught.value.problems == ("'other.safetensors'", "'step-000002.safetensors'")
    assert "2 of 3 checkpoints do not say their step" in str(caught.value)


def test_repeated_steps_are_refused_with_all_files(tmp_path):
    for name, step in (("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 3)):
        save(tmp_path, f"{name}.safetensors", step)
    with pytest.raises(CheckpointError) as caught:
        open_run(str(tmp_path))
    assert caught.value.problems == (
        "step 1: 'a.safetensors', 'b.safetensors'",
        "step 3: 'd.safetensors', 'e.safetensors'",
    )


@pytest.mark.parametrize("field", [{"total_steps": (10, 20)}, {"arch": ("mlp", "gpt")}, {"seed": (0, 1)}])
def test_two_runs_in_one_folder_are_refused(tmp_path, field):
    ((name, (first, second)),) = field.items()
    save(tmp_path, "a.safetensors", 1, **{name: first})
    save(tmp_path, "b.safetensors", 2, **{name: second})
    with pytest.raises(CheckpointError, match="different runs are mixed") as caught:
        open_run(str(tmp_path))
    assert caught.value.problems == (f"'a.safetensors' has {name} {first}", f"'b.safetensors' has {name} {second}")


def test_all_that_cannot_be_read_is_named(tmp_path):
    save(tmp_path, "a.safetensors", 1)
    (tmp_path / "b.safetensors").touch()
    (tmp_path / "c.pt").write_text("no")
    with pytest.raises(CheckpointError) as caught:
        open_run(str(tmp_path))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["b.safetensors", "c.pt"]


def test_shards_are_one_checkpoint(tmp_path):
    for step in (1, 2):
        name = f"s{step}-part.safetensors"
        save_file({"w": torch.zeros(1)}, tmp_path / name, {"hessent.format": "1", "hessent.step": str(step)})
        write_index(tmp_path, {"w": name}, f"s{step}.safetensors.index.json")
    assert [name for name, _, _ in table(open_run(str(tmp_path)))] == [
        "s1.safetensors.index.json",
        "s2.safetensors.index.json",
    ]


def test_the_folders_of_a_trainer_are_a_run(tmp_path):
    for step in (500, 1000, 1500):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.zeros(1)}, folder / "model.safetensors")
        (folder / "optimizer.pt").write_bytes(b"never opened")
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 2000}))
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "training_args.bin").write_bytes(b"never opened")
    (tmp_path / "logs").mkdir()
    run = open_run(str(tmp_path))
    assert table(run) == [
        ("checkpoint-500", 500, 0.25),
        ("checkpoint-1000", 1000, 0.5),
        ("checkpoint-1500", 1500, 0.75),
    ]
    assert "not the weights beside them" in run.notes[0]


def test_one_trainer_folder_is_a_run_of_one(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text('{"global_step": 3, "max_steps": 4}')
    assert [(entry.path, entry.progress) for entry in open_run(str(tmp_path)).checkpoints] == [
        (str(tmp_path), 0.75)
    ]


def test_checkpoints_of_torch_save_are_a_run(tmp_path):
    for step in (10, 20):
        torch.save(
            {"state_dict": {"w": torch.zeros(1)}, "global_step": step}, tmp_path / f"epoch=1-step={step}.ckpt"
        )
    (tmp_path / "last.ckpt").symlink_to("epoch=1-step=20.ckpt")
    (tmp_path / "optimizer.pt").write_bytes(b"never opened")
    run = open_run(str(tmp_path))
    assert [step for _, step, _ in table(run)] == [10, 20]
    assert "'last.ckpt'" in run.notes[0]


def test_data_beside_the_checkpoints_is_not_one_of_them(tmp_path):
    save(tmp_path, "a.safetensors", 1)
    save_file({"x": torch.zeros(2, 3), "y": torch.zeros(2)}, tmp_path / "data.safetensors")
    assert len(open_run(str(tmp_path)).checkpoints) == 1


@pytest.mark.parametrize(
    ("name", "words"), [("gone", "no such directory"), ("file", "not a directory"), ("empty", "no checkpoints")]
)
def test_what_is_no_run_is_refused(tmp_path, name, words):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=words):
        open_run(str(tmp_path / name))
