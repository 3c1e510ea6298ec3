"""`hessent report`: what stands on the page is what the files say, and nothing in a name becomes a part of it."""

import base64
import builtins
import dataclasses
import hashlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sample_spectra
from parsed_page import ParsedPage

import hessent
from hessent.__main__ import main
from hessent.measures.registry import compute_measures, error_budget
from hessent.report.page.html import Markup, element
from hessent.report.page.svg import colour_variables
from hessent.report.page.svg_path import shortened_path
from hessent.report.plots.picture import Look
from hessent.report.selection import HEADLINE, Selection, SpectrumEntry
from hessent.report.summary_document import summary_document
from hessent.spectra.hdf5_reader import load
from hessent.spectra.hdf5_writer import write_spectrum

ROOT = Path(hessent.__file__).parents[1]
HOSTILE = (
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "</style></table><img src=//evil.example/x>",
    "a&lt;b",
)


def write(path, sample):
    path.parent.mkdir(parents=True, exist_ok=True)
    measures = {block.name: compute_measures(block) for block in sample.blocks}
    budgets = {block.name: error_budget(block) for block in sample.blocks}
    write_spectrum(path, sample, measures=measures, budgets=budgets)


def sample(scale=1.0, step=400, probes=5, blocks=None, **changes):
    blocks = blocks or (
        sample_spectra.grouped_exact_block("bn1", seed=1, scale=scale),
        sample_spectra.grouped_lanczos_block("conv1", seed=2, scale=scale, converged=False),
        sample_spectra.lanczos_block("layer1.conv1", seed=probes + 3, scale=scale),
        sample_spectra.lanczos_block("full", seed=probes, scale=3 * scale),
    )
    spectrum = sample_spectra.spectrum(blocks, **changes)
    checkpoint = dataclasses.replace(spectrum.checkpoint, step=step, sha256=f"{scale}-{step}")
    return dataclasses.replace(spectrum, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, scale in (("sgd", 1.0), ("adam", 1.7)):
        for step in (0, 400):
            write(folder / name / f"step-{step:06}.spectrum.h5", sample(scale + step / 400, step))
    return folder


@pytest.fixture
def here(runs, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(runs)
    return runs


def report(here, *words, out="report.html"):
    assert main(["report", *words, "-q", "-o", out]) == 0
    return (here / out).read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("adam/step-000400.spectrum.h5",), ("sgd",), ("sgd", "adam")])
def test_a_page_is_well_formed_and_asks_for_nothing(here, words):
    page = report(here, *words)
    parsed = ParsedPage(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.links
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {f"#{name}" for name in parsed.ids}
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert not any(name.startswith("on") for _, own in parsed.attributes for name in own)
    (policy,) = [
        own["content"] for _, own in parsed.attributes if own.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert ("html", {"lang": "en"}) in parsed.attributes
    headings = [int(tag[1]) for tag in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(headings))
    assert all(table.caption for table in parsed.tables)
    # A mark that is defined to be drawn elsewhere is not drawn where it is defined: at the corner.
    assert not re.search(r'<path d="M0 [^"]{1,12}"', re.sub("<defs>.*?</defs>", "", page, flags=re.DOTALL))
    labels = [own.get("aria-label") for tag, own in parsed.attributes if tag == "svg"]
    assert labels
    assert all(labels)


def test_the_script_is_the_one_that_the_policy_allows(here):
    page = report(here, "sgd")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [own["content"] for _, own in ParsedPage(page).attributes if "http-equiv" in own]
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_numbers_are_those_of_the_summary(here):
    parsed = ParsedPage(report(here, "adam"))
    spectrum = load("adam/step-000400.spectrum.h5")
    document = json.loads(json.dumps(summary_document([SpectrumEntry("a", spectrum)], Selection())))
    rows = parsed.table("adam at step 400: measures by block").rows
    assert [row[0].text for row in rows[1:]] == [block["name"] for block in document["spectra"][0]["blocks"]]
    seen = 0
    for row, block in zip(rows[1:], document["spectra"][0]["blocks"], strict=True):
        assert float(row[2].attributes["data-value"]) == block["size"]
        for cell, name in zip(row[3:], HEADLINE, strict=False):
            number = block["measures"][name]
            shown = {key: cell.attributes.get(f"data-{key}") for key in ("value", "low", "high")}
            ends = {key: None if text is None else float(text) for key, text in shown.items()}
            for end in () if number["exact"] else ("low", "high"):
                assert ends[end] == (None if number[end] is None else pytest.approx(number[end], rel=1e-7))
            if name != "condition_lower_entropy":
                assert ends["value"] == pytest.approx(number["value"], rel=1e-7)
            assert cell.text.endswith("exact") == number["exact"] or name == "condition_lower_entropy"
            seen += 1
    assert seen == 24


def test_a_comparison_says_what_compare_says(here, capfd):
    page = ParsedPage(report(here, "sgd", "adam"))
    found = hessent.compare("sgd", "adam")
    assert found.sentence in page.text
    rows = page.table("Differences to sgd").rows[1:]
    differences = found.differences
    assert len(rows) == len(differences) == 2
    for row, difference in zip(rows, differences, strict=True):
        for cell, name in zip(row[2:], HEADLINE, strict=False):
            own = difference.measures[name]
            assert float(cell.attributes["data-low"]) == pytest.approx(own.low, rel=1e-7)
            assert float(cell.attributes["data-high"]) == pytest.approx(own.high, rel=1e-7)
    blocks = page.table("the blocks that differ most come first").rows[1:]
    assert {row[0].text for row in blocks} == {"bn1", "conv1", "layer1.conv1", "full"}


def test_the_same_files_give_the_same_bytes(here):
    assert report(here, "sgd", "adam", out="one.html") == report(here, "sgd", "adam", out="two.html")


def test_names_from_files_are_text_and_nothing_else(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    hostile = [
        dataclasses.replace(block, name=name)
        for block, name in zip(sample_spectra.grouped_blocks()[:2], HOSTILE, strict=False)
    ]
    full = dataclasses.replace(sample_spectra.lanczos_block("full"), parameters=(HOSTILE[2],))
    spectrum = sample(blocks=(*hostile, full))
    spectrum = dataclasses.replace(
        spectrum,
        checkpoint=dataclasses.replace(
            spectrum.checkpoint, path=HOSTILE[2], arch=HOSTILE[0], arch_options={HOSTILE[1]: HOSTILE[2]}
        ),
        data=dataclasses.replace(spectrum.data, name=HOSTILE[0] + "\u202e"),
        settings={HOSTILE[0]: HOSTILE[1]},
        versions={"hessent": HOSTILE[2]},
    )
    monkeypatch.chdir(tmp_path)
    names = ["<b onclick=x>", "q\"uote'", "a&amp;b"]
    for number, name in enumerate(names):
        write(tmp_path / name / f"step-{number}.spectrum.h5", spectrum)
    page = report(tmp_path, *names, "--title", HOSTILE[0])
    parsed = ParsedPage(page)
    allowed = {"script": 1, "style": 1, "title": 1, "img": 0, "b": 0, "iframe": 0, "link": 0}
    assert {tag: parsed.tags.count(tag) for tag in allowed} == allowed
    assert not any(name.startswith("on") for _, own in parsed.attributes for name in own)
    assert all(link.startswith("#") for link in parsed.links)
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], *names):
        assert name in parsed.text
    assert "\u202e" not in page
    assert "\\u202e" in page


def test_what_is_missing_or_spoilt_is_said_on_the_page_and_on_stderr(tmp_path, monkeypatch, capfd):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    data = dataclasses.replace(sample().data, synthetic=True)
    layers = sample(blocks=(sample_spectra.exact_block("bn1"), sample_spectra.lanczos_block("conv1")), data=data)
    write(tmp_path / "run" / "step-000400.spectrum.h5", dataclasses.replace(layers, complete=False))
    (tmp_path / "run" / "step-000800.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "step-000800.optim.safetensors").write_bytes(b"state")
    assert main(["report", "run", "-o", "page.html"]) == 0
    told = capfd.readouterr().err
    page = ParsedPage((tmp_path / "page.html").read_text(encoding="utf-8"))
    for words in (
        "no spectrum yet of step-000800.safetensors; hessent spectrum run/step-000800.safetensors",
        "SYNTHETIC: made-up data",
        "INCOMPLETE: its run was stopped",
        "the whole model (full) was not measured; hessent spectrum runs/adam/step-000400.safetensors",
    ):
        assert words in told
        assert words in page.text
    (loud,) = [own for _, own in page.attributes if own.get("class") == "loud"]
    assert loud["role"] == "alert"
    assert "INCOMPLETE · SYNTHETIC" in page.text


def test_traces_alone_and_json_have_no_density_and_say_so(here, tmp_path, monkeypatch, capfd):
    document = summary_document([SpectrumEntry("a", load("adam/step-000400.spectrum.h5"))], Selection())
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.spectrum.h5", sample(blocks=(sample_spectra.trace_block("conv1"),)))
    assert main(["report", "t.spectrum.h5", "-o", "t.html"]) == 0
    assert "without --only trace" in capfd.readouterr().err
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    assert main(["report", "a.json", "-o", "a.html"]) == 0
    assert "JSON holds no coefficients" in capfd.readouterr().err
    page = ParsedPage((tmp_path / "a.html").read_text(encoding="utf-8"))
    own = document["spectra"][0]["blocks"][0]["measures"]["trace"]
    assert float(page.table("measures by block").rows[1][2].attributes["data-value"]) == pytest.approx(
        own["value"], rel=1e-7
    )
    assert "svg" not in page.tags


def test_runs_that_cannot_be_compared_stand_side_by_side_all_the_same(tmp_path, monkeypatch, capfd):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one.spectrum.h5", sample())
    write(tmp_path / "two.spectrum.h5", sample(blocks=(sample_spectra.lanczos_block("other"),)))
    assert main(["report", "one.spectrum.h5", "two.spectrum.h5", "-o", "r.html"]) == 0
    assert "not compared: the runs have no block in common" in capfd.readouterr().err
    page = ParsedPage((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Run one" in page.text
    assert "Run two" in page.text
    assert main(["report", "one.spectrum.h5", "two.spectrum.h5", "--strict", "-o", "no.html"]) == 2
    assert not (tmp_path / "no.html").exists()


def test_measures_blocks_and_title_are_chosen(here):
    page = ParsedPage(report(here, "sgd", "adam", "-m", "trace", "--block", "conv1", "--title", "Two optimizers"))
    assert "Two optimizers" in page.text
    rows = page.table("sgd at step 400: measures by block").rows
    assert [row[0].text for row in rows] == ["block", "conv1"]
    assert "trace" in [cell.text for cell in rows[0]]
    assert "gap" not in [cell.text for cell in rows[0]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere"),
        (("sgd", "--block", "convv*"), "matches no block"),
        (("sgd", "-m", "sharpness"), "there is no such measure"),
        (("sgd", "-o", "no/such/folder/r.html"), "no/such/folder"),
    ],
)
def test_what_is_typed_wrong_ends_with_what_to_do(here, capfd, words, said):
    assert main(["report", *words]) in (2, 3)  # 3: a folder that cannot be written
    captured = capfd.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_without_matplotlib_there_are_tables_alone_if_asked_for(here, monkeypatch, capfd):
    real = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main(["report", "sgd", "-o", "never.html"]) == 2
    assert "hessent[plot]" in capfd.readouterr().err
    assert "svg" not in ParsedPage(report(here, "sgd", "adam", "--no-pictures")).tags


def test_a_large_model_stays_small_and_loads_no_torch(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "a.spectrum.h5", sample(blocks=sample_spectra.resnet_blocks()))
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from hessent.__main__ import main\n"
        "code = main(sys.argv[1:]); sys.exit('torch' if 'torch' in sys.modules else code)"
    )
    words = [sys.executable, "-c", script, str(ROOT), "report", str(tmp_path / "a.spectrum.h5"), "-o"]
    done = subprocess.run([*words, str(tmp_path / "r.html")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert 50_000 < len(page.encode()) < 250_000
    assert page.count("<svg") == 42
    assert "The other 36 blocks" in page


def test_elements_escape_what_is_not_markup():
    assert element("p", "<b>", Markup("<i>"), title='"&') == '<p title="&quot;&amp;">&lt;b&gt;<i></p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("path", d="M0 0") == '<path d="M0 0"/>'


def test_a_path_keeps_its_shape():
    # A parabola, with a point that lies on a straight piece: within the tolerance the points on the curve stay.
    text = "M 0 0 " + " ".join(f"L {x} {x * x / 10}" for x in range(1, 41)) + " L 60 160 L 80 160"
    short = shortened_path(text, (10.0, 0.0))
    numbers = [float(n) for n in re.findall(r"-?[0-9.]+", short)]
    points = [(numbers[0], numbers[1])]
    for dx, dy in zip(numbers[2::2], numbers[3::2], strict=True):
        points.append((points[-1][0] + dx, points[-1][1] + dy))
    assert points[0] == (-10.0, 0.0)
    assert points[-1] == pytest.approx((70.0, 160.0))
    assert 6 < len(points) < 25
    for x in range(41):
        (x0, y0), (x1, y1) = next(pair for pair in itertools.pairwise(points) if pair[0][0] <= x - 10 <= pair[1][0])
        height = y0 + (y1 - y0) * (x - 10 - x0) / (x1 - x0)
        steepness = (y1 - y0) / (x1 - x0)
        assert abs(height - x * x / 10) <= 0.45 * (1 + steepness**2) ** 0.5


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def mixed(one, other, share):
    parts = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in parts)


@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_their_ground(dark):
    colours = colour_variables(Look(dark=dark))
    panel = mixed(colours["--ink"], colours["--ground"], 0.05)
    for ground in (colours["--ground"], panel):
        for letters in ("--ink", "--faint"):
            assert contrast(colours[letters], ground) >= 4.5
    style = (ROOT / "hessent/report/page/style.css").read_text(encoding="utf-8")
    shades = re.findall(r"^\.h\d \{ background: (#\w{6}); color: (#\w{3}); \}", style, re.MULTILINE)
    assert len(shades) == 9
    assert all(contrast(ground, letters + letters[1:]) >= 4.5 for ground, letters in shades)
