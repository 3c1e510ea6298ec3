"""What is kept of the groups of the data fits its block, and older files are read as they were meant."""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
import sample_spectra
from sealed_files import sealed

from hessent.errors import SpectrumFileError
from hessent.estimate import Estimate
from hessent.spectra.hdf5_reader import from_bytes, load_with_measures
from hessent.spectra.hdf5_writer import to_bytes, write_spectrum
from hessent.spectra.recurrences import DataGroups, ShorterSpectrum

EXACT, SAMPLED, TRACE = "blocks/000", "blocks/001", "blocks/002"


@pytest.fixture(scope="module")
def content():
    return to_bytes(sample_spectra.spectrum(sample_spectra.grouped_blocks()))


def array(name, data):
    """Return an edit that puts another array in the place of `name`."""

    def edit(file):
        if name in file:
            del file[name]
        file.create_dataset(name, data=data)

    return edit


def attribute(name, key, value):
    return lambda file: file[name].attrs.__setitem__(key, value)


def without(name):
    return lambda file: file.__delitem__(name)


HOSTILE = [
    (
        array(f"{EXACT}/groups/left_out", np.zeros((4, 63))),
        r"holds \(63,\) numbers per group of the data, not \(64,\)",
    ),
    (array(f"{EXACT}/groups/left_out", np.zeros((3, 64))), r"shape \(3, 64\), not float64 and \(4, any\)"),
    (array(f"{EXACT}/groups/left_out", np.full((4, 64), np.nan)), "left_out' holds numbers that are not finite"),
    (array(f"{EXACT}/groups/left_out", -np.arange(256.0).reshape(4, 64)), "left_out' are not in ascending order"),
    (without(f"{EXACT}/groups/left_out"), "groups/probes' is missing"),
    (array(f"{EXACT}/groups/outliers", np.zeros((4, 6, 6))), "outliers' does not belong to this block"),
    (array(f"{EXACT}/groups/traces", np.zeros(5)), r"shape \(5,\), not float64 and \(4\)"),
    (array(f"{EXACT}/groups/items", np.array([32, 32, 32, 0])), "items' is not two or more group sizes"),
    (array(f"{EXACT}/groups/items", np.array([32, 32, 32, 2**62])), "items' is not two or more group sizes"),
    (array(f"{EXACT}/groups/items", np.array([128])), "items' is not two or more group sizes"),
    (array(f"{EXACT}/groups/items", np.zeros(4)), "items' is of type float64"),
    (without(f"{EXACT}/groups/items"), "items' is missing"),
    (attribute(f"{EXACT}/groups", "sampled_fraction", 1.5), "sampled_fraction' is 1.5, not a share from 0 to 1"),
    (attribute(f"{EXACT}/groups", "sampled_fraction", np.nan), "sampled_fraction' is nan"),
    (attribute(f"{EXACT}/groups", "encoding-version", np.bytes_("2")), "is of type 'data-groups', version 2"),
    (attribute(f"{EXACT}/groups", "encoding-type", np.bytes_("groups")), "is 'groups', not data-groups"),
    (attribute(EXACT, "noise_floor", -1.0), "noise_floor' is -1.0, not a finite number from 0"),
    (attribute(EXACT, "noise_floor", np.nan), "noise_floor' is nan"),
    (attribute(EXACT, "multiplicity", np.bytes_("some")), "multiplicity' is 'some', not whole or lower bound"),
    (array(f"{SAMPLED}/groups/outliers", np.zeros((4, 6, 5))), r"holds \(6, 5\) numbers .* not \(6, 6\)"),
    (without(f"{SAMPLED}/groups/probes"), "groups/probes' is missing"),
    (
        array(f"{SAMPLED}/groups/probes", np.zeros((4, 5, 8, 8))),
        r"\(5, 8, 8\) projections .* at most 4 square ones of at most 12 steps",
    ),
    (
        array(f"{SAMPLED}/groups/probes", np.zeros((4, 3, 13, 13))),
        r"\(3, 13, 13\) projections .* not at most 4 square",
    ),
    (array(f"{SAMPLED}/groups/probes", np.zeros((4, 3, 8, 7))), r"\(3, 8, 7\) projections .* not at most 4 square"),
    (array(f"{SAMPLED}/groups/probes", np.zeros((4, 0, 8, 8))), r"\(0, 8, 8\) projections .* not at most 4 square"),
    (array(f"{SAMPLED}/groups/probes", np.zeros((4, 8, 8))), r"\(4, 8, 8\), not float64 and \(4, any, any, any\)"),
    (array(f"{SAMPLED}/groups/left_out", np.zeros((4, 9))), "left_out' does not belong"),
    (array(f"{SAMPLED}/probes/simple", np.array([2.0, 1.0])), "simple' are not in ascending order"),
    (array(f"{SAMPLED}/probes/simple", np.array([np.inf])), "simple' holds numbers that are not finite"),
    (array(f"{TRACE}/trace_estimates", np.zeros(0)), "trace_estimates' is empty"),
    (array(f"{TRACE}/trace_estimates", np.zeros((2, 2))), r"not float64 and \(any\)"),
    (array(f"{TRACE}/trace_estimates", np.array([1.0, np.nan])), "not finite"),
    (without(f"{TRACE}/groups/traces"), "groups/traces' is missing"),
    (attribute(TRACE, "encoding-type", np.bytes_("lanczos-block")), "probes' is missing"),
    (attribute(TRACE, "encoding-version", np.bytes_("2")), "is of type 'trace-block', version 2"),
]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without(f"{EXACT}/groups/probes"), "groups/probes' is missing"),
        (array(f"{EXACT}/groups/outliers", np.zeros((4, 600, 600))), r"\(600, 600\) numbers .* not \(599, 599\)"),
        (array(f"{EXACT}/groups/outliers", np.zeros((4, 6, 7))), r"\(6, 7\) numbers .* not \(6, 6\)"),
        (
            array(f"{EXACT}/groups/probes", np.zeros((4, 1, 601, 601))),
            "at most 600 square ones of at most 600 steps",
        ),
        (array(f"{EXACT}/groups/left_out", np.zeros((4, 600))), "outliers' does not belong to this block"),
    ],
)
def test_projections_of_a_block_formed_whole_fit_it_too(edit, message):
    whole = to_bytes(sample_spectra.spectrum([sample_spectra.projected_exact_block()]))
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(edit, whole), where="x")


def test_what_fewer_steps_gave_comes_back_in_its_order():
    block = sample_spectra.joint_block()
    [back] = from_bytes(to_bytes(sample_spectra.spectrum([block])), where="x").blocks
    assert len(back.shorter) == 2
    for found, written in zip(back.shorter, block.shorter, strict=True):
        for part in ("outliers.values", "outliers.residuals", "probes.alphas", "probes.betas", "probes.last_betas"):
            assert np.array_equal(attrgetter(part)(found), attrgetter(part)(written))
        assert found.probes.simple.shape == (0,)
    assert back.groups.outliers.shape == (4, 3, 3)  # of fewer steps, so not as many as the block has


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (without("blocks/000/shorter/001/probes"), "shorter/001/probes' is missing"),
        (without("blocks/000/shorter/000/outliers"), "shorter/000/outliers' is missing"),
        (array("blocks/000/shorter/000/probes/alphas", np.zeros((3, 12))), r"shape \(4, 11\), not float64 and \(3"),
        (array("blocks/000/shorter/000/outliers/values", np.zeros(5)), r"not float64 and \(5\)"),
        (attribute("blocks/000/shorter/000", "encoding-type", np.bytes_("probes")), "not shorter-spectrum"),
        (
            lambda file: file["blocks/000/shorter"].create_dataset("002", data=np.zeros(3)),
            "is a dataset, not a group",
        ),
    ],
)
def test_what_fewer_steps_gave_must_be_whole(edit, message):
    content = to_bytes(sample_spectra.spectrum([sample_spectra.joint_block()]))
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(edit, content), where="x")


def test_fewer_steps_with_more_outliers_than_parameters_are_refused():
    cut = sample_spectra.lanczos_block(num_outliers=6)
    block = sample_spectra.lanczos_block(size=5, num_outliers=3)
    block = dataclasses.replace(block, shorter=(ShorterSpectrum(cut.outliers, cut.probes),))
    with pytest.raises(SpectrumFileError, match="shorter' holds more outliers than a block of size 5"):
        from_bytes(to_bytes(sample_spectra.spectrum([block])), where="x")


def test_more_outliers_than_parameters_are_refused(content):
    with pytest.raises(SpectrumFileError, match="outliers' are 6 of a block of size 5"):
        from_bytes(sealed(attribute(SAMPLED, "size", 5), content), where="x")


@pytest.mark.parametrize(("edit", "message"), HOSTILE)
def test_arrays_that_do_not_fit_their_block_are_refused(content, edit, message):
    with pytest.raises(SpectrumFileError, match=message):
        from_bytes(sealed(edit, content), where="x")


def test_projections_of_an_absurd_size_are_refused_before_they_are_read(content):
    def edit(file):
        del file[f"{SAMPLED}/groups/probes"]
        shape = (4, 10_000, 1_000, 1_000)
        projections = file.create_dataset(
            f"{SAMPLED}/groups/probes", shape=shape, dtype="<f8", chunks=(1, 1, 100, 100), compression="gzip"
        )
        projections[0, 0, 0, 0] = 1.0

    with pytest.raises(SpectrumFileError, match="declares 320,000,000,000 bytes"):
        from_bytes(sealed(edit, content), where="x")


def test_files_older_than_the_check_for_copies_say_so(content):
    def edit(file):
        for key in file["blocks"]:
            del file["blocks"][key].attrs["noise_floor"]
            del file["blocks"][key].attrs["multiplicity"]

    back = from_bytes(sealed(edit, content), where="x")
    assert [block.noise_floor for block in back.blocks] == [0.0] * 4
    assert [block.multiplicity for block in back.blocks] == ["whole", "lower bound", "lower bound", "lower bound"]


def test_a_block_without_groups_or_simple_values_has_none(content):
    def edit(file):
        for name in (f"{SAMPLED}/groups", f"{SAMPLED}/probes/simple"):
            del file[name]

    block = from_bytes(sealed(edit, content), where="x").blocks[1]
    assert (block.groups, block.probes.simple) == (None, None)


def test_an_empty_list_of_simple_values_is_not_a_missing_one():
    block = sample_spectra.lanczos_block()
    block = dataclasses.replace(block, probes=dataclasses.replace(block.probes, simple=np.zeros(0)))
    back = from_bytes(to_bytes(sample_spectra.spectrum([block])), where="x")
    assert back.blocks[0].probes.simple.shape == (0,)


def test_population_values_of_a_measure_that_is_not_there_are_refused(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    estimate = Estimate(1.0, 0.5, 1.5, population=Estimate(1.0, 0.1, 1.9))
    write_spectrum(path, sample_spectra.spectrum(), measures={"full": {"trace": estimate}})

    def edit(file):
        stored = file["blocks/002/measures/populations"][()].tobytes().replace(b"trace", b"tracy")
        del file["blocks/002/measures/populations"]
        file["blocks/002/measures"].create_dataset("populations", data=np.frombuffer(stored, np.uint8))

    path.write_bytes(sealed(edit, path.read_bytes()))
    with pytest.raises(SpectrumFileError, match="populations' holds 'tracy', which 'estimates' does not"):
        load_with_measures(path)


def test_a_budget_that_is_not_one_is_refused(tmp_path):
    path = tmp_path / "a.spectrum.h5"
    budget = {"probes": 0.1, "quadrature": 0.0, "data": None, "precision": None}
    measures = {"full": {"trace": Estimate(1.0, 0.9, 1.1)}}
    write_spectrum(path, sample_spectra.spectrum(), measures=measures, budgets={"full": {"trace": budget}})

    def edit(file):
        stored = file["blocks/002/measures/estimates"][()].tobytes().replace(b'"probes":0.1', b'"probes":[]')
        del file["blocks/002/measures/estimates"]
        file["blocks/002/measures"].create_dataset("estimates", data=np.frombuffer(stored, np.uint8))

    path.write_bytes(sealed(edit, path.read_bytes()))
    with pytest.raises(SpectrumFileError, match="does not have the fields of the schema: probes"):
        load_with_measures(path)


def test_groups_of_a_large_block_stay_below_a_megabyte():
    rng = np.random.default_rng(0)
    block = sample_spectra.lanczos_block(num_outliers=80)
    # Longer runs than the sample's: 40 steps of four probes.
    block = dataclasses.replace(
        block,
        probes=dataclasses.replace(
            block.probes, alphas=rng.random((4, 40)), betas=rng.random((4, 39)), last_betas=rng.random(4)
        ),
    )
    outliers, probes = rng.standard_normal((4, 80, 80)), rng.standard_normal((4, 4, 40, 40))
    groups = DataGroups(
        items=np.full(4, 32),
        outliers=outliers + outliers.swapaxes(1, 2),
        probes=probes + probes.swapaxes(2, 3),
    )
    bare = to_bytes(sample_spectra.spectrum([block]))
    kept = to_bytes(sample_spectra.spectrum([dataclasses.replace(block, groups=groups)]))
    assert len(kept) - len(bare) < 450_000
