"""`hessent train` as it is typed: exit code, the two streams, the files, and what a signal leaves behind."""

import json
import os
import re
import signal
import threading
import time

import jsonschema
import pytest

from hessent.__main__ import main
from hessent.checkpoint.reader import open_checkpoint
from hessent.report.schema import load_schema

RUN = [
    "train",
    "--arch",
    "mlp",
    "--arch-option",
    "sizes=64-8-10",
    "--data",
    "digits",
    "--out",
    "run",
    "--threads",
    "1",
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def typed(capsys, *words, run=RUN):
    code = main([*run, *words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_the_table_goes_to_stdout_and_progress_to_stderr(capsys):
    code, out, err = typed(capsys, "--optimizer", "sgd", "--steps", "8")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("run/step")] == [
        f"run/step-{step:06d}.safetensors" for step in (0, 1, 2, 4, 6, 8)
    ]
    assert "sgd · lr 0.1 · momentum 0.9" in out
    assert re.findall(r"^step (\d+) of 8: train loss", err, re.MULTILINE) == ["0", "1", "2", "4", "6", "8"]
    assert "\x1b" not in out + err


def test_quiet_leaves_only_the_result(capsys):
    code, out, err = typed(capsys, "--optimizer", "sgd", "--steps", "2", "--quiet")
    assert (code, err) == (0, "")
    assert "run/step-000002.safetensors" in out


def test_json_is_one_document_that_its_schema_describes(capsys):
    code, out, _ = typed(capsys, "--optimizer", "adam", "--steps", "8", "--json", "--betas", "0.8,0.99")
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.train/1"))
    assert code == 0
    assert document["optimizer"]["betas"] == [0.8, 0.99]
    last = document["checkpoints"][-1]
    assert (last["file"], last["step"], last["progress"]) == ("run/step-000008.safetensors", 8, 1.0)
    assert last["metrics"] == open_checkpoint(last["file"]).metadata.metrics
    assert document["checkpoints"][0]["optimizer_state"] is None
    assert os.path.exists(last["optimizer_state"])


def test_data_without_a_test_split_has_unknown_test_scores(capsys):
    data = ["--data", "synthetic:vectors?shape=64&samples=40&split=train"]
    code, out, _ = typed(capsys, "--optimizer", "sgd", "--steps", "2", "--batch-size", "full", "--json", *data)
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.train/1"))
    assert code == 0
    assert document["data"] == {
        "name": data[1],
        "train_samples": 40,
        "test_samples": None,
        "synthetic": True,
    }
    assert document["checkpoints"][0]["metrics"]["test_loss"] is None
    assert document["optimizer"]["batch_size"] == 40


def test_typed_again_a_finished_run_is_only_printed(capsys):
    first = typed(capsys, "--optimizer", "sgd", "--steps", "4")
    second = typed(capsys, "--optimizer", "sgd", "--steps", "4")
    assert second[:2] == first[:2]
    assert "nothing was computed" in second[2]
    assert "train loss" not in second[2]


def test_another_run_in_the_folder_is_exit_2_and_force_discards_it(capsys):
    typed(capsys, "--optimizer", "sgd", "--steps", "4")
    code, out, err = typed(capsys, "--optimizer", "adam", "--steps", "4")
    assert (code, out) == (2, "")
    assert 'optimizer name: "sgd" there, "adam" now' in err
    assert "--force" in err
    assert typed(capsys, "--optimizer", "adam", "--steps", "4", "--force")[0] == 0
    assert open_checkpoint("run/step-000004.safetensors").metadata.optimizer["name"] == "adam"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--optimizer", "adma"], "did you mean 'adam'"),
        (["--optimizer", "sgd", "--betas", "0.9,0.99"], "sgd has no --betas"),
        (["--optimizer", "adam", "--betas", "0.9"], "--betas"),
        (["--optimizer", "sgd", "--batch-size", "half"], "--batch-size"),
        (["--optimizer", "sgd", "--batch-size", "5000"], "1442"),
        (["--optimizer", "sgd", "--checkpoints", "0,half"], "--checkpoints"),
        (["--optimizer", "sgd", "--steps", "2", "--epochs", "2"], "--epochs"),
        (["--optimizer", "sgd", "--loss", "mse", "--label-smoothing", "0.1"], "--label-smoothing"),
        (["--optimizer", "sgd", "--device", "tpu"], "--device"),
        (["--optimizer", "sgd", "--seed", "-1"], "--seed"),
        (["--optimizer", "sgd", "--arch-option", "sizes"], "KEY=VALUE"),
        ([], "--optimizer"),
    ],
)
def test_a_wrong_option_is_exit_2_and_named(capsys, words, named):
    code, out, err = typed(capsys, *words)
    assert (code, out) == (2, "")
    assert named in err
    assert not os.path.exists("run")


def test_a_run_that_diverges_is_exit_3_and_names_the_step(capsys):
    code, out, err = typed(capsys, "--optimizer", "sgd", "--lr", "1e30", "--steps", "9")
    assert (code, out) == (3, "")
    assert re.search(r"at step \d of 9", err)
    assert os.listdir("run") == ["step-000000.safetensors"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_the_run_between_two_updates_and_leaves_its_checkpoints(capsys, number, code):
    long = ["--optimizer", "sgd", "--steps", "1000000", "--checkpoints", "0,1"]
    safe = signal.signal(number, lambda *_: None)  # should the command not listen, the tests must survive
    handler = signal.getsignal(number)
    sender = threading.Thread(target=_send_after_first_checkpoint, args=(number,))
    sender.start()
    try:
        found, out, err = typed(capsys, *long)
        assert signal.getsignal(number) == handler
    finally:
        sender.join()
        signal.signal(number, safe)
    assert (found, out) == (code, "")
    assert "the same command again" in err
    assert os.listdir("run") == ["step-000000.safetensors"]


def _send_after_first_checkpoint(number):
    deadline = time.monotonic() + 60
    while not os.path.exists("run/step-000000.safetensors") and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    os.kill(os.getpid(), number)
