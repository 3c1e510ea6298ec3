"""`hessent spectrum` as it is typed: what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from cases import columns_of, dense_hessian
from safetensors.torch import load_file, save_file
from small_run import trained_mlp
from torch.nn import functional

import hessent
from hessent.__main__ import main
from hessent.arch.registry import build
from hessent.data.registry import open_dataset
from hessent.data.stream import BatchStream
from hessent.report.schema import load_schema


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors"))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def edited(checkpoint: Path, change) -> Path:
    """The checkpoint with its tensors changed and its metadata kept."""
    from safetensors import safe_open

    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(checkpoint)
    change(tensors)
    path = checkpoint.with_name("edited.safetensors")
    save_file(tensors, path, metadata=metadata)
    return path


def test_the_checkpoint_alone_says_everything(checkpoint, capsys):
    code, out, _ = run(capsys, "spectrum", checkpoint)
    assert code == 0
    assert checkpoint.with_name("step-000046.spectrum.h5").is_file()
    for name in ("layers.0", "layers.1", "full"):
        assert name in out


def test_exact_blocks_have_the_measures_of_the_dense_hessian(checkpoint, capsys):
    code, out, _ = run(capsys, "spectrum", checkpoint, "--json", "--dtype", "float64", "--method", "exact")
    assert code == 0
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    built = build("mlp", options={"sizes": "64-12-10", "activation": "tanh"}, where="test")
    built.model.load_state_dict(load_file(checkpoint))
    [(inputs, targets)] = BatchStream(open_dataset("digits"), samples=96, batch_size=96)
    hessian, names = dense_hessian(built.model, inputs, targets, functional.cross_entropy)
    for block in document["spectra"][0]["blocks"]:
        members = [n for n in names if block["name"] == "full" or n.startswith(block["name"] + ".")]
        rows = columns_of(built.model, tuple(members))
        eigenvalues = torch.linalg.eigvalsh(hessian[rows][:, rows]).numpy()
        measures = block["measures"]
        assert block["method"] == "exact"
        assert measures["trace"]["exact"]
        assert measures["trace"]["value"] == pytest.approx(eigenvalues.sum(), rel=1e-8)
        assert measures["abs_trace"]["value"] == pytest.approx(abs(eigenvalues).sum(), rel=1e-7)
        assert measures["lambda_max"]["value"] == pytest.approx(eigenvalues[-1], rel=1e-9)
        p = abs(eigenvalues) / abs(eigenvalues).sum()
        gap = np.log(len(p)) + (p[p > 0] * np.log(p[p > 0])).sum()
        assert measures["entropy_gap"]["value"] == pytest.approx(gap, rel=1e-6)


def test_sampled_intervals_hold_the_exact_values(checkpoint, capsys, tmp_path):
    documents = {}
    for method in ("exact", "lanczos"):
        _, out, _ = run(
            capsys, "spectrum", checkpoint, "--json", "--method", method, "-o", tmp_path / f"{method}.h5"
        )
        documents[method] = json.loads(out)["spectra"][0]["blocks"]
    held, total = 0, 0
    for exact, sampled in zip(documents["exact"], documents["lanczos"], strict=True):
        for name in ("trace", "abs_trace", "entropy_gap", "positive_ratio", "zero_ratio", "lambda_max"):
            truth, found = exact["measures"][name]["value"], sampled["measures"][name]
            assert not found["exact"]
            slack = 1e-6 * abs(truth)
            held += found["low"] - slack <= truth <= found["high"] + slack
            total += 1
    assert held >= total - 1


def test_typed_again_it_computes_nothing(checkpoint, capsys, monkeypatch):
    _, first, _ = run(capsys, "spectrum", checkpoint)
    before = checkpoint.with_name("step-000046.spectrum.h5").read_bytes()
    monkeypatch.setattr("hessent.pipeline.measure.Measurement.run", None)
    code, second, err = run(capsys, "spectrum", checkpoint)
    assert code == 0
    assert second == first
    assert "nothing was computed" in err
    assert checkpoint.with_name("step-000046.spectrum.h5").read_bytes() == before


def test_the_same_command_gives_the_same_bytes(checkpoint, capsys, tmp_path):
    files = [tmp_path / "a.spectrum.h5", tmp_path / "b.spectrum.h5"]
    for file in files:
        assert (
            run(capsys, "spectrum", checkpoint, "--method", "lanczos", "--engine", "retained", "-o", file)[0] == 0
        )
    assert files[0].read_bytes() == files[1].read_bytes()


def test_other_settings_are_refused_and_named(checkpoint, capsys):
    run(capsys, "spectrum", checkpoint)
    code, _, err = run(capsys, "spectrum", checkpoint, "--seed", 1, "--rtol", 0.2)
    assert code == 2
    assert "seed: 0 in the file, 1 now" in err
    assert "rtol: 0.05 in the file, 0.2 now" in err
    assert "--force" in err
    assert run(capsys, "spectrum", checkpoint, "--seed", 1, "--force")[0] == 0


def test_summary_prints_the_same_table(checkpoint, capsys):
    _, first, _ = run(capsys, "spectrum", checkpoint)
    code, second, _ = run(capsys, "summary", checkpoint.with_name("step-000046.spectrum.h5"))
    assert code == 0
    assert second == first


def test_micro_batches_change_nothing_but_rounding(checkpoint, capsys, tmp_path):
    values = []
    for size in (96, 17, 7):
        target = tmp_path / f"{size}.h5"
        _, out, _ = run(
            capsys, "spectrum", checkpoint, "--batch-size", size, "-o", target, "--json", "--blocks", "full"
        )
        values.append(json.loads(out)["spectra"][0]["blocks"][0]["measures"]["trace"]["value"])
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-5)


def test_graphs_that_do_not_fit_are_rebuilt_with_the_same_answer(checkpoint, capsys, tmp_path):
    outs = []
    for memory in ("1G", "30K"):
        target = tmp_path / f"{memory}.h5"
        code, out, _ = run(capsys, "spectrum", checkpoint, "--memory", memory, "-o", target, "--json")
        assert code == 0
        outs.append(json.loads(out)["spectra"][0]["blocks"])
    assert not hessent.load(tmp_path / "30K.h5").settings["graphs_kept"]
    for roomy, tight in zip(*outs, strict=True):
        assert tight["measures"]["trace"]["value"] == pytest.approx(roomy["measures"]["trace"]["value"], rel=1e-4)


def test_a_dry_run_measures_nothing(checkpoint, capsys):
    code, out, _ = run(capsys, "spectrum", checkpoint, "--dry-run", "--json")
    assert code == 0
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    assert document["num_params"] == 64 * 12 + 12 + 12 * 10 + 10
    assert not list(checkpoint.parent.glob("*.h5"))


def test_max_time_leaves_an_honest_unfinished_table(checkpoint, capsys):
    code, out, _ = run(capsys, "spectrum", checkpoint, "--max-time", "0s", "--method", "lanczos")
    assert code == 0
    assert "INCOMPLETE" in out


def test_the_budget_is_kept_and_checks_are_counted(checkpoint, capsys):
    _, out, _ = run(capsys, "spectrum", checkpoint, "--max-matvecs", 80, "--json", "--rtol", 0)
    blocks = json.loads(out)["spectra"][0]["blocks"]
    assert all(block["matvecs"] <= 80 for block in blocks)
    assert all(not block["converged"] for block in blocks if block["method"] == "lanczos")


def test_synthetic_data_says_so(checkpoint, capsys, tmp_path):
    target = tmp_path / "dry.h5"
    code, out, err = run(capsys, "spectrum", checkpoint, "--data", "synthetic", "--samples", 16, "-o", target)
    assert code == 0
    assert "SYNTHETIC" in out
    assert "synthetic" in err


def test_half_precision_weights_are_promoted_and_recorded(checkpoint, capsys):
    path = edited(checkpoint, lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()}))
    assert run(capsys, "spectrum", path)[0] == 0
    assert hessent.load(path.with_name("edited.spectrum.h5")).checkpoint.stored_dtype == "BF16"


def _drop(tensors):
    del tensors["layers.0.bias"]


def _add(tensors):
    tensors["layers.7.weight"] = torch.zeros(3)


def _poison(tensors):
    tensors["layers.0.weight"][0, 0] = float("nan")


def _classes(tensors):
    tensors["layers.1.weight"], tensors["layers.1.bias"] = torch.zeros(4, 12), torch.zeros(4)


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (_drop, (), "some have none"),
        (_add, (), "layers.2.weight"),
        (_poison, (), "layers.0.weight"),
        (_classes, ("--arch-option", "sizes=64-12-4"), "4 outputs"),
        (None, ("--arch", "resnet81"), "resnet18"),
        (None, ("--arch", "resnet18"), "mlp"),
        (None, ("--data", "digit"), "digits"),
        (None, ("--data", "nowhere/at/all.npz"), "nowhere"),
        (None, ("--loss", "mse"), "mse"),
        (None, ("--blocks", "laier"), "laier"),
        (None, ("--blocks", "layers.9*=x"), "layers.9*"),
        (None, ("--samples", "0"), "--samples"),
        (None, ("--dtype", "bfloat16"), "float64"),
        (None, ("--memory", "lots"), "lots"),
        (None, ("--device", "cuda:99"), "cuda:99"),
        (None, ("--engine", "warp"), "warp"),
        (None, ("--max-time", "soon"), "soon"),
        (None, ("--arch-option", "activation"), "KEY=VALUE"),
        (None, ("-o", "no/such/folder/x.h5"), "no/such/folder"),
        (None, ("--method", "exact", "--max-matvecs", "20"), "--max-matvecs"),
        (None, ("--json", "--format", "csv"), "--json"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_users_mistake_is_exit_2_and_a_sentence(checkpoint, capsys, change, words, expected):
    path = edited(checkpoint, change) if change else checkpoint
    code, out, err = run(capsys, "spectrum", path, *words)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(path.parent.glob("*.h5"))


def test_a_missing_or_foreign_file_is_exit_2(tmp_path, capsys):
    (tmp_path / "x.safetensors").write_text("not a checkpoint")
    assert run(capsys, "spectrum", tmp_path / "absent.safetensors")[0] == 2
    assert run(capsys, "spectrum", tmp_path / "x.safetensors")[0] == 2


def test_no_data_lists_the_ways_to_give_it(checkpoint, capsys):
    tensors = load_file(checkpoint)
    bare = checkpoint.with_name("bare.safetensors")
    save_file(tensors, bare)
    code, _, err = run(capsys, "spectrum", bare, "--arch", "mlp")
    assert code == 2
    for way in ("digits", "arrays:", "cifar10:", "images:", "tokens:"):
        assert way in err
    code, _, err = run(capsys, "spectrum", bare, "--data", "digits")
    assert code == 2
    assert "--arch mlp" in err


def test_configuration_upwards_of_the_checkpoint_is_used(checkpoint, capsys):
    bare = checkpoint.with_name("bare.safetensors")
    save_file(load_file(checkpoint), bare)
    (checkpoint.parent / "hessent.toml").write_text(
        '[tool.hessent]\narch = "mlp"\ndata = "digits"\nsamples = 32\narch_options = {activation = "tanh"}\n'
    )
    code, out, _ = run(capsys, "spectrum", bare, "--json")
    assert code == 0
    assert json.loads(out)["spectra"][0]["data"]["samples"] == 32


def test_a_configuration_beside_a_foreign_checkpoint_may_not_name_code(checkpoint, capsys):
    (checkpoint.parent / "hessent.toml").write_text('[tool.hessent]\ndata = "evil.py:load"\n')
    code, _, err = run(capsys, "spectrum", checkpoint)
    assert code == 2
    assert "evil.py:load" in err


def test_an_unknown_setting_in_the_configuration_is_refused(checkpoint, capsys):
    (checkpoint.parent / "pyproject.toml").write_text("[tool.hessent]\nsample = 3\n")
    code, _, err = run(capsys, "spectrum", checkpoint)
    assert code == 2
    assert "samples" in err


def test_a_non_finite_loss_is_exit_3(checkpoint, capsys):
    path = edited(checkpoint, lambda tensors: tensors["layers.1.weight"].mul_(1e38))
    code, _, err = run(capsys, "spectrum", path)
    assert code == 3
    assert "micro-batch 0" in err


def test_an_unknown_loss_is_told_with_the_place_that_names_it(checkpoint, capsys):
    code, _, err = run(capsys, "spectrum", checkpoint, "--loss", "crossentropy")
    assert code == 2
    assert "--loss: unknown loss 'crossentropy'" in err
    bare = checkpoint.with_name("bare.safetensors")
    save_file(load_file(checkpoint), bare, metadata={"hessent.format": "1", "hessent.loss": "huberr"})
    words = ("--arch", "mlp", "--arch-option", "activation=tanh", "--data", "digits", "--samples", "16")
    code, _, err = run(capsys, "spectrum", bare, *words)
    assert code == 2, err
    assert "bare.safetensors: metadata, loss: unknown loss 'huberr'" in err


@pytest.mark.parametrize("name", ["", "/"])
def test_a_checkpoint_without_a_name_is_refused(name, capsys):
    code, _, err = run(capsys, "spectrum", name)
    assert code == 2
    assert "must name a file or a folder of its own" in err


def test_the_working_folder_is_a_checkpoint_like_any_other(checkpoint, capsys, monkeypatch):
    folder = checkpoint.parent / "checkpoint-46"
    folder.mkdir()
    shutil.copy(checkpoint, folder / "model.safetensors")
    monkeypatch.chdir(folder)
    code, _, err = run(capsys, "spectrum", ".", "--no-full", "--samples", "16", "--only", "trace")
    assert code == 0, err
    assert folder.with_name("checkpoint-46.spectrum.h5").is_file()
