"""The summary of a spectrum, for people and for programs."""

import csv
import io
import json
import math

import jsonschema
import pytest
import sample_spectra
from rich.cells import cell_len

from hessent import __version__
from hessent.errors import UsageError
from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures, error_budget, measure_names, tau
from hessent.report.document import to_json
from hessent.report.plain import to_csv
from hessent.report.schema import load_schema, schema_names
from hessent.report.selection import HEADLINE, Selection, SpectrumEntry, select_blocks
from hessent.report.summary import summary_tables
from hessent.report.summary_document import summary_document
from hessent.report.tables import footnotes
from hessent.report.terminal import table_lines
from hessent.spectra.derived import DerivedMeasures


@pytest.fixture(scope="module")
def resnet():
    """41 layers and the whole model, with their measures at hand as a file has them."""
    spectrum = sample_spectra.spectrum(sample_spectra.resnet_blocks())
    derived = {
        block.name: DerivedMeasures(__version__, compute_measures(block), error_budget(block))
        for block in spectrum.blocks
    }
    return SpectrumEntry("runs/adam/step-000400.spectrum.h5", spectrum, derived)


@pytest.fixture(scope="module")
def small():
    return SpectrumEntry("a.spectrum.h5", sample_spectra.spectrum())


def summary_table(entry, selection):
    """The first table of a summary."""
    return summary_tables(entry, selection)[0]


def lines_of(entry, width, selection=None):
    return [line.plain for line in table_lines(summary_table(entry, selection or Selection()), width)]


def test_a_resnet18_fits_120_columns_with_every_headline_measure(resnet):
    lines = lines_of(resnet, 120)
    assert max(cell_len(line) for line in lines) <= 120
    header = next(line for line in lines if line.startswith("block"))
    assert header.split() == ["block", "size", "trace", "λ_max", "λ_min", "λ", ">", "τ", "gap", "κ", "≥", "how"]
    assert not any("Too narrow" in line for line in lines)
    assert sum(line.startswith(("conv1", "bn1", "layer", "fc", "full")) for line in lines) == 42


def test_off_a_terminal_the_table_still_aims_at_120_columns(resnet):
    assert lines_of(resnet, None) == lines_of(resnet, 120)


def test_80_columns_keep_whole_numbers_and_say_what_is_missing(resnet):
    lines = lines_of(resnet, 80)
    rule = next(index for index, line in enumerate(lines) if line.startswith("──"))
    assert all(cell_len(line) <= 80 for line in lines[rule - 1 : rule + 43])
    assert lines[rule - 1].split()[:3] == ["block", "trace", "λ_max"]
    assert any(line.startswith("Too narrow for: ") for line in lines[-2:])
    assert not any("…" in line for line in lines[rule + 1 : rule + 43])


def test_at_most_four_lines_explain_the_numbers(resnet):
    table = summary_table(resnet, Selection())
    assert len(table.notes) <= 4
    assert all(cell_len(note) <= 120 for note in footnotes(table))


def test_rows_that_did_not_converge_or_are_indefinite_are_marked(resnet):
    table = summary_table(resnet, Selection())
    flags = {row[3]: row[4] for row in table.rows}
    assert "not-converged" in flags["conv1"]
    assert "not-converged" not in flags["layer1.0.conv1"]
    assert "negative-mass" in flags["bn1"]


def test_negative_mass_below_one_per_cent_is_not_marked():
    block = sample_spectra.exact_block()
    positive = sample_spectra.spectrum([block.__class__(**{**vars(block), "eigenvalues": abs(block.eigenvalues)})])
    [measured] = select_blocks(SpectrumEntry("x", positive), Selection())
    assert measured.flags == ()


def test_how_names_outliers_probes_and_steps(small):
    assert [measured.how for measured in select_blocks(small, Selection())] == ["exact", "6+4×12", "6+4×12"]


def test_synthetic_data_and_unfinished_runs_say_so_above_the_table():
    data = sample_spectra.spectrum().data
    made_up = type(data)(**{**vars(data), "synthetic": True})
    entry = SpectrumEntry("x", sample_spectra.spectrum(data=made_up, complete=False))
    text = "\n".join(lines_of(entry, None))
    assert "SYNTHETIC" in text
    assert "INCOMPLETE" in text
    assert "SYNTHETIC" not in "\n".join(lines_of(SpectrumEntry("x", sample_spectra.spectrum()), None))
    [found] = summary_document([entry], Selection())["spectra"]
    assert found["data"]["synthetic"] is True
    assert found["complete"] is False


def test_measures_at_hand_are_used_and_other_orders_are_derived(small):
    block = small.spectrum.blocks[0]
    odd = {name: Estimate.exactly(7.0) for name in measure_names()}
    entry = SpectrumEntry("x", small.spectrum, {block.name: DerivedMeasures(__version__, odd)})
    assert entry.measures_of(block, 1.0)["trace"].value == 7.0
    assert entry.measures_of(block, 2.0) == compute_measures(block, alpha=2.0)


@pytest.mark.parametrize("version", ["0.0.1", "99.0"])
def test_measures_of_another_version_are_derived_again(small, version):
    block = small.spectrum.blocks[0]
    odd = {name: Estimate.exactly(7.0) for name in measure_names()}
    entry = SpectrumEntry("x", small.spectrum, {block.name: DerivedMeasures(version, odd)})
    assert entry.measures_of(block, 1.0) == compute_measures(block)
    assert entry.budget_of(block, 1.0) == error_budget(block)


def test_selected_measures_are_the_columns(small):
    table = summary_table(small, Selection(measures=("entropy", "condition_damped"), alpha=2.0))
    titles = [column.title for column in table.columns if column.audience == "all"]
    assert titles == ["block", "", "size", "entropy α=2", "κ damped", "how"]


def test_alpha_may_be_infinite(small):
    table = summary_table(small, Selection(measures=("entropy",), alpha=math.inf))
    assert "entropy α=∞" in [column.title for column in table.columns]
    document = summary_document([small], Selection(alpha=math.inf))
    assert document["spectra"][0]["alpha"] == "inf"
    jsonschema.validate(document, load_schema("hessent.summary/1"))


def test_sorting_is_descending_and_puts_the_unknown_last(resnet):
    chosen = select_blocks(resnet, Selection(sort="lambda_max"))
    values = [measured.measures["lambda_max"].value for measured in chosen]
    assert values == sorted(values, reverse=True)
    sizes = [measured.block.size for measured in select_blocks(resnet, Selection(sort="size"))]
    assert sizes == sorted(sizes, reverse=True)


def test_blocks_are_chosen_by_glob_in_the_models_order(resnet):
    chosen = select_blocks(resnet, Selection(blocks=("full", "layer4.*.bn1")))
    assert [measured.block.name for measured in chosen] == ["layer4.0.bn1", "layer4.1.bn1", "full"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Selection(measures=("tracee",)),
            "--measure 'tracee': there is no such measure; did you mean 'trace'",
        ),
        (lambda: Selection(sort="siz"), "--sort 'siz': there is no such measure; did you mean 'size'"),
        (lambda: Selection(alpha=-1.0), "--alpha -1.0"),
        (lambda: Selection(alpha=math.nan), "--alpha nan"),
    ],
)
def test_a_wrong_selection_is_refused_with_a_suggestion(build, message):
    with pytest.raises(UsageError) as caught:
        build()
    assert message in str(caught.value)


def test_a_glob_that_matches_nothing_is_refused(small):
    with pytest.raises(UsageError, match=r"a\.spectrum\.h5: --block 'ful' matches no block; did you mean 'full'"):
        select_blocks(small, Selection(blocks=("ful",)))


def test_the_document_is_valid_and_holds_the_unrounded_numbers(resnet):
    document = json.loads(to_json(summary_document([resnet], Selection())))
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    [spectrum] = document["spectra"]
    assert [block["name"] for block in spectrum["blocks"]] == [*sample_spectra.resnet_block_names(), "full"]
    block = resnet.spectrum.block("conv1")
    shown = spectrum["blocks"][0]
    assert list(shown["measures"]) == list(measure_names())
    assert shown["measures"]["trace"]["value"] == compute_measures(block)["trace"].value
    assert shown["tau"] == tau(block)
    assert shown["budget"] == error_budget(block)
    assert "alpha" not in spectrum
    assert "synthetic" not in spectrum["data"]


def test_what_is_unknown_is_null_with_its_reason():
    block = sample_spectra.lanczos_block()
    noisy = block.__class__(**{**vars(block), "noise": 1e-3})
    document = summary_document([SpectrumEntry("x", sample_spectra.spectrum([noisy]))], Selection())
    text = to_json(document)
    jsonschema.validate(json.loads(text), load_schema("hessent.summary/1"))
    gap = document["spectra"][0]["blocks"][0]["measures"]["entropy_gap"]
    assert gap["value"] is None
    assert "noise" in gap["reason"]
    notes = footnotes(summary_table(SpectrumEntry("x", sample_spectra.spectrum([noisy])), Selection()))
    assert any("exceeds" in note and note.startswith("—") for note in notes)


def test_the_document_is_ascii_and_never_nan(small):
    sample = sample_spectra.spectrum([sample_spectra.exact_block("θ\x1b\udc80")])
    text = to_json(summary_document([SpectrumEntry("x\udc80", sample)], Selection()))
    assert text.isascii()
    assert json.loads(text)["spectra"][0]["blocks"][0]["name"] == "θ\x1b\udc80"
    with pytest.raises(ValueError):
        to_json({"x": math.nan})


def test_csv_names_every_measure_and_its_ends(small):
    text = to_csv([summary_table(small, Selection(measures=measure_names()))])
    first = next(csv.DictReader(io.StringIO(text)))
    assert first["file"] == "a.spectrum.h5"
    assert float(first["trace"]) == compute_measures(small.spectrum.blocks[0])["trace"].value
    assert {f"{name}_low" for name in measure_names()} <= first.keys()


def test_headline_and_columns_know_every_measure(small):
    assert set(HEADLINE) <= set(measure_names())
    assert len(summary_table(small, Selection(measures=measure_names())).rows) == 3


def test_an_empty_snapshot_says_so():
    lines = lines_of(SpectrumEntry("x", sample_spectra.spectrum([], complete=False)), 80)
    assert lines[-1] == "No block has been measured yet."


def test_every_schema_is_a_valid_schema_named_as_its_document():
    assert "hessent.summary/1" in schema_names()
    for name in schema_names():
        schema = load_schema(name)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["properties"]["schema"]["const"] == name == schema["$id"]
        assert schema["additionalProperties"] is False
    with pytest.raises(KeyError):
        load_schema("hessent.nothing/1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(extra=1),
        lambda document: document["spectra"][0]["blocks"][0]["measures"].pop("trace"),
        lambda document: document["spectra"][0]["blocks"][0]["measures"]["trace"].update(value="1"),
        lambda document: document["spectra"][0].pop("seed"),
        lambda document: document["spectra"][0]["blocks"][0].update(tau=-1.0),
    ],
)
def test_the_schema_refuses_a_changed_document(small, spoil):
    document = summary_document([small], Selection())
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, load_schema("hessent.summary/1"))
