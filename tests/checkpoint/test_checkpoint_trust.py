"""A checkpoint's metadata names built-in things and data below its own folder, and nothing else."""

import os

import pytest

from hessent.checkpoint.trust import (
    arch_problem,
    data_problem,
    loss_problem,
    option_problem,
    options_problems,
    resolve_data,
)
from hessent.errors import CheckpointError


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2", "vit-tiny", "gpt2", "auto", "v1.5"])
def test_bare_names_of_architectures_are_taken(name):
    assert arch_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "package.module:factory",
        "timm:resnet18",
        "file.py",
        "./file.py",
        "file.py:factory",
        "a/b",
        "",
        "..",
        "-o",
        "a b",
        "resnet18\n",
        "résnet",
        "a" * 101,
        "C:\\evil",
    ],
)
def test_names_of_code_and_files_are_not_architectures(name):
    assert "may not name code" in arch_problem(name)


@pytest.mark.parametrize(
    "name", ["cross-entropy", "mse", "next-token?ignore_index=-1", "cross-entropy?label_smoothing=0.1"]
)
def test_built_in_losses_are_taken(name):
    assert loss_problem(name) is None


@pytest.mark.parametrize(
    "name", ["package.module:function", "mse?x=os:system", "mse?a/b", "loss.py", "loss.py?x=1", ""]
)
def test_losses_that_name_code_are_refused(name):
    assert loss_problem(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "digits?split=test",
        "synthetic:images?shape=3x32x32&classes=10",
        "arrays:data.safetensors",
        "arrays:sub folder/data.npz",
        "cifar10:cifar-10-batches-bin",
        "images:photos?size=224&mean=0.485,0.456,0.406&std=1e-3,1,1",
        "tokens:data/train.bin?dtype=uint16&block=256",
        "arrays:.hidden/data.h5",
    ],
)
def test_built_in_sources_below_the_folder_are_taken(name):
    assert data_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "package.module:factory",
        "file.py:factory",
        "digits.py:factory",
        "hf:folder",
        "digits:/etc/passwd",
        "digits:a/b",
        "synthetic:../x",
        "arrays",
        "arrays:",
        "arrays:/etc/passwd",
        "arrays://server/share",
        "arrays:../data.npz",
        "arrays:a/../../data.npz",
        "arrays:a/..",
        "arrays:~/data.npz",
        "arrays:C:/data.npz",
        "arrays:..\\data.npz",
        "arrays:a\0b",
        "arrays:a\nb",
        "arrays:a\u202eb",
        "images:photos?labels=/etc/passwd",
        "images:photos?labels=../x",
        "images:photos?transform=package:factory",
        "ARRAYS:data.npz",
    ],
)
def test_other_sources_and_paths_out_of_the_folder_are_refused(name):
    assert data_problem(name) is not None


@pytest.mark.parametrize("value", [1, 0.5, True, None, "gelu_tanh", "3x3", [1, 2, 3], ["a", "b"], []])
def test_plain_options_are_taken(value):
    assert option_problem("o", value) is None


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], "a:b", "../x", "a/b", ["ok", "os:system"], "x" * 101])
def test_options_that_are_not_plain_are_refused(value):
    assert option_problem("o", value) is not None
    assert len(options_problems({"good": 1, "bad": value})) == 1


def test_a_path_is_taken_relative_to_the_checkpoint(tmp_path):
    folder = str(tmp_path)
    assert resolve_data("digits?split=test", folder) == "digits?split=test"
    assert resolve_data("arrays:d/x.npz?a=1", folder) == f"arrays:{folder}/d/x.npz?a=1"
    assert resolve_data("arrays:x.npz", "") == "arrays:x.npz"
    assert resolve_data("arrays:x.npz", "runs/a") == f"arrays:{os.path.join('runs/a', 'x.npz')}"


def test_a_refused_name_is_not_resolved():
    with pytest.raises(CheckpointError, match="give --data yourself"):
        resolve_data("package.module:factory", "runs")


def test_a_link_does_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "secret.npz").touch()
    (tmp_path / "run" / "data.npz").symlink_to(tmp_path / "secret.npz")
    (tmp_path / "run" / "up").symlink_to(tmp_path)
    for name in ("arrays:data.npz", "arrays:up/secret.npz"):
        with pytest.raises(CheckpointError, match="symbolic link"):
            resolve_data(name, str(tmp_path / "run"))


def test_a_link_within_the_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve_data("images:link", str(tmp_path)) == f"images:{tmp_path}/link"
