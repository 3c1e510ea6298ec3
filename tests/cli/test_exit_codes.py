"""Every way out of the program ends in an exit code of the contract, and without a traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sample_spectra
import typer

import hessent
from hessent.__main__ import main
from hessent.cli import app as application
from hessent.errors import CheckpointError, InterruptedRunError, StorageError
from hessent.spectra.hdf5_writer import write_spectrum

ROOT = str(Path(hessent.__file__).parents[1])


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command that does what the test says; return (exit code, stdout, stderr)."""

    def call(action, *words):
        def command(debug: application.Debug = False, quiet: application.Quiet = False) -> None:
            """Do what the test says."""
            action()

        monkeypatch.setattr(application, "COMMANDS", (("act", command, "Test"),))
        code = main(["act", *words])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CheckpointError("wrong", where="a.safetensors", fix="another"), 2),
        (StorageError("cannot be written"), 3),
        (MemoryError(), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), 3),
        (RuntimeError("surprise"), 70),
        (AssertionError(), 70),
        (OSError(errno.EIO, "Input/output error"), 70),
        (typer.BadParameter("wrong"), 2),
        (typer.Exit(1), 1),
        (SystemExit(75), 75),
        (InterruptedRunError("a.h5", by_user=False), 75),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(run, error, code):
    found, out, err = run(raising(error))
    assert found == code
    assert out == ""
    assert "Traceback" not in err


def test_success_is_zero_and_prints_only_what_the_command_prints(run):
    assert run(lambda: print("result")) == (0, "result\n", "")  # noqa: T201


def test_an_error_of_ours_is_told_on_standard_error(run):
    _, _, err = run(raising(CheckpointError("wrong", where="a\x1b.pt", expected="right", fix="b")))
    assert err == "error: a\\x1b.pt: wrong\n  expected: right\n  try: b\n"


def test_a_bug_asks_for_a_report_and_names_debug(run):
    _, _, err = run(raising(RuntimeError("surprise")))
    assert "RuntimeError: surprise" in err
    assert "please report it" in err
    assert "--debug" in err


@pytest.mark.parametrize("error", [RuntimeError("surprise"), CheckpointError("wrong")])
def test_debug_shows_the_traceback_as_well(run, error):
    code, _, err = run(raising(error), "--debug")
    assert code in (2, 70)
    assert "Traceback (most recent call last)" in err
    assert "raise error" in err


def test_debug_may_stand_before_the_command(monkeypatch, capfd):
    def command() -> None:
        """Fail."""
        raise RuntimeError("surprise")

    monkeypatch.setattr(application, "COMMANDS", (("act", command, "Test"), ("other", command, "Test")))
    assert main(["--debug", "act"]) == 70
    assert "Traceback" in capfd.readouterr().err
    assert main(["act"]) == 70
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sumary"], "No such command 'sumary'. Did you mean 'summary'?"),
        (["summary"], "Missing argument 'FILE…'"),
        (["summary", "x", "--fromat", "csv"], "No such option: --fromat"),
        (["summary", "x", "--format", "yaml"], "'yaml' is not one of 'table'"),
        (["summary", "x", "--format", "jsn"], "did you mean 'json'? hessent summary --help"),
        (["check", "x", "--format", "gitlub"], "did you mean 'gitlab' or 'github'?"),
        (["plot", "x", "-o", "y.png", "--kind", "heatmp"], "did you mean 'heatmap'?"),
        (["export", "x", "-o", "y", "--to", "tensorbord"], "did you mean 'tensorboard'?"),
        (["export", "x", "-o", "y.csv", "--what", "eigenvalue"], "did you mean 'eigenvalues'?"),
        (["summary", "x", "--alpha", "many"], "many"),
        (["summary", "x", "--json", "--format", "csv"], "ask for two formats at once"),
        (["summary", "nowhere.spectrum.h5"], "nowhere.spectrum.h5: no such file"),
        (["archs", "resnet19"], "did you mean 'resnet18'"),
        (["data", "digit"], "did you mean 'digits'"),
        (["inspect", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_wrong_usage_is_two_and_says_what_to_type(capfd, words, message):
    assert main(words) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_version_is_one_line(capfd):
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"hessent {hessent.__version__}\n"


def test_nothing_asked_prints_the_help_page(capfd):
    assert main([]) == 2
    assert "summary" in capfd.readouterr().out


@pytest.mark.parametrize("command", [[], *[[name] for name, _, _ in application.COMMANDS]])
def test_every_command_has_a_help_page_with_help_for_every_option(capfd, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command, "--help"]) == 0
    page = capfd.readouterr().out
    assert "Usage: hessent" in page
    options = [line for line in page.splitlines() if line.lstrip("│ *").startswith("--")]
    assert options
    for line in options:
        assert len(line.strip("│ ").split("  ")) > 1, line


def test_a_plain_c_locale_prints_greek_letters_all_the_same(tmp_path):
    write_spectrum(tmp_path / "a.spectrum.h5", sample_spectra.spectrum())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHONIO"))}
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-m", "hessent", "summary", str(tmp_path / "a.spectrum.h5")],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert "λ_max" in done.stdout.decode("utf-8")


def test_closed_streams_are_not_an_error():
    done = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m hessent archs >&- 2>&-"], env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert done.returncode == 0


def piped(words, folder):
    """Run `hessent WORDS` with a reader that closes the pipe at once."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hessent", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": ""},
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    return process.wait(), err


@pytest.mark.parametrize("words", [["summary", "a.spectrum.h5"], ["--help"], ["data", "images", "--json"]])
def test_a_closed_pipe_is_not_an_error(tmp_path, words):
    write_spectrum(tmp_path / "a.spectrum.h5", sample_spectra.spectrum())
    assert piped(words, tmp_path) == (0, b"")
