"""`hessent check` from the outside: exit codes, streams, files; and that it starts in a moment."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import sample_spectra

import hessent
from hessent.__main__ import main
from hessent.measures.written import MeasuredWriter
from hessent.report.schema import load_schema

ROOT = str(Path(hessent.__file__).parents[1])
POLICY = '[[rule]]\nmeasure = "lambda_max"\nblock = "fc"\nmax = {bound}\n'


def measure(value, half=0.1, **more):
    return {"value": value, "low": value - half, "high": value + half, "exact": half == 0} | more


def summary(lambda_max=100.0, *, sha="ab" * 32, **changes):
    names = load_schema("hessent.summary/1")["properties"]["spectra"]["items"]["properties"]["blocks"]["items"]
    measures = {name: measure(1.0) for name in names["properties"]["measures"]["required"]}
    measures |= {name: measure(0.5) for name in ("positive_ratio", "negative_ratio", "zero_ratio")}
    measures["lambda_max"] = measure(lambda_max)
    measures["abs_trace"] = {"value": None, "low": None, "high": None, "exact": False, "reason": "noise"}
    blocks = [
        {"name": name, "size": 64, "method": "exact", "matvecs": 64, "converged": True, "tau": 0.1, "noise": 1e-8}
        | {"budget": {}, "measures": measures}
        for name in ("fc", "full")
    ]
    spectrum = {
        "file": "run.spectrum.h5",
        "checkpoint": {"path": "x", "sha256": sha, "step": 400, "progress": 1.0, "arch": "mlp"},
        "data": {"name": "digits", "samples": 512, "sha256": "cd" * 32},
        "curvature": "hessian",
        "loss": {"name": "cross-entropy", "value": 0.1},
        "seed": 0,
        "complete": True,
        "blocks": blocks,
    }
    return {"schema": "hessent.summary/1", "spectra": [spectrum | changes]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    document = summary()
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    (tmp_path / "run.json").write_text(json.dumps(document))
    (tmp_path / "main.json").write_text(json.dumps(summary(50.0, sha="ef" * 32)))
    (tmp_path / "policy.toml").write_text(POLICY.format(bound=250))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


@pytest.fixture
def run(folder, capfd):
    def call(*words):
        code = main(["check", *words])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


CHANGE = ("--baseline", "main.json")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--max", "lambda_max=250"], 0),
        (["--max", "lambda_max=99"], 1),
        (["--max", "lambda_max=100"], 0),
        (["--max", "lambda_max=100", "--strict"], 1),
        (["--min", "lambda_max=99"], 0),
        (["--min", "lambda_max=101"], 1),
        (["--max-increase", "lambda_max=20%", *CHANGE], 1),
        (["--max-increase", "lambda_max=120%", *CHANGE], 0),
        (["--max-increase", "lambda_max=60", *CHANGE], 0),
        (["--max-increase", "lambda_max=40", *CHANGE], 1),
        (["--max-decrease", "lambda_max=0", *CHANGE], 0),
        (["--max-ratio", "lambda_max=1.5", *CHANGE], 1),
        (["--min-ratio", "lambda_max=1.5", *CHANGE], 0),
        (["--min-ratio", "lambda_max=2.5", *CHANGE], 1),
        (["--max", "abs_trace=1e9"], 1),
        (["--max", "fc:lambda_max=99"], 1),
        (["--max", "lambda_max=99", "--block", "f*"], 1),
        (["--policy", "policy.toml"], 0),
        (["--policy", "policy.toml", "--min", "lambda_max=200"], 1),
        ([], 2),
        (["--block", "fc"], 2),
        (["--max", "lamda_max=250"], 2),
        (["--max", "lambda_max=nan"], 2),
        (["--max", "gc:lambda_max=250"], 2),
        (["--max-increase", "lambda_max=20%"], 2),
        (["--max-increase", "lambda_max=20%", "--baseline", "nowhere.json"], 2),
        (["--policy", "nowhere.toml"], 2),
        (["--policy", "run.json"], 2),
        (["--max", "lambda_max=250", "--format", "csv"], 2),
        (["--max", "lambda_max=250", "--json", "--format", "junit"], 2),
        (["--max", "lambda_max=250", "--step", "7"], 2),
        (["--max", "lambda_max=250", "--population"], 1),
        (["--update-baseline"], 2),
    ],
)
def test_every_outcome_has_its_exit_code(run, words, code):
    found, out, err = run("run.json", *words)
    assert found == code, out + err
    assert (out == "") == (code == 2)
    assert err.startswith("error: ") == (code == 2)


def test_swapping_run_and_baseline_swaps_the_outcomes(run):
    there, back = (["--max-increase", "lambda_max=20"], ["--max-decrease", "lambda_max=20"])
    assert [run("run.json", *CHANGE, *words)[0] for words in (there, back)] == [1, 0]
    assert [run("main.json", "--baseline", "run.json", *words)[0] for words in (there, back)] == [0, 1]


def test_the_projects_policy_serves_where_nothing_else_is_named(run, folder):
    (folder / "pyproject.toml").write_text(
        "[project]\nname = 'p'\n[[tool.hessent.check.rule]]\nmeasure = 'lambda_max'\nmax = 99\n"
    )
    assert run("run.json")[0] == 1
    assert run("run.json", "--policy", "pyproject.toml")[0] == 1
    assert run("run.json", "--policy", "policy.toml")[0] == 0
    assert run("run.json", "--max", "lambda_max=250")[0] == 0


def test_an_incomplete_run_is_not_judged_unless_that_is_said(run, folder):
    (folder / "part.json").write_text(json.dumps(summary(complete=False)))
    words = ("part.json", "--max", "lambda_max=250")
    code, _, err = run(*words)
    assert code == 2
    assert "INCOMPLETE" in err
    code, out, _ = run(*words, "--allow-incomplete")
    assert code == 0
    assert "INCOMPLETE" in out


@pytest.mark.parametrize("bound", [99, 250])
def test_every_format_has_the_same_exit_code_and_its_own_form(run, bound):
    outputs = {}
    for name in ("table", "json", "junit", "github", "gitlab", "markdown"):
        code, outputs[name], err = run("run.json", "--max", f"lambda_max={bound}", "--format", name)
        assert code == (1 if bound == 99 else 0)
        assert err == ""
    jsonschema.validate(json.loads(outputs["json"]), load_schema("hessent.check/1"))
    assert ElementTree.fromstring(outputs["junit"]).get("failures") == str(int(bound == 99))
    assert len(json.loads(outputs["gitlab"])) == (bound == 99)
    assert ("::error " in outputs["github"]) == (bound == 99)
    assert "| outcome | block |" in outputs["markdown"]
    assert run("run.json", "--max", f"lambda_max={bound}", "--json")[1] == outputs["json"]


def test_the_step_summary_is_appended_to(run, folder, monkeypatch):
    page = folder / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert run("run.json", "--max", "lambda_max=99", "--format", "github")[0] == 1
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n### hessent check: FAILED: of 1 check 1 violated.")
    run("run.json", "--max", "lambda_max=99")
    assert page.read_text(encoding="utf-8") == text
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder))
    code, _, err = run("run.json", "--max", "lambda_max=250", "--format", "github")
    assert code == 0
    assert "cannot be written" in err


def test_a_baseline_is_written_read_and_left_alone_when_nothing_changed(run, folder):
    words = ("run.json", "--baseline", "new.json", "--update-baseline")
    code, out, _ = run(*words)
    assert code == 0
    assert "written: 2 blocks" in out
    first = (folder / "new.json").read_bytes()
    assert "nothing has changed" in run(*words)[1]
    assert run("run.json", "--baseline", "new.json", "--max-increase", "lambda_max=0%", "--strict")[0] == 0
    code, out, _ = run("main.json", "--baseline", "new.json", "--update-baseline", "--max", "lambda_max=1")
    assert code == 0
    assert "100.0 ± 0.10  50.00 ± 0.10" in out
    assert (folder / "new.json").read_bytes() != first
    run(*words)
    assert (folder / "new.json").read_bytes() == first
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_update_baseline_takes_the_baselines_of_the_policy(run, folder):
    (folder / "policy.toml").write_text(
        '[[rule]]\nmeasure = "trace"\nmax_increase = "5%"\nbaseline = "a.json"\n'
        '[[rule]]\nmeasure = "trace"\nmax_ratio = 2\nbaseline = "b.json"\n'
    )
    code, out, _ = run("run.json", "--policy", "policy.toml", "--update-baseline", "--json")
    assert code == 0
    document = json.loads(out)
    jsonschema.validate(document, load_schema("hessent.update/1"))
    assert [entry["file"] for entry in document["baselines"]] == ["a.json", "b.json"]
    assert run("run.json", "--policy", "policy.toml")[0] == 0


@pytest.mark.parametrize("name", ["run.toml", "package.json", "run.spectrum.h5"])
def test_update_baseline_overwrites_nothing_else(run, folder, name):
    (folder / name).write_text("precious")
    assert run("run.json", "--baseline", name, "--update-baseline")[0] == 2
    assert (folder / name).read_text() == "precious"


def test_an_incomplete_run_becomes_no_baseline(run, folder):
    (folder / "part.json").write_text(json.dumps(summary(complete=False)))
    assert run("part.json", "--baseline", "new.json", "--update-baseline")[0] == 2
    assert not (folder / "new.json").exists()


def test_warnings_go_where_they_disturb_no_program(run, folder):
    other = summary(50.0, sha="ef" * 32)
    other["spectra"][0]["data"]["sha256"] = "00" * 32
    (folder / "other.json").write_text(json.dumps(other))
    words = ("run.json", "--baseline", "other.json", "--max-ratio", "lambda_max=3")
    code, out, err = run(*words, "--json")
    assert code == 0
    assert json.loads(out)["warnings"]
    assert "other samples" in err
    assert run(*words, "--json", "--quiet")[2] == ""
    assert "other samples" in run(*words)[1]
    assert run(*words, "--strict")[0] == 2


FRESH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
refused = sys.argv.pop(1).split(",")
from hessent.__main__ import main
code = main(sys.argv[1:])
sys.stdout.flush()
loaded = [name for name in refused if name in sys.modules]
sys.exit(f"loaded {loaded}" if loaded else code)
"""
NEVER = ("torch", "matplotlib", "transformers", "pandas")
NOT_FOR_JSON = (*NEVER, "h5py", "numpy", "scipy", "safetensors")


def fresh(refused, *words):
    """Run the command line in a fresh process; return its exit code, output and seconds of computing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, ROOT, ",".join(refused), *words],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "loaded [" not in done.stderr, done.stderr
    return done.returncode, done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("form", ["table", "json", "junit", "github", "gitlab", "markdown"])
def test_json_is_judged_without_torch_hdf5_or_numpy(folder, form):
    words = ("check", "run.json", "--policy", "policy.toml", *CHANGE, "--max-ratio", "lambda_max=1.5")
    assert fresh(NOT_FOR_JSON, *words, "--format", form)[0] == 1


def test_a_baseline_is_updated_without_torch_hdf5_or_numpy(folder):
    assert fresh(NOT_FOR_JSON, "check", "run.json", "--update-baseline", "--baseline", "new.json")[0] == 0


def test_json_is_judged_in_less_than_a_second(folder):
    words = ("check", "run.json", "--policy", "policy.toml")
    assert min(fresh(NOT_FOR_JSON, *words)[2] for _ in range(2)) < 1.0


def test_a_spectra_file_of_42_blocks_is_judged_without_torch_in_less_than_two_seconds(folder):
    """A process of its own reads HDF5 files, which JSON has no need of."""
    MeasuredWriter().write("a.spectrum.h5", sample_spectra.spectrum(sample_spectra.resnet_blocks()))
    words = ("check", "a.spectrum.h5", "--max", "layer*:trace=1e9")
    found = [fresh(NEVER, *words) for _ in range(2)]
    assert [code for code, _, _ in found] == [0, 0]
    assert min(seconds for _, _, seconds in found) < 2.0


def test_hessent_check_is_there_without_loading_anything_heavy(folder):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hessent\n"
        "report = hessent.check('run.json', [{'measure': 'lambda_max', 'max': 99}])\n"
        f"print(report.failed, report.outcome, [name for name in {NOT_FOR_JSON} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, ROOT], capture_output=True, text=True, check=True)
    assert done.stdout == "True violated []\n"
