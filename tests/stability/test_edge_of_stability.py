"""Full-batch training ends at the edge of stability, and hessent sees it there from the checkpoints of `train`.

Cohen et al. (2021, 2022): gradient descent settles where λ_max(H) is about 2/η, Adam where λ_max(P^-½ H P^-½) is
about (2 + 2β₁)/((1 − β₁) η), 38/η for β₁ = 0.9.  Nothing in training or measuring knows of these numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hessent.__main__ import main

STEPS = (2000, 4000, 6000, 8000)
TRAIN = (
    *("train", "--arch", "mlp", "--arch-option", "sizes=64-64-64-10", "--arch-option", "activation=tanh"),
    *("--data", "digits?normalize=0,1", "--samples", "512", "--loss", "half-squared-error", "--batch-size", "full"),
    *("--steps", "8000", "--schedule", "constant", "--checkpoints", "25,50,75,100", "--threads", "1", "--quiet"),
)
GD = ("--optimizer", "sgd", "--momentum", "0", "--lr", "0.5")
ADAM = ("--optimizer", "adam", "--lr", "0.0005")


def command(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "precondition", "limit", "formula"),
    [(GD, "none", 2 / 0.5, "2/η = 4.000"), (ADAM, "adam", 38 / 5e-4, "2(1 + β₁)/((1 − β₁)η) = 76000")],
    ids=["gradient descent", "Adam"],
)
def test_the_largest_eigenvalue_stays_at_the_limit(tmp_path, capsys, optimizer, precondition, limit, formula):
    out = tmp_path / "run"
    command(capsys, *TRAIN, *optimizer, "-o", out)
    files, shares = [], {}
    for step in STEPS:
        checkpoint = out / f"step-{step:06d}.safetensors"
        words = ("spectrum", checkpoint, "--precondition", precondition, "--blocks", "full")
        shown = command(capsys, *words, "--max-matvecs", 150, "--quiet")
        assert formula in shown
        (written,) = (path for path in out.glob(f"step-{step:06d}.*spectrum.h5"))
        files.append(written)
        document = json.loads(command(capsys, "summary", written, "--json"))
        found = document["spectra"][0]["blocks"][0]["measures"]["lambda_max"]
        assert found["high"] - found["low"] < 0.01 * limit
        shares[step] = found["value"] / limit
    assert all(0.9 < share < 1.1 for share in shares.values()), shares

    compared = json.loads(command(capsys, "compare", out, out, "--no-measure", "--json"))
    told = [checkpoint["stability"] for checkpoint in compared["runs"][0]["checkpoints"]]
    assert [found["limit"] for found in told] == pytest.approx([limit] * 4)
    assert [found["lambda_max_over_limit"]["full"]["value"] for found in told] == pytest.approx(
        list(shares.values())
    )
    picture = tmp_path / "run.svg"
    command(capsys, "plot", *files, "--kind", "run", "-m", "lambda_max", "-o", picture)
    assert formula.partition(" = ")[0] in Path(picture).read_text(encoding="utf-8")
