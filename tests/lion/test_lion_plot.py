"""The picture of updates: bars against a histogram of the updates themselves, the file, and what is refused."""

import numpy as np
import pytest
import torch
from small_run import trained_mlp

from hessent.__main__ import main
from hessent.optimizers.update_moments import TensorMoments, group_sizes
from hessent.pipeline.lion_run import LionRequest, run_lion
from hessent.pipeline.request import SpectrumRequest
from hessent.report.plots.lion_plot import lion_figure, shares_between
from hessent.report.plots.picture import Look


def test_bars_are_the_shares_of_the_updates():
    random = np.random.default_rng(0)
    updates = random.standard_normal((16, 5000)) + random.choice([-2.0, 1.0], 5000)
    updates[:, :500] = 0.0
    moments = TensorMoments("t", 5000, group_sizes(16))
    for row in updates:
        moments.add(torch.as_tensor(row))
    edges = np.linspace(-5, 5, 30)  # none at zero
    counted = np.histogram(updates, edges)[0] / updates.size
    assert shares_between(moments.sums(), edges) == pytest.approx(counted, abs=3e-3)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture_is_written_the_same_each_time(tmp_path, capsys, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        command = ["lion", str(trained_mlp()), "--batches", "16", "--batch-size", "16", "--plot", str(file), "-q"]
        assert main(command) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size > 5000


def test_the_picture_names_the_checkpoint_and_stays_below_its_small_print():
    asked = LionRequest(SpectrumRequest(str(trained_mlp())), batches=16, batch_size=16)
    found = run_lion(asked, lambda *_: None, lambda *_: None)
    figure = lion_figure(found, found.tensors, Look(width=4.0))
    small_print = figure.texts[1].get_text()
    assert trained_mlp().name in small_print.replace("\n", "")
    lines = small_print.count("\n") + 1
    assert lines > 1
    top = max(axes.get_position().y1 for axes in figure.axes) * figure.get_figheight()
    assert top < figure.get_figheight() - 0.31 - 0.11 * lines


def test_a_picture_of_no_kind_is_refused_before_anything_is_read(capsys):
    assert main(["lion", "nowhere.safetensors", "--plot", "picture.jpeg"]) == 2
    assert "--plot" in capsys.readouterr().err
