"""Starting is quick: what only reads never loads torch or matplotlib."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import sample_spectra

import hessent
from hessent.measures.registry import compute_measures, error_budget
from hessent.spectra.hdf5_writer import write_spectrum

ROOT = str(Path(hessent.__file__).parents[1])
HEAVY = ("torch", "matplotlib", "transformers", "pandas")
SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv.pop(1))
from hessent.__main__ import main
code = main(sys.argv[1:])
loaded = [name for name in {HEAVY} if name in sys.modules]
sys.stdout.flush()
sys.exit(f"loaded {{loaded}}" if loaded else code)
"""


@pytest.fixture(scope="module")
def spectrum_file(tmp_path_factory):
    """A file as `hessent spectrum` leaves it: 41 layers and the whole model."""
    path = tmp_path_factory.mktemp("spectra") / "a.spectrum.h5"
    sample = sample_spectra.spectrum(sample_spectra.resnet_blocks())
    measures = {block.name: compute_measures(block) for block in sample.blocks}
    budgets = {block.name: error_budget(block) for block in sample.blocks}
    write_spectrum(path, sample, measures=measures, budgets=budgets)
    return str(path)


def fresh(*words):
    """Run the command line in a fresh process; return its output and the seconds of computing it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", SCRIPT, ROOT, *words], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["archs"], ["archs", "vit"], ["data"]])
def test_looking_things_up_loads_nothing_heavy(words):
    assert fresh(*words)[0]


@pytest.mark.parametrize("words", [[], ["--json"], ["--format", "csv"], ["--alpha", "2"]])
def test_the_summary_of_a_ready_file_loads_nothing_heavy(spectrum_file, words):
    assert "layer4.1.conv2" in fresh("summary", spectrum_file, *words)[0]


@pytest.mark.parametrize("words", [[], ["--to", "json"], ["--what", "eigenvalues"]])
def test_an_export_of_a_ready_file_loads_nothing_heavy(spectrum_file, words):
    assert "layer4.1.conv2" in fresh("export", spectrum_file, "-o", "-", *words)[0]


def test_importing_the_package_loads_nothing_heavy():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hessent\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, ROOT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_starting_takes_a_fraction_of_a_second(spectrum_file):
    # Seconds of computing, not of waiting, and the better of two runs: the machine may be busy.
    assert min(fresh("--help")[1] for _ in range(2)) < 0.6
    assert min(fresh("summary", spectrum_file)[1] for _ in range(2)) < 1.0
