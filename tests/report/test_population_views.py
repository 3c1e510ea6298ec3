"""The population that the data was drawn from, blocks of which only the trace is known, and further copies."""

import csv
import dataclasses
import io
import json
import re

import jsonschema
import numpy as np
import pytest
import sample_spectra
from rich.cells import cell_len

from hessent import __version__
from hessent.estimate import Estimate
from hessent.measures.registry import compute_measures, error_budget
from hessent.report.document import to_json
from hessent.report.first_look import first_look_table
from hessent.report.plain import to_csv, to_markdown
from hessent.report.schema import load_schema
from hessent.report.selection import HEADLINE, Selection, SpectrumEntry, select_blocks
from hessent.report.summary import summary_tables
from hessent.report.summary_document import summary_document
from hessent.report.tables import footnotes
from hessent.report.terminal import table_lines
from hessent.spectra.derived import DerivedMeasures

WIDTHS = (80, 100, 120, 200)
TITLE = (
    "For the population that the 128 samples were drawn from "
    "(4 groups of 32; 95 % t-intervals, 3 degrees of freedom)"
)


def known(block, **populations):
    """Measures of a block as a file stores them, with these population values (value, low, high) and no other."""
    measures = {
        name: dataclasses.replace(
            estimate, population=Estimate(*populations[name]) if name in populations else None
        )
        for name, estimate in compute_measures(block).items()
    }
    return DerivedMeasures(__version__, measures, error_budget(block))


def entry_of(blocks, populations, **changes):
    """An entry of 128 samples; `populations` by block name."""
    data = dataclasses.replace(sample_spectra.spectrum().data, samples=128)
    sample = sample_spectra.spectrum(blocks, **{"data": data, **changes})
    derived = {block.name: known(block, **populations.get(block.name, {})) for block in blocks}
    return SpectrumEntry("a.spectrum.h5", sample, derived)


@pytest.fixture(scope="module")
def grouped():
    """One block of each type: four population values each, one where only the trace is known."""
    blocks = sample_spectra.grouped_blocks()
    four = {
        "trace": (300.0, 260.0, 340.0),
        "abs_trace": (320.0, 280.0, 360.0),
        "lambda_max": (6.6, 4.0, 9.2),
        "entropy_gap": (1.75, 1.5, 2.0),
    }
    populations = {block.name: four for block in blocks} | {"layer2.0.conv1": {"trace": (30.0, 21.0, 39.0)}}
    return entry_of(blocks, populations)


@pytest.fixture(scope="module")
def resnet():
    """42 blocks whose population values have errors from 2 to 60 per cent."""
    rng = np.random.default_rng(0)
    blocks = [
        dataclasses.replace(block, groups=sample_spectra.grouped_exact_block().groups)
        for block in sample_spectra.resnet_blocks()
    ]
    populations = {}
    for block in blocks:
        measures = compute_measures(block)
        populations[block.name] = {
            name: (value, value * (1 - share), value * (1 + share))
            for name in ("trace", "abs_trace", "lambda_max", "entropy_gap")
            for value, share in [(measures[name].value, rng.uniform(0.02, 0.6))]
        }
    return entry_of(blocks, populations)


@pytest.fixture(scope="module")
def only_trace():
    """Two blocks of which nothing but the trace was measured, and no groups."""
    return entry_of(
        [sample_spectra.trace_block("conv1"), sample_spectra.trace_block("full", size=1_234_567, scale=3.0)], {}
    )


def lines_of(table, width):
    return [line.plain for line in table_lines(table, width)]


def test_the_second_table_names_the_population_and_shows_four_measures(grouped):
    _, population = summary_tables(grouped, Selection())
    assert lines_of(population, 120) == [
        TITLE,
        "block              trace  abs. trace  λ_max corrected        gap",
        "─" * 64,
        "layer1.0.bn1    300 ± 40    320 ± 40            7 ± 3  1.8 ± 0.2",
        "layer1.0.conv1  300 ± 40    320 ± 40            7 ± 3  1.8 ± 0.2",
        "layer2.0.conv1   30 ± 9       —                 —        —",
        "full            300 ± 40    320 ± 40            7 ± 3  1.8 ± 0.2",
        "± and a–b: error of the choice of samples and of the estimate together, from leaving each group out.",
        "λ_max corrected: less its bias, because on few samples the largest one is too large.",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_both_tables_of_a_resnet18_fit_the_terminal_and_cut_no_number(resnet, width):
    for table in summary_tables(resnet, Selection()):
        lines = lines_of(table, width)
        assert all(cell_len(line) <= width for line in lines)
        rule = next(index for index, line in enumerate(lines) if line.startswith("──"))
        rows = lines[rule + 1 : rule + 43]
        assert [row.split()[0] for row in rows] == [*sample_spectra.resnet_block_names(), "full"]
        assert not any(re.search(r"…(?!-?\d)", row) for row in rows)  # between digits it is an interval


@pytest.mark.parametrize("width", WIDTHS)
def test_no_column_of_the_population_is_left_out(resnet, width):
    lines = lines_of(summary_tables(resnet, Selection())[1], width)
    assert not any("Too narrow" in line for line in lines)
    header = next(line for line in lines if line.startswith("block"))
    assert header.split() == ["block", "trace", "abs.", "trace", "λ_max", "corrected", "gap"]


def test_without_groups_there_is_no_second_table():
    assert len(summary_tables(SpectrumEntry("x", sample_spectra.spectrum()), Selection())) == 1


def test_a_population_of_which_nothing_is_known_makes_no_table():
    block = sample_spectra.grouped_exact_block()
    entry = entry_of([block], {block.name: {"trace": (None, None, None)}})
    assert len(summary_tables(entry, Selection())) == 1


def test_blocks_without_groups_are_counted_not_listed(grouped):
    blocks = (*sample_spectra.grouped_blocks()[:2], sample_spectra.lanczos_block("plain"))
    entry = entry_of(blocks, {block.name: {"trace": (1.0, 0.5, 1.5)} for block in blocks[:2]})
    population = summary_tables(entry, Selection())[1]
    assert [row[0] for row in population.rows] == ["layer1.0.bn1", "layer1.0.conv1"]
    assert population.notes[-1] == "No groups were kept of 1 more block."
    assert not any("λ_max" in note for note in population.notes)


@pytest.mark.parametrize(
    ("items", "fraction", "title"),
    [
        ((32, 32, 32, 32), 0.0, TITLE),
        (
            (43, 43, 42),
            0.25,
            "For the population of 512 that the 128 samples were drawn from "
            "(3 groups of 42–43; 95 % t-intervals, 2 degrees of freedom)",
        ),
        (
            (8_192, 8_192),
            0.0,
            "For the population that the 128 samples were drawn from "
            "(2 groups of 8,192 tokens; 95 % t-intervals, 1 degree of freedom)",
        ),
    ],
)
def test_the_title_tells_how_many_groups_of_how_many(items, fraction, title):
    block = sample_spectra.grouped_exact_block(items=items)
    block = dataclasses.replace(block, groups=dataclasses.replace(block.groups, sampled_fraction=fraction))
    entry = entry_of([block], {block.name: {"trace": (1.0, 0.5, 1.5)}})
    assert summary_tables(entry, Selection())[1].title == title


def test_measures_chosen_by_name_are_those_of_the_population_too(grouped):
    chosen = Selection(measures=("entropy_gap", "positive_ratio"), blocks=("full",))
    _, population = summary_tables(grouped, chosen)
    assert lines_of(population, 120)[1].split() == ["block", "gap"]
    assert len(population.rows) == 1
    assert len(summary_tables(grouped, Selection(measures=("positive_ratio",)))) == 1


def test_csv_has_the_population_in_the_rows_of_the_blocks(grouped):
    text = to_csv(summary_tables(grouped, Selection(measures=HEADLINE)))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["block"] for row in rows] == ["layer1.0.bn1", "layer1.0.conv1", "layer2.0.conv1", "full"]
    ends = ("trace_population", "trace_population_low", "trace_population_high")
    assert [float(rows[0][end]) for end in ends] == [300.0, 260.0, 340.0]
    assert [rows[2][end.replace("trace", "lambda_max")] for end in ends] == ["", "", ""]
    assert "trace_population_exact" not in rows[0]
    assert rows[2]["tau"] == ""
    assert rows[2]["method"] == "hutch++"


def test_csv_has_the_same_columns_with_and_without_groups(grouped):
    plain = SpectrumEntry("x", sample_spectra.spectrum())
    headers = {to_csv(summary_tables(entry, Selection())).splitlines()[0] for entry in (grouped, plain)}
    assert len(headers) == 1


def test_markdown_has_a_second_table_below_its_title(grouped):
    text = to_markdown(summary_tables(grouped, Selection()))
    assert f"\n\n{TITLE}\n\n| block | trace | abs. trace | λ\\_max corrected | gap |\n" in text
    assert "| `layer2.0.conv1` | 30 ± 9 | — | — | — |" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_file_of_traces_shows_no_column_of_dashes(only_trace, width):
    [table] = summary_tables(only_trace, Selection())
    lines = lines_of(table, width)
    header = next(line for line in lines if line.startswith("block"))
    assert header.split() == ["block", "size", "trace", "how"]
    assert not any("—" in line for line in lines)
    assert next(line for line in lines if line.startswith("full")).split() == [
        *("full", "1,234,567", "89.97", "±", "0.07", "hutch++,", "20", "vectors")
    ]
    assert sum("Only the trace was measured" in line for line in lines) == 1


def test_a_file_of_traces_keeps_every_column_in_csv(only_trace):
    first = next(csv.DictReader(io.StringIO(to_csv(summary_tables(only_trace, Selection())))))
    assert first["entropy_gap"] == ""
    assert float(first["trace"]) == pytest.approx(29.99, abs=0.01)


def test_beside_other_blocks_a_trace_alone_says_why_the_rest_is_unknown(grouped):
    lines = lines_of(summary_tables(grouped, Selection())[0], 200)
    row = next(line for line in lines if line.startswith("layer2.0.conv1"))
    assert row.split() == [
        *("layer2.0.conv1", "73,728", "29.99", "±", "0.03"),
        *"—————",
        *("hutch++,", "20", "vectors"),
    ]
    assert any(line.startswith("— only the trace") for line in lines)


def test_population_of_a_file_of_traces_is_the_trace_alone():
    block = sample_spectra.trace_block("full", items=(32, 32, 32, 32))
    tables = summary_tables(entry_of([block], {"full": {"trace": (30.0, 20.0, 40.0)}}), Selection())
    lines = lines_of(tables[1], 120)
    assert lines[0].startswith("For the population of 512 that the 128 samples")
    assert lines[1].split() == ["block", "trace"]
    assert not any("λ_max" in line for line in lines)


def test_blocks_with_possible_further_copies_are_marked(grouped):
    measured = {m.block.name: m.flags for m in select_blocks(grouped, Selection())}
    assert "further-copies" in measured["layer1.0.conv1"]  # a sampled block whose multiplicity is a lower bound
    assert "further-copies" not in measured["full"]  # one that is whole
    assert measured["layer2.0.conv1"] == ()  # no eigenvalues, no copies
    [table, _] = summary_tables(grouped, Selection())
    assert "‡ some eigenvalues may have further copies (1 row)" in footnotes(table)


def test_the_document_holds_population_budget_and_multiplicity(grouped):
    document = json.loads(to_json(summary_document([grouped], Selection())))
    jsonschema.validate(document, load_schema("hessent.summary/1"))
    exact, sampled, trace_alone, _ = document["spectra"][0]["blocks"]
    assert sampled["measures"]["lambda_max"]["population"] == {"value": 6.6, "low": 4.0, "high": 9.2}
    assert "population" not in sampled["measures"]["condition_damped"]
    assert [block["multiplicity"] for block in (exact, sampled)] == ["whole", "lower bound"]
    assert (trace_alone["method"], trace_alone["tau"]) == ("hutch++", None)
    assert trace_alone["measures"]["entropy_gap"]["value"] is None
    for block in (exact, sampled, trace_alone):
        assert all(
            set(parts) == {"probes", "quadrature", "data", "precision"} for parts in block["budget"].values()
        )
    assert "trace" in trace_alone["budget"]
    assert "entropy_gap" in sampled["budget"]


def test_the_fields_of_the_contract_are_all_there_and_in_its_order(grouped):
    [spectrum] = summary_document([grouped], Selection())["spectra"]
    assert list(spectrum) == [
        *("file", "checkpoint", "data", "curvature", "loss", "seed", "complete", "blocks"),
    ]
    assert list(spectrum["checkpoint"]) == ["path", "sha256", "step", "progress", "arch"]
    assert list(spectrum["data"]) == ["name", "samples", "sha256"]
    assert list(spectrum["loss"]) == ["name", "value"]
    block = dict(spectrum["blocks"][1])
    assert block.pop("multiplicity") == "lower bound"
    assert list(block) == [
        *("name", "size", "method", "matvecs", "converged", "tau", "noise", "budget", "measures"),
    ]
    assert list(block["measures"]) == [
        *("trace", "abs_trace", "lambda_max", "lambda_min", "positive_ratio", "negative_ratio", "zero_ratio"),
        *("entropy", "entropy_gap", "effective_rank"),
        *("condition_lower_entropy", "condition_lower_ritz", "condition_damped"),
        *("gradient_entropy", "gradient_gap", "batch_gradient_entropy", "batch_gradient_gap"),
        *("gradient_top_share", "gradient_negative_share"),
    ]
    assert list(block["measures"]["trace"]) == ["value", "low", "high", "exact", "population"]
    assert list(block["budget"]["entropy_gap"]) == ["probes", "quadrature", "data", "precision"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: block.update(multiplicity="some"),
        lambda block: block.update(method="hutchinson"),
        lambda block: block["measures"]["trace"]["population"].update(exact=True),
        lambda block: block["measures"]["trace"]["population"].pop("low"),
        lambda block: block["budget"]["trace"].update(data="much"),
    ],
)
def test_the_schema_refuses_what_the_contract_does_not_have(grouped, spoil):
    document = summary_document([grouped], Selection())
    spoil(document["spectra"][0]["blocks"][1])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, load_schema("hessent.summary/1"))


def test_a_first_look_at_traces_shows_no_column_of_dashes(only_trace):
    lines = lines_of(first_look_table(only_trace.spectrum.blocks), 120)
    assert lines[0].split() == ["block", "size", "how", "trace"]
