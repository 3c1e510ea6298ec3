"""`hessent plot` and `hessent summary --density`: files that are the same twice, and errors that say what to do."""

import builtins
import dataclasses

import pytest
import sample_spectra

from hessent.__main__ import main
from hessent.measures.registry import compute_measures
from hessent.spectra.hdf5_writer import write_spectrum

STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def write(path, sample):
    write_spectrum(path, sample, measures={block.name: compute_measures(block) for block in sample.blocks})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    sample = sample_spectra.spectrum()
    write(tmp_path / "a.h5", sample)
    earlier = dataclasses.replace(
        sample,
        checkpoint=dataclasses.replace(sample.checkpoint, step=100),
        blocks=(sample_spectra.exact_block(seed=3), sample_spectra.lanczos_block("full", seed=7)),
    )
    write(tmp_path / "b.h5", earlier)
    write(tmp_path / "trace.h5", sample_spectra.spectrum([sample_spectra.trace_block("odd$name_")]))
    (tmp_path / "no.h5").write_bytes(b"nothing of the kind")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capfd, *words):
    assert main(["plot", *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err


CASES = {
    "overlay": ("a.h5", "b.h5"),
    "dark": ("a.h5", "--dark", "--width", "3", "--block", "layer1*"),
    "heatmap": ("a.h5", "--kind", "heatmap"),
    "run": ("a.h5", "b.h5", "--kind", "run", "-m", "lambda_max"),
}


@pytest.mark.parametrize(
    ("case", "suffix"), [("overlay", "png"), ("dark", "svg"), ("heatmap", "svg"), ("run", "svg"), ("run", "pdf")]
)
def test_two_runs_write_the_same_bytes(folder, capfd, case, suffix):
    pytest.importorskip("matplotlib")
    contents = []
    for name in ("one", "two"):
        assert main(["plot", *CASES[case], "-q", "-o", f"{name}.{suffix}"]) == 0
        contents.append((folder / f"{name}.{suffix}").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(STARTS[suffix])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_the_order_of_the_files_of_a_run_does_not_matter(folder):
    pytest.importorskip("matplotlib")
    assert main(["plot", "a.h5", "b.h5", "--kind", "run", "-m", "trace", "-o", "one.svg"]) == 0
    assert main(["plot", "b.h5", "a.h5", "--kind", "run", "-m", "trace", "-o", "two.svg"]) == 0
    assert (folder / "one.svg").read_bytes() == (folder / "two.svg").read_bytes()


def test_a_name_with_dollar_signs_is_no_formula(folder):
    pytest.importorskip("matplotlib")
    assert main(["plot", "trace.h5", "--kind", "heatmap", "-o", "heat.png"]) == 0


def test_unknown_suffix(folder, capfd):
    assert "ends in .png, .svg, .pdf" in refused(capfd, "a.h5", "-o", "x.jpg")


def test_a_file_that_is_no_spectrum(folder, capfd):
    pytest.importorskip("matplotlib")
    assert "no.h5" in refused(capfd, "no.h5", "-o", "x.png")
    assert not (folder / "x.png").exists()


def test_traces_have_no_density(folder, capfd):
    pytest.importorskip("matplotlib")
    assert "the trace alone" in refused(capfd, "trace.h5", "-o", "x.png")


def test_an_unknown_block_is_suggested(folder, capfd):
    pytest.importorskip("matplotlib")
    assert "did you mean 'layer1.0.conv1'" in refused(capfd, "a.h5", "--block", "layer1.0.konv1", "-o", "x.png")


def test_one_step_twice_is_no_run(folder, capfd):
    pytest.importorskip("matplotlib")
    assert "step 400, like a.h5" in refused(capfd, "a.h5", "a.h5", "--kind", "run", "-o", "x.png")


def test_sizes_and_options_that_make_no_sense(folder, capfd):
    assert "--width nan" in refused(capfd, "a.h5", "--width", "nan", "-o", "x.png")
    assert "--measure" in refused(capfd, "a.h5", "-m", "trace", "-o", "x.png")


def test_without_matplotlib_it_says_what_to_install(folder, capfd, monkeypatch):
    load = builtins.__import__

    def refuse(name, *rest, **named):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return load(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "pip install 'hessent[plot]'" in refused(capfd, "a.h5", "-o", "x.png")


def test_the_terminal_shows_every_block_in_80_columns(folder, capfd):
    assert main(["summary", "a.h5", "--density"]) == 0
    captured = capfd.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in captured.out
    for line, name in zip(lines[1:], ("layer1.0.bn1", "layer1.0.conv1", "full"), strict=False):
        assert line.startswith(name)
        assert "█" in line
    assert main(["summary", "trace.h5", "--density"]) == 0
    assert "only the trace was measured" in capfd.readouterr().out


@pytest.mark.parametrize("kind", ["run", "heatmap"])
def test_a_picture_of_mini_batches_says_their_size(folder, kind):
    pytest.importorskip("matplotlib")
    write(folder / "g.h5", sample_spectra.spectrum([sample_spectra.with_gradient(sample_spectra.exact_block())]))
    for measure, is_told in (("batch_gradient_gap", True), ("gradient_gap", False)):
        assert main(["plot", "g.h5", "--kind", kind, "-m", measure, "--width", "14", "-o", "g.svg"]) == 0
        assert ("mini-batches of 64 samples" in (folder / "g.svg").read_text()) == is_told


@pytest.mark.parametrize("words", [["-m", "gradient_gap"], ["--sort", "trace"], ["--alpha", "2"]])
def test_the_terminal_drawing_shows_no_measure(folder, capfd, words):
    assert main(["summary", "a.h5", "--density", *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "nothing about a density" in captured.err


def test_the_terminal_drawing_has_no_json(folder, capfd):
    assert main(["summary", "a.h5", "--density", "--json"]) == 2
    assert "--density" in capfd.readouterr().err


def test_a_logarithmic_axis_is_labelled_in_plain_letters(folder):
    pytest.importorskip("matplotlib")
    from hessent.report.plots.picture import Look, drawing, picture_bytes
    from hessent.report.plots.run_plot import run_figure
    from hessent.report.selection import Selection, SpectrumEntry

    sample = sample_spectra.spectrum()
    entries = [
        SpectrumEntry(
            f"{step}.h5",
            dataclasses.replace(
                sample,
                checkpoint=dataclasses.replace(
                    sample.checkpoint, step=step, optimizer={"name": "sgd", "lr": 0.001}
                ),
                blocks=(sample_spectra.exact_block("full", scale=10.0**step),),
            ),
        )
        for step in (0, 1, 2)
    ]
    with drawing(Look()):
        figure = run_figure(entries, Selection(("lambda_max",)), Look())
        picture_bytes(figure, "png")
        (axes,) = figure.axes
        labels = [label.get_text() for label in axes.get_yticklabels()]
        lines = {line.get_label(): line for line in axes.get_lines()}
    assert axes.get_yscale() == "log"
    assert "10³" in labels
    assert not any("$" in label for label in labels)
    (limit,) = (line for label, line in lines.items() if str(label).startswith("limit of stable steps"))
    assert list(limit.get_ydata()) == [2000.0] * 3
