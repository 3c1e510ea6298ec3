"""The page in a real browser: sorting by click, colours, width, no request; skipped where there is no Chromium.

The page stands unchanged in a frame; the document around it clicks, looks, and writes what it saw.  Only the
browser's command line is used.
"""

import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading

import pytest
import sample_spectra

from hessent.__main__ import main
from hessent.measures.registry import compute_measures
from hessent.report.page.svg import colour_variables
from hessent.report.plots.picture import Look
from hessent.spectra.hdf5_writer import write_spectrum

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("HESSENT_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH, and none in HESSENT_CHROMIUM")

LOOK = """
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow, seen = {};
  const column = (table, index) => [...table.tBodies[0].rows].map(row => row.cells[index].textContent);
  const table = [...page.querySelectorAll("table")].find(t => t.caption.textContent.endsWith("measures by block"));
  const headings = [...table.tHead.rows[0].cells];
  const trace = headings.findIndex(cell => cell.textContent === "trace");
  const button = headings[trace].querySelector("button");
  seen.blocks = [column(table, 0)];
  seen.values = [];
  seen.states = [headings[trace].getAttribute("aria-sort")];
  for (let clicks = 0; clicks < 3; clicks++) {
    button.click();
    seen.blocks.push(column(table, 0));
    seen.values.push([...table.tBodies[0].rows].map(row => Number(row.cells[trace].dataset.value)));
    seen.states.push(headings[trace].getAttribute("aria-sort"));
  }
  button.focus();
  seen.focused = page.activeElement === button;
  headings[0].querySelector("button").click();
  seen.others = headings.slice(1).map(cell => cell.getAttribute("aria-sort"));
  seen.byName = column(table, 0);
  seen.grounds = {};
  for (const name of ["light", "dark"]) {
    page.getElementById("colours-" + name).click();
    const svg = page.querySelector("svg text");
    seen.grounds[name] = [
      view.getComputedStyle(page.documentElement).backgroundColor, view.getComputedStyle(svg).fill];
  }
  seen.widths = [page.documentElement.scrollWidth, view.innerWidth];
  for (const details of page.querySelectorAll("details")) details.open = true;
  seen.openWidths = [page.documentElement.scrollWidth, view.innerWidth];
  seen.scrolls = [...page.querySelectorAll(".scroll")].some(box => box.scrollWidth > box.clientWidth);
  const result = document.createElement("pre");
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
});
"""


def browse(folder, path, *options):
    """Open a file; return what the browser made of it."""
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    words += ["--disable-background-networking", "--virtual-time-budget=5000", *options, path.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("report")
    blocks = sample_spectra.resnet_blocks()[:9]
    sample = sample_spectra.spectrum((*blocks, sample_spectra.lanczos_block("full", seed=5)))
    write_spectrum(folder / "a.spectrum.h5", sample, measures={b.name: compute_measures(b) for b in sample.blocks})
    assert main(["report", str(folder / "a.spectrum.h5"), "-q", "-o", str(folder / "report.html")]) == 0
    return folder / "report.html"


def framed(page, width):
    text = page.read_text(encoding="utf-8")
    path = page.with_name(f"frame-{width}.html")
    frame = (
        f'<iframe srcdoc="{html.escape(text, quote=True)}" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frame}<script>{LOOK}</script>", encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [400, 1400])
def test_sorting_colours_and_width(page, tmp_path, width):
    dom = browse(tmp_path, framed(page, width), "--dump-dom", "--window-size=1500,1000")
    (found,) = re.findall(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    seen = json.loads(html.unescape(found))
    assert seen["states"] == ["none", "ascending", "descending", "none"]
    ascending, descending, as_before = seen["values"]
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert len(set(ascending)) == 10
    assert seen["blocks"][0] == seen["blocks"][3] != seen["blocks"][1]
    assert as_before not in (ascending, descending)
    assert seen["focused"]
    assert set(seen["others"]) == {"none"}
    assert seen["byName"] == sorted(seen["byName"])
    for name, dark in (("light", False), ("dark", True)):
        colours = colour_variables(Look(dark=dark))
        wanted = [tuple(int(colours[key][i : i + 2], 16) for i in (1, 3, 5)) for key in ("--ground", "--ink")]
        assert [tuple(map(int, re.findall(r"\d+", own)[:3])) for own in seen["grounds"][name]] == wanted
    for inside, outside in (seen["widths"], seen["openWidths"]):
        assert inside <= outside <= width
    assert seen["scrolls"] == (width == 400)


def test_the_policy_forbids_every_request_and_every_other_script(page, tmp_path):
    asked = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        attack = (
            f"<img src={address}/i><script src={address}/s></script><link rel=stylesheet href={address}/c>"
            f"<iframe src={address}/f></iframe><script>document.title = 'attacked'; fetch('{address}/x')</script>"
            f"<p style='background: url({address}/b)'>x</p>"
        )
        text = page.read_text(encoding="utf-8")
        changed = tmp_path / "attacked.html"
        changed.write_text(text.replace("<main>", "<main>" + attack), encoding="utf-8")
        dom = browse(tmp_path, changed, "--dump-dom")
        assert "attacked'" in dom
        assert "<title>attacked" not in dom
        assert "aria-sort" in dom  # the page's own script did run
        assert not asked
        # The listener does hear: the same page without its policy.
        changed.write_text(changed.read_text().replace("Content-Security-Policy", "nothing"), encoding="utf-8")
        assert "<title>attacked" in browse(tmp_path, changed, "--dump-dom")
        assert asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("options", [["--window-size=1400,1200"], ["--window-size=500,1200", "--force-dark-mode"]])
def test_a_picture_of_the_page(page, tmp_path, options):
    browse(tmp_path, page, f"--screenshot={tmp_path / 'page.png'}", *options)
    assert (tmp_path / "page.png").stat().st_size > 20_000
