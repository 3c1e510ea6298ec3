"""What a check prints for people, CI servers and programs: valid, complete, and deaf to names that give orders."""

import json
from xml.etree import ElementTree

import jsonschema
import pytest
from judged_samples import MAIN, UNKNOWN, block, judged, rule
from report_formats import GITLAB, junit_faults

from hessent.estimate import Estimate
from hessent.report.checks.github import MOST_ANNOTATIONS, escaped_property, plain_log, step_summary, to_annotations
from hessent.report.checks.gitlab import to_gitlab
from hessent.report.checks.judgement import judge
from hessent.report.checks.junit import to_junit
from hessent.report.checks.sentences import sentence
from hessent.report.checks.table import check_table
from hessent.report.plain import to_markdown
from hessent.report.schema import load_schema
from hessent.report.terminal import table_lines

EVIL = "layer\x1b[2J]]>&<b>\n::error::owned\r%0A,:|`@everyone\u202e\x00\ufffe##[error]x"


def around(value, width=0.1):
    return Estimate(value, value - width, value + width)


def sample(names=("fc", "full"), *, strict=False, **more):
    """A report with every outcome, at both levels, with and without a baseline."""
    blocks = {name: block(trace=around(2.0), lambda_max=UNKNOWN) for name in names}
    main = {name: block(trace=around(1.0)) for name in names}
    rules = [
        rule("trace", "max", 3.0, glob="*", file="ci/policy.toml", line=1),
        rule("trace", "max", 1.0, glob="*", file="ci/policy.toml", line=4),
        rule("trace", "max", 2.05, glob="*", file="ci/policy.toml", line=7),
        rule("trace", "max", 1.5, glob="*", level="warn", file="ci/policy.toml", line=11),
        rule("lambda_max", "min", 1.0, glob="*"),
        rule("trace", "max_increase", 0.2, relative=True, glob="*"),
    ]
    baseline = judged(main, file=MAIN, checkpoint_sha256="ef" * 32, data_sha256="00" * 32)
    return judge(rules, judged(blocks), {MAIN: baseline}, strict=strict, **more)


REPORTS = pytest.mark.parametrize("report", [sample(), sample([EVIL])], ids=["plain", "evil"])


def test_the_sample_has_every_outcome():
    found = [(result.outcome, result.fails) for result in sample(["full"]).results]
    expected = [("holds", False), ("violated", True), ("unsure", False), ("violated", False), ("unsure", True)]
    assert found == [*expected, ("violated", True)]
    assert sample().results[4].fails is False
    strict = judge([rule("trace", "max", 2.05)], judged({"full": block(trace=around(2.0))}), {}, strict=True)
    assert (strict.outcome, strict.failed) == ("unsure", True)


@REPORTS
def test_json_is_valid_and_strict(report):
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    jsonschema.validate(document, load_schema("hessent.check/1"))
    assert (document["outcome"], document["failed"]) == ("violated", True)
    for entry, result in zip(document["results"], report.results, strict=True):
        assert entry["block"] == result.block
        assert entry["fails"] is result.fails
        assert (entry["value"], entry["low"], entry["high"]) == (
            result.quantity.value,
            result.quantity.low,
            result.quantity.high,
        )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(outcome="passed"),
        lambda document: document["results"][0].pop("fails"),
        lambda document: document["results"][0].update(bound=None),
        lambda document: document["results"][-1].pop("paired"),
    ],
)
def test_the_schema_refuses_what_is_no_check(spoil):
    document = sample().to_json()
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, load_schema("hessent.check/1"))


@REPORTS
def test_junit_is_valid_with_one_case_per_rule_and_block(report):
    root = ElementTree.fromstring(to_junit(report))
    assert not junit_faults(root)
    cases = list(root.iter("testcase"))
    assert len(cases) == len(report.results)
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    for case, result in zip(cases, report.results, strict=True):
        expected = ["failure"] if result.fails else ["skipped"] if result.outcome == "unsure" else []
        assert [child.tag for child in case if child.tag != "system-out"] == expected
        assert (case.find("system-out") is not None) == (result.outcome == "violated" and not result.fails)


def test_what_junit_validation_knows_of_is_refused():
    root = ElementTree.fromstring(to_junit(sample()))
    for spoil in ({"name": None}, {"tests": "7"}, {"tests": "many"}, {"color": "red"}):
        spoiled = ElementTree.fromstring(ElementTree.tostring(root))
        for key, value in spoil.items():
            if value is None:
                del spoiled[0].attrib[key]
            else:
                spoiled[0].set(key, value)
        assert junit_faults(spoiled)


@REPORTS
def test_gitlab_is_valid_and_lists_all_that_does_not_hold(report):
    findings = json.loads(to_gitlab(report))
    jsonschema.validate(findings, GITLAB)
    assert len(findings) == sum(result.outcome != "holds" for result in report.results)
    assert len({finding["fingerprint"] for finding in findings}) == len(findings)
    severities = {finding["severity"] for finding in findings}
    assert severities == {"critical", "major", "minor", "info"}
    assert findings[0]["location"] == {"path": "ci/policy.toml", "lines": {"begin": 4}}


def fingerprints(value, bound):
    blocks = {"full": block(trace=around(value))}
    report = judge([rule("trace", "max", bound, file="./policy.toml")], judged(blocks), {})
    return [finding["fingerprint"] for finding in json.loads(to_gitlab(report))]


def test_a_finding_of_gitlab_stays_the_same_while_its_number_moves():
    assert fingerprints(2.0, 1.0) == fingerprints(3.0, 1.0) == fingerprints(3.0, 1.5)
    assert fingerprints(2.0, 1.0)[0] != json.loads(to_gitlab(sample()))[0]["fingerprint"]


def commands(report):
    lines = to_annotations(report).splitlines()
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    return lines


@REPORTS
def test_github_has_one_annotation_per_rule(report):
    lines = commands(report)
    failing = {result.rule for result in report.results if result.fails}
    assert sum(line.startswith("::error ") for line in lines) == len(failing)
    assert "file=ci/policy.toml,line=4::" in lines[0]


@pytest.mark.parametrize("level", ["fail", "warn"])
@pytest.mark.parametrize("number", [9, 10, 11, 300])
def test_github_never_gets_more_annotations_than_it_shows(level, number):
    rules = [rule("trace", "max", 1.0 + index / 1e4, level=level, glob="*") for index in range(number)]
    blocks = {f"layer{index}": block(trace=around(2.0)) for index in range(30)}
    lines = commands(judge(rules, judged(blocks), {}))
    assert len(lines) == min(number, MOST_ANNOTATIONS)
    assert all(line.startswith("::error " if level == "fail" else "::warning ") for line in lines)
    assert "and 10 more" in lines[0]
    if number > MOST_ANNOTATIONS:
        assert f"title={number - 9} more rules" in lines[-1]


def test_a_name_gives_no_orders_to_github():
    report = sample([EVIL])
    log = plain_log("\n".join(line.plain for line in table_lines(check_table(report), None)))
    assert "##[" not in log
    assert not [line for line in log.split("\n") if line.lstrip().startswith("::")]
    lines = (log + "\n" + "\n".join(commands(report))).split("\n")
    assert any("owned" in line for line in lines)
    assert all(letter.isprintable() for line in lines for letter in line)
    assert plain_log("  ::error::x\n##[add-mask]y") == "·   ::error::x\n## [add-mask]y"
    assert escaped_property("a%b:c,d\r\ne") == "a%25b%3Ac%2Cd%0D%0Ae"


def test_annotations_escape_what_ends_them():
    blocks = {"50%, or: so": block(trace=around(2.0))}
    (line,) = commands(judge([rule("trace", "max", 1.0, glob="50%, or: so")], judged(blocks), {}))
    properties, message = line.removeprefix("::error ").split("::", 1)
    assert properties == "title=50%25%2C or%3A so%3Atrace max 1"
    assert message.startswith("50%25, or: so: trace is 2.00 ± 0.10: at most 1 is allowed")


def test_the_summary_page_is_never_larger_than_github_takes():
    blocks = {f"{index:05}" + "x" * 3_000: block(trace=around(2.0)) for index in range(1_500)}
    page = step_summary(judge([rule("trace", "max", 1.0, glob="*")], judged(blocks), {}))
    assert len(page.encode()) <= 1_000_000
    assert "more rows are left out here" in page
    assert page.startswith("### hessent check: FAILED: of 1,500 checks 1,500 violated.")


def test_the_table_puts_what_fails_first_and_says_how_it_was_decided():
    lines = [line.plain for line in table_lines(check_table(sample()), None)]
    rows = [line.split()[0] for line in lines[lines.index(next(x for x in lines if x.startswith("──"))) + 1 :]]
    assert rows[:12] == ["VIOLATED"] * 4 + ["UNKNOWN"] * 2 + ["violated"] * 2 + ["unsure"] * 2 + ["holds"] * 2
    text = "\n".join(lines)
    assert "FAILED: of 12 checks 4 violated, 2 violated at level warn, 2 unknown, 2 unsure, 2 hold." in text
    assert "the change includes that of the data" in text
    assert "unpaired" in text
    assert "fails with --strict alone" in text


@pytest.mark.parametrize(("width", "hidden"), [(80, "before"), (60, "before, change, now")])
def test_a_narrow_terminal_shows_fewer_columns_and_says_which_are_missing(width, hidden):
    lines = [line.plain for line in table_lines(check_table(sample()), width, in_full="markdown")]
    assert max(map(len, lines)) <= width
    assert f"Too narrow for: {hidden}." in " ".join(lines)
    assert "--format markdown shows all." in " ".join(lines)


def test_where_only_changes_are_bounded_the_change_stays_in_a_narrow_terminal():
    main = judged({"full": block(trace=around(1.0))}, file=MAIN)
    changes = judge(
        [rule("trace", "max_increase", 0.2, relative=True)],
        judged({"full": block(trace=around(2.0))}),
        {MAIN: main},
    )
    lines = [line.plain for line in table_lines(check_table(changes), 60)]
    assert max(map(len, lines)) <= 60
    assert any(line.split()[-1] == "change" for line in lines if line)
    assert "Too narrow for: before, now." in " ".join(lines)


def test_markdown_shows_names_as_code_on_one_line():
    page = to_markdown([check_table(sample([EVIL]))])
    rows = [line for line in page.split("\n") if "owned" in line]
    assert len(rows) == 6
    assert all("| `` layer" in row and "@everyone" in row for row in rows)
    assert all(letter.isprintable() for line in page.split("\n") for letter in line)


@pytest.mark.parametrize(
    ("kind", "relative", "expected"),
    [
        ("max", False, "full: trace is 2.00 ± 0.10: at most 0.2 is allowed"),
        ("min", False, "full: trace is 2.00 ± 0.10: at least 0.2 is allowed"),
        (
            "max_increase",
            True,
            "trace has an increase of +100 ± 20 % (from 1.00 ± 0.10 to 2.00 ± 0.10): at most 20%",
        ),
        (
            "max_decrease",
            False,
            "trace has a decrease of -1.00 ± 0.14 (from 1.00 ± 0.10 to 2.00 ± 0.10): at most 0.2",
        ),
        (
            "max_ratio",
            False,
            "trace has the ratio 2.0 ± 0.2 (from 1.00 ± 0.10 to 2.00 ± 0.10): at most 0.2 is allowed",
        ),
    ],
)
def test_a_sentence_says_what_was_compared_with_what(kind, relative, expected):
    main = judged({"full": block(trace=around(1.0))}, file=MAIN, checkpoint_sha256="ef" * 32)
    report = judge(
        [rule("trace", kind, 0.2, relative=relative)], judged({"full": block(trace=around(2.0))}), {MAIN: main}
    )
    assert expected in sentence(report.results[0])
