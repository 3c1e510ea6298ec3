"""One table, four forms: what is shown to people is what programs get, and no number is ever cut."""

import csv
import io

import pytest
from rich.cells import cell_len

from hessent.estimate import Estimate
from hessent.report.plain import to_csv, to_markdown
from hessent.report.tables import Column, Flag, Table, footnotes
from hessent.report.terminal import table_lines

NOISY = "the products are too noisy"


@pytest.fixture
def table():
    return Table(
        columns=(
            Column("file", "file", "name", audience="programs"),
            Column("block", "block", "name"),
            Column("flags", "", "flags"),
            Column("size", "size", "count", priority=2),
            Column("trace", "trace", "estimate"),
            Column("ratio", "λ > τ", "bracket", priority=1),
            Column("bound", "κ ≥", "lower-bound", priority=3),
            Column("how", "how", audience="people", priority=4),
        ),
        rows=(
            (
                "a|b.h5",
                "conv1",
                ("odd",),
                36_864,
                _estimate(12.345, 0.4),
                Estimate(0.5, 0.42, 0.61),
                _least(41.6),
                "6+4×12",
            ),
            (
                "a|b.h5",
                "b|n`\x1b[31m",
                (),
                64,
                Estimate.exactly(0.5),
                Estimate.unknown(NOISY),
                _least(2.0),
                "exact",
            ),
        ),
        facts=(("checkpoint", "runs/\u202estep.safetensors"),),
        notes=("a note",),
        flags=(Flag("odd", "*", "odd in some way"), Flag("rare", "†", "never raised")),
    )


def _estimate(value, error):
    return Estimate(value, value - error, value + error)


def _least(low):
    return Estimate(low, low, None)


def rendered(table, width):
    return [line.plain for line in table_lines(table, width)]


def test_all_columns_stand_below_their_titles(table):
    assert rendered(table, 120) == [
        "checkpoint  runs/\\u202estep.safetensors",
        "",
        "block              size         trace      λ > τ   κ ≥  how",
        "──────────────────────────────────────────────────────────────",
        "conv1         *  36,864    12.3 ± 0.4  0.42–0.61  41.6  6+4×12",
        "b|n`\\x1b[31m         64  0.5000                —  2.00  exact",
        "* odd in some way (1 row)",
        f"— {NOISY} (λ > τ; 1 number)",
        "a note",
    ]


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 200])
def test_no_line_of_the_grid_is_wider_than_the_terminal(table, width):
    lines = rendered(table, width)
    grid = lines[2 : lines.index("* odd in some way (1 row)")]
    assert all(cell_len(line) <= width for line in grid)


def test_dropped_columns_are_named_in_the_order_they_went(table):
    last = " ".join(rendered(table, 40)[-2:])
    assert "Too narrow for: how, κ ≥" in last
    assert "--format csv" in last


def test_spacing_goes_before_columns(table):
    full = rendered(table, 120)
    width = max(cell_len(line) for line in full[2:6])
    tight = rendered(table, width - 4)
    assert "Too narrow" not in tight[-1]
    assert any("12.3±0.4" in line for line in tight)


def test_off_a_terminal_nothing_is_left_out():
    columns = tuple(Column(f"c{index}", f"c{index}", "number", priority=index) for index in range(60))
    table = Table(columns=columns, rows=(tuple(float(index) for index in range(60)),))
    lines = rendered(table, None)
    assert "c59" in lines[0]
    assert "59.00" in lines[2]
    assert len(lines) == 3


def test_numbers_survive_at_any_width(table):
    for width in range(10, 100):
        assert any("12.3" in line and "0.4" in line for line in rendered(table, width))


def test_a_long_name_is_folded_not_cut():
    table = Table(
        columns=(Column("name", "name", "name"), Column("x", "x", "number")), rows=(("n" * 50, 1.5), ("short", 2.5))
    )
    lines = rendered(table, 30)
    assert all(cell_len(line) <= 30 for line in lines)
    assert "".join(line.split()[0] for line in lines[2:-1]) == "n" * 50
    assert lines[2].endswith("1.500")


def test_wide_letters_keep_the_columns_straight():
    table = Table(
        columns=(Column("name", "name", "name"), Column("x", "x", "number")), rows=(("層", 1.5), ("ab", 2.5))
    )
    lines = rendered(table, None)
    assert [cell_len(line) for line in lines[2:]] == [cell_len(lines[2])] * 2


def test_names_are_never_read_as_markup_and_never_carry_control_characters(table):
    lines = table_lines(table, None)
    assert not any(letter in line.plain for line in lines for letter in "\x1b\u202e")
    assert all(not line.spans or line.plain != "[/red]" for line in lines)


def test_csv_holds_raw_numbers_in_four_columns_per_estimate(table):
    header, first, second = list(csv.reader(io.StringIO(to_csv([table]))))
    assert header[:5] == ["file", "block", "flags", "size", "trace"]
    assert header[4:8] == ["trace", "trace_low", "trace_high", "trace_exact"]
    row = dict(zip(header, first, strict=True))
    assert row["file"] == "a|b.h5"
    assert row["flags"] == "odd"
    assert float(row["trace"]) == 12.345
    assert float(row["trace_high"]) == 12.345 + 0.4
    assert row["trace_exact"] == "false"
    assert row["bound_high"] == ""
    assert "how" not in row
    unknown = dict(zip(header, second, strict=True))
    assert [unknown[key] for key in ("ratio", "ratio_low", "ratio_high")] == ["", "", ""]
    assert unknown["block"] == "b|n`\\x1b[31m"


def test_csv_of_several_tables_has_one_header(table):
    assert to_csv([table, table]).count("trace_low") == 1
    assert len(to_csv([table, table]).splitlines()) == 5


def test_markdown_escapes_what_would_end_a_cell(table):
    text = to_markdown([table])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| block |  | size | trace | λ \\> τ | κ ≥ | how |"
    assert rows[1] == "| :-- | :-- | --: | --: | --: | --: | :-- |"
    assert rows[2] == "| `conv1` | \\* | 36,864 | 12.3 ± 0.4 | 0.42–0.61 | 41.6 | 6+4×12 |"
    assert rows[3].startswith("| `` b\\|n`\\x1b[31m `` |")
    assert "- checkpoint: `runs/\\u202estep.safetensors`" in text


def test_footnotes_tell_flags_reasons_then_notes(table):
    assert footnotes(table) == ["* odd in some way (1 row)", f"— {NOISY} (λ > τ; 1 number)", "a note"]


def test_a_column_of_flags_that_nobody_raised_is_not_shown(table):
    quiet = Table(columns=table.columns, rows=table.rows[1:], flags=table.flags)
    assert "*" not in "".join(rendered(quiet, None))
    assert quiet.rows[0][2] == ()
    assert to_markdown([quiet]).splitlines()[0] == "| block | size | trace | λ \\> τ | κ ≥ | how |"


def test_an_interval_by_its_ends_stands_under_value_and_error_alike():
    cells = (Estimate(1.5, 1.2, 1.8), Estimate(1e-4, 9e-5, 4e-4), Estimate.exactly(0.25))
    table = Table((Column("a", "a", "estimate"), Column("b", "b")), tuple((cell, "x") for cell in cells))
    rows = [line.plain for line in table_lines(table, 80)][2:]
    assert rows == ["    1.5 ± 0.3  x", "9.0e-5–4.0e-4  x", " 0.2500        x"]


def test_a_fact_without_a_label_goes_on_with_the_item_above_in_markdown():
    table = Table((Column("a", "a"),), (("x",),), facts=(("curvature", "hessian"), ("", "its *definition*")))
    assert to_markdown([table]).startswith("- curvature: `hessian`\n  `its *definition*`\n\n| a |")
