"""Measures of mini-batches' gradients between runs: of one size they are compared, of two never, in no form."""

import dataclasses
import json

import jsonschema
import pytest
import sample_spectra

import hessent
from hessent.errors import UsageError
from hessent.measures.mini_batches import OF_BATCHES, obstacle
from hessent.report.checks.baseline_file import baseline_document, baseline_text
from hessent.report.checks.judged_spectrum import judged_entry
from hessent.report.comparison_blocks import block_tables
from hessent.report.comparison_tables import comparison_tables
from hessent.report.plain import to_csv
from hessent.report.schema import load_schema
from hessent.report.selection import Selection, SpectrumEntry
from hessent.report.summary_document import summary_document

GAP = "batch_gradient_gap"


def sample(size, seed=0, checkpoint="a"):
    block = sample_spectra.with_gradient(sample_spectra.lanczos_block("full", seed=5), seed)
    gradient = dataclasses.replace(block.gradient, batch_size=size)
    spectrum = sample_spectra.spectrum([dataclasses.replace(block, gradient=gradient)])
    return dataclasses.replace(
        spectrum, checkpoint=dataclasses.replace(spectrum.checkpoint, sha256=checkpoint * 64)
    )


def summary(spectrum):
    return json.loads(json.dumps(summary_document([SpectrumEntry("a", spectrum)], Selection())))


def without_sizes(document):
    for spectrum in document.get("spectra", [document]):
        for block in spectrum["blocks"]:
            del block["mini_batch_size"]
    return document


def differences(comparison):
    (found,) = comparison.differences
    return found.measures


FORMS = pytest.mark.parametrize("form", [lambda spectrum: spectrum, summary], ids=["file", "json"])


@FORMS
def test_between_two_sizes_there_is_no_difference_and_none_but_those_of_batches_is_missing(form):
    found = differences(hessent.compare(form(sample(8)), form(sample(64, seed=1)), measures=[GAP]))
    for name in OF_BATCHES:
        assert (found[name].value, found[name].low, found[name].high) == (None, None, None)
        assert found[name].reason == "mini-batches of 8 and of 64 samples"
    assert found["gradient_gap"].value is not None
    assert found["trace"].value is not None


@FORMS
def test_of_one_size_they_are_compared(form):
    found = differences(hessent.compare(form(sample(8)), form(sample(8, seed=1)), measures=[GAP]))
    assert all(found[name].value for name in OF_BATCHES)


def test_numbers_that_happen_to_be_equal_are_no_difference_of_zero():
    one, other = summary(sample(8)), summary(sample(64))
    assert one["spectra"][0]["blocks"][0]["measures"] == other["spectra"][0]["blocks"][0]["measures"]
    assert differences(hessent.compare(one, other))[GAP].value is None
    assert differences(hessent.compare(one, summary(sample(8))))[GAP].value == 0.0


def test_a_document_that_does_not_state_the_size_is_of_unknown_size():
    older = without_sizes(summary(sample(8)))
    for other in (summary(sample(8, seed=1)), without_sizes(summary(sample(8, seed=1))), sample(8, seed=1)):
        found = differences(hessent.compare(older, other))[GAP]
        assert found.value is None
        assert "size of the mini-batches is not stated" in found.reason
    assert obstacle(None, None) == found.reason


def test_it_warns_where_such_a_measure_is_shown_and_strict_refuses():
    runs = sample(8), sample(64, seed=1)
    found = hessent.compare(*runs, measures=[GAP, "trace"])
    assert any("mini-batches of 8 and of 64 samples" in text for text in found.warnings)
    assert "gap of mini-batches" not in found.sentence
    with pytest.raises(UsageError) as caught:
        hessent.compare(*runs, measures=[GAP], strict=True)
    assert any("mini-batches of 8 and of 64" in problem for problem in caught.value.problems)
    assert not hessent.compare(*runs, strict=True).warnings
    assert not hessent.compare(sample(8), sample(8, seed=1), measures=[GAP], strict=True).warnings


def test_the_size_stands_in_json_below_the_table_and_in_csv():
    found = hessent.compare(sample(8), sample(64, seed=1), measures=[GAP])
    document = json.loads(json.dumps(found.to_json()))
    jsonschema.validate(document, load_schema("hessent.compare/1"))
    sizes = [run["checkpoints"][0]["mini_batch_sizes"] for run in document["runs"]]
    assert sizes == [{"full": 8}, {"full": 64}]
    for tables in (comparison_tables(found), block_tables(found)):
        notes = " ".join(note for table in tables for note in table.notes)
        assert "of 8 samples" in notes
        assert "of 64 samples" in notes
    header, *rows = to_csv(comparison_tables(found)).splitlines()
    column = header.split(",").index("mini_batch_size")
    assert [row.split(",")[column] for row in rows] == ["8", "64", ""]


CHANGES = [
    {"max_decrease": "10%"},
    {"max_increase": "1000%"},
    {"max_decrease": 100},
    {"max_increase": 100},
    {"max_ratio": 1e6},
    {"min_ratio": 1e-6},
]


@pytest.mark.parametrize("bound", CHANGES, ids=str)
def test_no_rule_on_a_change_passes_between_two_sizes_or_one_that_is_not_known(bound):
    rules = [{"measure": GAP, **bound}]
    run, baseline = sample(64, seed=1, checkpoint="b"), sample(8)
    documents = summary(run), baseline_document(judged_entry(SpectrumEntry("a", baseline)))
    unstated = without_sizes(baseline_document(judged_entry(SpectrumEntry("a", sample(64)))))
    cases = [(run, baseline, "of 8 and of 64"), (*documents, "of 8 and of 64"), (run, unstated, "not stated")]
    for one, other, reason in cases:
        report = hessent.check(one, rules, baseline=other)
        (result,) = report.results
        assert report.failed
        assert result.quantity.value is None
        assert reason in result.quantity.reason
    assert hessent.check(run, rules, baseline=sample(64)).results[0].quantity.value is not None


def test_a_run_held_against_its_own_older_baseline_has_not_changed():
    run = summary(sample(8))
    older = without_sizes(baseline_document(judged_entry(SpectrumEntry("a", sample(8)))))
    report = hessent.check(run, [{"measure": GAP, "max_increase": 0}], baseline=older)
    assert report.outcome == "holds"
    assert report.results[0].quantity.value == 0.0


def test_baselines_summaries_and_checks_state_the_size():
    spectrum = judged_entry(SpectrumEntry("a", sample(8)))
    baseline, document = json.loads(baseline_text(spectrum)), summary(sample(64, seed=1))
    assert baseline == json.loads(json.dumps(baseline_document(spectrum)))
    jsonschema.validate(baseline, load_schema("hessent.baseline/1"))
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    assert baseline["blocks"][0]["mini_batch_size"] == 8
    assert document["spectra"][0]["blocks"][0]["mini_batch_size"] == 64
    rules = [{"measure": GAP, "max_increase": 1}, {"measure": "trace", "max": 1}]
    found = hessent.check(document, rules, baseline=baseline).to_json()
    jsonschema.validate(found, load_schema("hessent.check/1"))
    of_batches, of_trace = found["results"]
    assert (of_batches["mini_batch_size"], of_batches["baseline"]["mini_batch_size"]) == (64, 8)
    assert "mini_batch_size" not in of_trace


def test_a_size_that_is_no_number_is_refused():
    document = summary(sample(8))
    document["spectra"][0]["blocks"][0]["mini_batch_size"] = "8"
    with pytest.raises(hessent.errors.SpectrumFileError):
        hessent.check(document, [{"measure": GAP, "max": 1}])
