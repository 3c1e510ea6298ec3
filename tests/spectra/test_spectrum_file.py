"""What is written is what is read, byte for byte and name for name."""

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import sample_spectra

import hessent
import hessent.spectra
from hessent.errors import StorageError
from hessent.estimate import Estimate
from hessent.spectra.derived import DerivedMeasures
from hessent.spectra.encoding import decode_text, encode_text
from hessent.spectra.hdf5_reader import from_bytes, load, load_with_measures
from hessent.spectra.hdf5_writer import to_bytes, write_spectrum
from hessent.spectra.model import Spectrum
from hessent.spectra.recurrences import Outliers, ProbeRuns

UGLY_NAMES = [
    "layer/0.weight",
    "nul\0inside",
    "\x1b[31mred",
    "line\nbreak",
    "[/red]",
    "θ\u202e",
    'q"uo\\te',
    "",
    "\ud800",
]


def assert_same(one, other):
    """Compare dataclasses field by field, arrays included."""
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other)
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.array_equal(one, other)
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


@pytest.mark.parametrize("blocks", [sample_spectra.resnet_blocks, sample_spectra.grouped_blocks])
def test_reading_returns_what_was_written(blocks):
    sample = sample_spectra.spectrum((*blocks(), sample_spectra.projected_exact_block()))
    assert_same(from_bytes(to_bytes(sample), where="x"), sample)


def test_the_same_spectrum_gives_the_same_bytes():
    sample = sample_spectra.spectrum(sample_spectra.grouped_blocks())
    content = to_bytes(sample)
    assert to_bytes(sample) == content
    assert to_bytes(from_bytes(content, where="x")) == content


def test_bytes_do_not_depend_on_the_process(tmp_path):
    path = tmp_path / "one.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum())
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sample_spectra\n"
        "from hessent.spectra.hdf5_writer import write_spectrum\n"
        "write_spectrum(sys.argv[2], sample_spectra.spectrum())"
    )
    other = tmp_path / "two.spectrum.h5"
    subprocess.run([sys.executable, "-c", script, str(Path(__file__).parents[1]), str(other)], check=True)
    assert other.read_bytes() == path.read_bytes()


def test_another_spectrum_gives_other_bytes():
    assert to_bytes(sample_spectra.spectrum(seed=1)) != to_bytes(sample_spectra.spectrum(seed=0))


@pytest.mark.parametrize("name", UGLY_NAMES)
def test_any_name_survives(name):
    block = dataclasses.replace(sample_spectra.exact_block(), name=name, parameters=(name, name + "x"), status=name)
    sample = sample_spectra.spectrum([block])
    sample = dataclasses.replace(sample, checkpoint=dataclasses.replace(sample.checkpoint, path=name))
    back = from_bytes(to_bytes(sample), where="x")
    assert back.blocks[0].name == name
    assert back.blocks[0].parameters == (name, name + "x")
    assert back.blocks[0].status == name
    assert back.checkpoint.path == name


def test_a_name_of_a_hundred_kilobytes_survives():
    block = dataclasses.replace(sample_spectra.exact_block(), name="n" * 100_000)
    assert from_bytes(to_bytes(sample_spectra.spectrum([block])), where="x").blocks[0].name == "n" * 100_000


@pytest.mark.parametrize("text", [*UGLY_NAMES, "plain", "\\u0041"])
def test_text_is_restored_from_plain_ascii(text):
    assert bytes(encode_text(text)).isascii()
    assert decode_text(bytes(encode_text(text))) == text


def test_text_that_leaves_its_quotes_is_refused():
    with pytest.raises(ValueError):
        decode_text(b'a","b')


def test_order_of_more_than_a_thousand_blocks_is_kept():
    blocks = [sample_spectra.exact_block(f"b{index}", size=1) for index in range(1_001)]
    back = from_bytes(to_bytes(sample_spectra.spectrum(blocks)), where="x")
    assert [block.name for block in back.blocks] == [block.name for block in blocks]


def test_recurrence_of_one_step_without_outliers_survives():
    block = dataclasses.replace(
        sample_spectra.lanczos_block(),
        outliers=Outliers(values=np.zeros(0), residuals=np.zeros(0)),
        probes=ProbeRuns(alphas=np.ones((1, 1)), betas=np.zeros((1, 0)), last_betas=np.zeros(1)),
    )
    sample = sample_spectra.spectrum([block])
    assert_same(from_bytes(to_bytes(sample), where="x"), sample)


def test_arrays_longer_than_a_chunk_survive():
    block = sample_spectra.exact_block(size=300_000)
    back = from_bytes(to_bytes(sample_spectra.spectrum([block])), where="x")
    assert np.array_equal(back.blocks[0].eigenvalues, block.eigenvalues)


def test_numbers_that_are_not_finite_survive_where_they_are_allowed():
    sample = sample_spectra.spectrum(checks={"symmetry": math.inf}, settings={"alpha": math.inf})
    block = dataclasses.replace(sample_spectra.exact_block(), noise=math.nan)
    back = from_bytes(to_bytes(dataclasses.replace(sample, blocks=(block,))), where="x")
    assert back.checks["symmetry"] == math.inf
    assert back.settings["alpha"] == "inf"
    assert math.isnan(back.blocks[0].noise)


def test_every_group_says_its_type_and_version(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    measures = {"layer1.0.bn1": {"trace": Estimate.exactly(1.0)}}
    write_spectrum(path, sample_spectra.spectrum(), measures=measures)
    kinds = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: kinds.append((name, dict(item.attrs))) if isinstance(item, h5py.Group) else None
        )
        assert file.attrs["encoding-type"] == b"spectrum"
    assert len(kinds) == 12
    assert all(attributes["encoding-version"] == b"1" for _, attributes in kinds)


def test_arrays_are_packed_and_checksummed_without_a_time(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum())
    with h5py.File(path, "r") as file:
        array = file["blocks/000/eigenvalues"]
        assert (array.compression, array.shuffle, array.fletcher32) == ("gzip", True, True)
        assert h5py.h5o.get_info(array.id).mtime == 0


def test_measures_are_stored_beside_the_coefficients(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    estimates = {
        "trace": Estimate(1.0, 0.5, None, population=Estimate(1.1, None, 1.6)),
        "lambda_max": dataclasses.replace(Estimate.exactly(2.0), population=Estimate.exactly(2.0)),
        "lambda_min": Estimate(1.0, 0.5, None),
        "entropy": dataclasses.replace(Estimate.unknown("θ"), population=Estimate.unknown("ψ")),
    }
    budgets = {
        "trace": {"probes": 0.5, "quadrature": 0.0, "data": 0.25, "precision": 1e-9},
        "entropy": {"probes": None, "quadrature": 0.0, "data": None, "precision": None},
    }
    name, sample = "layer1.0.bn1", sample_spectra.spectrum()
    write_spectrum(path, sample, measures={name: estimates}, budgets={name: budgets})
    spectrum, stored = load_with_measures(path)
    assert_same(spectrum, sample)
    assert stored == {name: DerivedMeasures(hessent.__version__, estimates, budgets)}
    assert list(stored[name].estimates) == ["trace", "lambda_max", "lambda_min", "entropy"]
    assert list(stored[name].budgets["trace"]) == ["probes", "quadrature", "data", "precision"]


def test_an_unlimited_part_of_a_budget_is_stored_as_not_known(tmp_path):
    path, name = tmp_path / "a.spectrum.h5", "layer1.0.bn1"
    budget = {"probes": math.inf, "quadrature": 0.0, "data": math.nan, "precision": None}
    measures = {name: {"trace": Estimate(1.0, None, None)}}
    write_spectrum(path, sample_spectra.spectrum(), measures=measures, budgets={name: {"trace": budget}})
    stored = load_with_measures(path)[1][name].budgets["trace"]
    assert stored == {"probes": None, "quadrature": 0.0, "data": None, "precision": None}


def test_a_file_without_measures_has_none(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum())
    assert load_with_measures(path)[1] == {}


def quadrature_trace(block):
    """Outliers, and the first alphas for the rest: Σ weights · θ is the upper left entry of T."""
    outliers = block.outliers.values if block.outliers is not None else np.zeros(0)
    return outliers.sum() + (block.size - len(outliers)) * block.probes.alphas[:, 0].mean()


def test_reader_of_the_specification_needs_only_h5py(tmp_path):
    text = (Path(hessent.spectra.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert 20 <= len(program.splitlines()) <= 32
    assert "hessent" not in program
    blocks = (*sample_spectra.grouped_blocks(), sample_spectra.lanczos_block("plain"))
    write_spectrum(tmp_path / "a.spectrum.h5", sample_spectra.spectrum(blocks))
    (tmp_path / "reader.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "reader.py", "a.spectrum.h5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    first, *lines = done.stdout.splitlines()
    assert first == "runs/adam/step-000400.safetensors cross-entropy 0.0312"
    exact, sampled, only_trace, full, plain = blocks
    expected = [
        exact.eigenvalues.sum(),
        quadrature_trace(sampled),
        only_trace.trace_estimates.mean(),
        quadrature_trace(full),
        quadrature_trace(plain),
    ]
    for line, block, trace in zip(lines, blocks, expected, strict=True):
        name, size, found = line.split("\t")
        assert (name, int(size)) == (block.name, block.size)
        assert float(found) == pytest.approx(trace, rel=1e-12)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum(complete=False))
    write_spectrum(path, sample_spectra.spectrum(complete=True))
    assert load(path).complete
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.spectrum.h5"]


def test_a_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.spectrum.h5"
    link.symlink_to(tmp_path / "real" / "a.spectrum.h5")
    write_spectrum(link, sample_spectra.spectrum())
    assert link.is_symlink()
    assert load(tmp_path / "real" / "a.spectrum.h5").complete


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum(complete=False))
    before = path.read_bytes()
    script = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import sample_spectra\n"
        "from hessent.errors import StorageError\n"
        "from hessent.spectra.hdf5_writer import write_spectrum\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_spectrum(sys.argv[2], sample_spectra.spectrum())\n"
        "except StorageError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(path)], capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stdout
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.spectrum.h5"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere/a\.spectrum\.h5: cannot be written: No such file"):
        write_spectrum(tmp_path / "nowhere" / "a.spectrum.h5", sample_spectra.spectrum())


def test_reading_returns_a_spectrum_of_the_model(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    write_spectrum(path, sample_spectra.spectrum())
    assert isinstance(load(str(path)), Spectrum)
