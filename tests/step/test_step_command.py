"""`hessent step` as it is typed: a quadratic with known answers, its document, a small network, and wrong input."""

import json
import math
import shutil
import signal

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.measures.step_analysis import OPTIMIZERS
from hessent.pipeline.step import run as step_run
from hessent.pipeline.step.situation import StepSituation
from hessent.report.schema import load_schema

LINEAR = """
import numpy as np
import torch

def samples():
    random = np.random.default_rng(3)
    inputs = random.standard_normal((60, 5)) * [3.0, 2.0, 1.0, 0.5, 0.2]
    targets = inputs @ [1.0, -1.0, 0.5, 2.0, -1.0] + 0.1 * random.standard_normal(60)
    return torch.tensor(inputs).float(), torch.tensor(targets)[:, None].float()

def model():
    return torch.nn.Linear(5, 1, bias=False).double()
"""
THETA = [0.7, 0.5, -0.3, 1.1, -0.1]  # not what float32 holds: --dtype float64 must not round them
QUICK = ["--noise-batches", "4", "--warmup", "4"]


def run(capsys, *words):
    code = main(["step", *map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def only(*names):
    return [word for name in names for word in ("--optimizer", name)]


def document(capsys, *words):
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    jsonschema.validate(found, load_schema("hessent.step/1"))
    return found, {row["optimizer"]: row for row in found["rows"]}


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the small network, without an optimizer's state; its metadata name SGD at 0.1."""
    return shutil.copy(trained_mlp(), tmp_path / "step-000046.safetensors")


@pytest.fixture
def linear(tmp_path):
    """Words that name a linear regression, with its samples (60, 5) and (60,)."""
    code = tmp_path / "linear.py"
    code.write_text(LINEAR)
    weights = tmp_path / "linear.safetensors"
    save_file({"weight": torch.tensor([THETA], dtype=torch.float64)}, weights)
    space = {}
    exec(LINEAR, space)
    inputs, targets = (part.double().numpy() for part in space["samples"]())
    words = [weights, "--arch", f"{code}:model", "--data", f"{code}:samples", "--loss", "half-squared-error"]
    return [*words, "--dtype", "float64"], inputs, targets[:, 0]


def test_on_a_quadratic_every_step_measures_what_it_predicts(linear, capsys):
    found, rows = document(capsys, *linear[0], "--damping", "1e-14", "--measure")
    assert set(rows) == set(OPTIMIZERS)
    compared = 0
    for row in rows.values():
        assert len(row["measured"]) in (0, 5)
        for own in row["measured"]:
            scale = max(abs(own["predicted"]), row["norm_h_squared"]["value"])
            assert own["decrease"] == pytest.approx(own["predicted"], rel=1e-6, abs=1e-9 * scale)
            compared += 1
    assert compared >= 5 * 15
    assert found["cautions"] == []


def test_on_a_quadratic_rows_are_those_of_its_known_hessian(linear, capsys):
    words, inputs, targets = linear
    found, rows = document(capsys, *words, "--damping", "1e-14")
    residuals = inputs @ np.array(THETA) - targets
    hessian, gradient = inputs.T @ inputs / 60, inputs.T @ residuals / 60
    values = np.linalg.eigvalsh(hessian)
    assert found["curvature"].startswith("exact")
    assert found["loss"]["value"] == pytest.approx(0.5 * float((residuals**2).mean()), rel=1e-12)
    assert found["lambda_max"]["value"] == pytest.approx(values[-1], rel=1e-10)
    newton = 0.5 * gradient @ np.linalg.solve(hessian, gradient)
    assert rows["newton"]["decrease"]["value"] == pytest.approx(newton, rel=1e-8)
    assert rows["newton"]["measured_decrease"] == pytest.approx(newton, rel=1e-6)
    assert rows["ngd"]["decrease"]["value"] == pytest.approx(newton, rel=1e-8)  # F is H: the model is linear
    squared, bent = gradient @ gradient, gradient @ hessian @ gradient
    assert rows["gd"]["best_learning_rate"]["value"] == pytest.approx(squared / bent, rel=1e-10)
    assert rows["gd"]["decrease"]["value"] == pytest.approx(squared**2 / (2 * bent), rel=1e-10)
    assert rows["gd"]["stability_limit"]["value"] == pytest.approx(2 / values[-1], rel=1e-10)
    signs = np.sign(gradient)
    best = (np.abs(gradient).sum() ** 2) / (2 * signs @ hessian @ signs)
    assert rows["sign-gd"]["decrease"]["value"] == pytest.approx(best, rel=1e-10)
    singles = inputs * residuals[:, None]
    covariance = (singles - gradient).T @ (singles - gradient) / 60
    scale = np.trace(covariance) / values.sum()
    assert found["noise_scale"]["value"] == pytest.approx(scale, rel=1e-8)
    size = found["batch_size"]
    cost = np.trace(np.linalg.solve(hessian, covariance)) / (2 * size)
    assert rows["newton"]["noise"]["exact"]
    for name in ("newton", "ngd"):
        assert rows[name]["noise"]["value"] == pytest.approx(cost, rel=1e-6)
    momentum = rows["momentum"]
    assert momentum["stability_limit"]["low"] <= (2 + 2 * 0.9) / values[-1] * (1 + 1e-9)
    assert momentum["stability_limit"]["high"] >= (2 + 2 * 0.9) / values[-1] * (1 - 1e-9)


def test_directions_add_up_to_every_decrease(checkpoint, capsys):
    found, rows = document(capsys, checkpoint, *QUICK, "--directions", "3", *only("newton", "adam", "sign-gd"))
    assert len(found["directions"]) == 4
    assert [one["eigenvalue"] is None for one in found["directions"]] == [False, False, False, True]
    assert sum(one["gradient_share"] for one in found["directions"]) == pytest.approx(1)
    for name, row in rows.items():
        total = sum(one["decrease"][name] for one in found["directions"])
        assert total == pytest.approx(row["decrease"]["value"], rel=1e-9)
    sizes = [abs(one["eigenvalue"]) for one in found["directions"][:-1]]
    assert sizes == sorted(sizes, reverse=True)
    # Along an eigendirection Newton's step takes λ(ĝ/λ)²/2, here of λ ≫ δ.
    first, norm = found["directions"][0], found["gradient_norm"] ** 2
    expected = first["gradient_share"] * norm / (2 * first["eigenvalue"])
    assert first["decrease"]["newton"] == pytest.approx(expected, rel=1e-4)


def test_step_sizes_are_those_of_the_training_or_as_given(checkpoint, capsys):
    some = only("newton", "ngd", "gd", "momentum", "adam")
    _, rows = document(capsys, checkpoint, *QUICK, *some, "--lr", "momentum=0.25", "--lr", "newton=0.5")
    told = {name: (row["learning_rate"], row["learning_rate_from"]) for name, row in rows.items()}
    assert told["gd"] == (0.1, "training")
    assert told["momentum"] == (0.25, "given")
    assert told["newton"] == (0.5, "given")
    assert told["ngd"] == (1.0, "default")
    assert told["adam"][1] == "best"
    assert rows["adam"]["decrease"]["value"] == pytest.approx(rows["adam"]["best_decrease"]["value"])


def test_a_run_from_the_gradient_tells_its_error(checkpoint, capsys, monkeypatch):
    some = only("newton", "normalized-ngd", "gradient-norm-ngd", "ngd", "eigenbasis-ngd", "gd")
    _, exact = document(capsys, checkpoint, *QUICK, *some)
    monkeypatch.setattr(step_run, "EXACT_UP_TO", 0)
    found, rows = document(capsys, checkpoint, *QUICK, *some, "--steps", "50")
    assert found["curvature"].startswith("50 Lanczos products")
    assert rows["gd"]["decrease"]["value"] == pytest.approx(exact["gd"]["decrease"]["value"], rel=1e-4)
    for name in ("newton", "normalized-ngd", "gradient-norm-ngd"):
        for number in ("decrease", "best_decrease", "best_learning_rate"):
            own, whole = rows[name][number], exact[name][number]["value"]
            assert not own["exact"]
            assert own["low"] <= whole <= (math.inf if own["high"] is None else own["high"])
    own, whole = rows["ngd"]["decrease"], exact["ngd"]["decrease"]["value"]
    assert own["low"] <= whole <= own["high"]
    noise = rows["newton"]["noise"]
    assert noise["low"] <= exact["newton"]["noise"]["value"] <= noise["high"]
    assert "mini-batch" in rows["ngd"]["noise"]["reason"]
    assert rows["eigenbasis-ngd"]["measured_decrease"] is None
    for number in ("best_decrease", "best_learning_rate"):
        own, whole = rows["eigenbasis-ngd"][number], exact["eigenbasis-ngd"][number]["value"]
        assert own["value"] == own["low"] <= whole
        assert own["high"] is None or own["high"] >= whole


def test_clipping_is_of_four_rows(checkpoint, capsys):
    four = ["normalized-ngd", "gradient-norm-ngd", "eigenbasis-ngd", "sophia"]
    _, rows = document(capsys, checkpoint, *QUICK, "--clip", "0.01", *only("newton", "gd", "adam", *four))
    assert [name for name, row in rows.items() if row["clip"] is not None] == [n for n in rows if n in four]
    _, out, _ = run(capsys, checkpoint, *QUICK, "--clip", "0.01", *only("normalized-ngd"))
    assert "normalized-ngd, clipped" in out


def test_the_table_says_who_wins_and_csv_has_its_numbers(checkpoint, capsys):
    found, rows = document(capsys, checkpoint, *QUICK, *only("gd", "newton"))
    falls = [row["measured_decrease"] for row in found["rows"]]
    assert falls == sorted(falls, reverse=True)
    _, out, _ = run(capsys, checkpoint, *QUICK, *only("gd", "newton"), "--sort", "table")
    told = {line.split()[0]: line for line in out.splitlines() if "lowers the loss most" in line}
    best = max(found["rows"], key=lambda row: row["measured_decrease"])["optimizer"]
    assert f"most: {best}, by " in told["measured"]
    assert "most: newton, by " in told["predicted"]
    reach = "beyond the reach of the model: measured" in told["predicted"]
    newton = rows["newton"]
    far = abs(newton["measured_decrease"] - newton["decrease"]["value"]) > 0.5 * newton["decrease"]["value"]
    assert reach == far
    assert "table 1 of the unified view" in out
    _, out, _ = run(capsys, checkpoint, *QUICK, *only("newton"), "--format", "csv")
    header, row = (line.split(",") for line in out.splitlines())
    assert float(row[header.index("decrease")]) == rows["newton"]["decrease"]["value"]


def test_without_mini_batches_there_is_no_noise(checkpoint, capsys):
    found, rows = document(capsys, checkpoint, "--noise-batches", "0", *only("gd", "newton"))
    assert "--noise-batches 0" in rows["gd"]["noise"]["reason"]
    assert rows["newton"]["noise"]["value"] is None
    assert found["noise_scale"]["value"] is None


def test_a_loss_without_a_fisher_matrix_says_so(linear, capsys, tmp_path):
    words = list(linear[0])
    code = tmp_path / "loss.py"
    code.write_text("def loss(outputs, targets):\n    return (outputs - targets).abs().pow(3).mean()\n")
    words[words.index("--loss") + 1] = f"{code}:loss"
    _, rows = document(capsys, *words, *QUICK, *only("ngd", "gd"))
    assert rows["ngd"]["decrease"]["value"] is None
    assert "ngd: " in rows["ngd"]["decrease"]["reason"]
    assert rows["gd"]["decrease"]["value"] > 0


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written_the_same_each_time(checkpoint, tmp_path, capsys, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        assert run(capsys, checkpoint, *QUICK, *only("gd"), "--plot", file, "-q")[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--optimizer", "adem"], "did you mean 'adam'"),
        (["--lr", "adam"], "not NAME=RATE"),
        (["--lr", "adam=-1"], "above 0"),
        (["--lr", "adam=1", "--lr", "adam=2"], "given twice"),
        (["--lr", "adam=1", "--optimizer", "gd"], "not among"),
        (["--clip", "0"], "--clip"),
        (["--clip", "1", "--optimizer", "gd"], "normalized-ngd"),
        (["--damping", "nan"], "--damping"),
        (["--steps", "1"], "at least 10"),
        (["--directions", "-1"], "at least 0"),
        (["--noise-batches", "2"], "at least 4"),
        (["--batch-size", "5000"], "96 samples"),
        (["--sort", "decreas"], "did you mean 'decrease'"),
        (["--plot", "picture.jpeg"], "--plot"),
    ],
)
def test_wrong_options_are_told(checkpoint, capsys, words, told):
    code, out, err = run(capsys, checkpoint, *words)
    assert (code, out) == (2, "")
    assert told in err


def test_no_gradient_is_no_step(linear, tmp_path, capsys):
    words = list(linear[0])
    code = tmp_path / "flat.py"
    code.write_text("def loss(outputs, targets):\n    return (outputs * 0).mean() + 1\n")
    words[words.index("--loss") + 1] = f"{code}:loss"
    status, out, err = run(capsys, *words, "--no-verify")
    assert (status, out) == (3, "")
    assert "gradient of the loss is exactly zero" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_it_between_two_products(checkpoint, capsys, monkeypatch, number, code):
    honest = StepSituation.checked

    def checked(self, **settings):
        signal.raise_signal(number)
        return honest(self, **settings)

    monkeypatch.setattr(StepSituation, "checked", checked)
    status, out, err = run(capsys, checkpoint, *QUICK)
    assert (status, out) == (code, "")
    assert "interrupted" in err
