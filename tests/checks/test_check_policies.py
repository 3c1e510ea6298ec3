"""Policies and rules typed: whatever could make a rule silently pass is refused, all of it at once."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_samples import MAIN, block, judged, rule

from hessent.errors import UsageError
from hessent.estimate import Estimate
from hessent.measures.registry import measure_names
from hessent.report.checks.judgement import judge
from hessent.report.checks.policy import rules_of_policy
from hessent.report.checks.policy_file import MAX_BYTES, find_project_policy, read_policy
from hessent.report.checks.typed_rules import rules_of_words
from hessent.report.measure_columns import measures_with_columns

GOOD = {"measure": "trace", "max": 1.0}


def problems(entry, **options):
    with pytest.raises(UsageError) as caught:
        rules_of_policy({"rule": [entry] if isinstance(entry, dict) else entry}, **options)
    return "\n".join(caught.value.problems)


def test_a_rule_may_be_about_every_measure_and_no_other():
    assert measures_with_columns() == measure_names()


def test_the_policy_of_the_contract_is_read():
    entry = {"measure": "entropy_gap", "block": "layer4.*", "max": 6.0, "baseline": MAIN, "level": "fail"}
    (found,) = rules_of_policy({"rule": [entry]})
    assert (found.measure, found.block, found.bound.number, found.level) == ("entropy_gap", "layer4.*", 6.0, "fail")
    assert found.text == "layer4.*:entropy_gap max 6"
    assert found.baseline is None  # a bound on the value needs none, so none is opened


def test_every_bound_becomes_a_rule_of_its_own():
    entry = {"measure": "trace", "min": 1, "max": 2, "max_increase": "20%", "min_ratio": 0.5, "baseline": MAIN}
    found = rules_of_policy({"rule": [entry]})
    assert [one.bound.kind.key for one in found] == ["max", "min", "max_increase", "min_ratio"]
    assert [one.bound.number for one in found] == [2.0, 1.0, 0.2, 0.5]
    assert [one.bound.relative for one in found] == [False, False, True, False]
    assert [one.block for one in found] == ["full"] * 4


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"measure": "trace"}, "has no bound"),
        ({"max": 1.0}, "names no measure"),
        (GOOD | {"measure": "tracee"}, "did you mean 'trace'"),
        (GOOD | {"measure": 3}, "measure is 3, not a text"),
        (GOOD | {"blok": "x"}, "did you mean 'block'?"),
        (GOOD | {"block": ""}, "block is '', not a text"),
        (GOOD | {"level": "error"}, "not one of fail, warn"),
        ({"measure": "trace", "max": math.nan}, "nan, not a finite number"),
        ({"measure": "trace", "min": -math.inf}, "-inf, not a finite number"),
        ({"measure": "trace", "max": 10**400}, "not a finite number"),
        ({"measure": "trace", "max": True}, "True, not a finite number"),
        ({"measure": "trace", "max": "250"}, "'250', not a finite number"),
        ({"measure": "trace", "max": "20%"}, "a percentage is for max_increase and max_decrease"),
        ({"measure": "trace", "max_increase": "20 percent", "baseline": MAIN}, "not a finite number"),
        ({"measure": "trace", "max_increase": "nan%", "baseline": MAIN}, "not a finite number"),
        ({"measure": "trace", "max_increase": -1, "baseline": MAIN}, "is negative"),
        ({"measure": "trace", "max_ratio": 0, "baseline": MAIN}, "not above zero"),
        ({"measure": "trace", "max_increase": "20%"}, "max_increase without a baseline"),
        ({"measure": "trace", "max_ratio": 2, "min_ratio": 0.5}, "max_ratio and min_ratio without a baseline"),
        ({"measure": "trace", "min": 2, "max": 1}, "nothing can hold both"),
        ({"measure": "trace", "min_ratio": 2, "max_ratio": 1, "baseline": MAIN}, "nothing can hold both"),
        ({"measure": "positive_ratio", "max": 60}, "is a share from 0 to 1"),
        ([3], "is 3, not a table"),
        ([], "there is no [[rule]]"),
        (3, "write [[rule]], in double brackets"),
    ],
)
def test_a_rule_that_is_wrong_says_why(entry, message):
    assert message in problems(entry)


def test_all_problems_of_all_rules_come_at_once():
    text = problems([{"measure": "tracee", "max": math.nan}, {"blok": 1}])
    assert [part in text for part in ("rule 1: there is no measure", "rule 1: max is nan", "rule 2: 'blok'")]
    assert text.count("\n") == 4


@pytest.mark.parametrize("table", [None, [], 3, {}, {"rule": []}, {"rules": [GOOD]}, {"rule": {"a": GOOD}}])
def test_what_is_no_policy_is_refused(table):
    with pytest.raises(UsageError):
        rules_of_policy(table)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["rule", "measure", "max", "min", "max_ratio", "block", "level", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_policy_it_is_rules_or_an_error(table):
    with contextlib.suppress(UsageError):
        assert rules_of_policy(table)


def test_typed_rules_say_what_policies_say():
    given_words = {"max": ["lambda_max=250", "layer4.*:entropy_gap=6"], "max_increase": ["trace=20%", "trace=1.5"]}
    found = rules_of_words(given_words, baseline=MAIN)
    assert [one.text for one in found] == [
        "full:lambda_max max 250",
        "layer4.*:entropy_gap max 6",
        "full:trace max_increase 20%",
        "full:trace max_increase 1.5",
    ]
    assert [one.baseline for one in found] == [None, None, MAIN, MAIN]


def test_globs_typed_apart_go_with_every_rule_that_names_none():
    found = rules_of_words({"min": ["trace=1", "fc:trace=2"]}, blocks=["a*", "b*"])
    assert [one.block for one in found] == ["a*", "b*", "fc"]


@pytest.mark.parametrize(
    ("kind", "word", "message"),
    [
        ("max", "trace", "is not MEASURE=NUMBER"),
        ("max", "trace=", "not a finite number"),
        ("max", "trace=inf", "not a finite number"),
        ("max", "=3", "there is no measure ''"),
        ("max", ":trace=3", "the glob before the colon is empty"),
        ("max_increase", "trace=3", "without a baseline"),
    ],
)
def test_a_typed_rule_that_is_wrong_says_why(kind, word, message):
    with pytest.raises(UsageError) as caught:
        rules_of_words({kind: [word]})
    assert message in "\n".join(caught.value.problems)


def refused(rules, run, baselines=None, **options):
    with pytest.raises(UsageError) as caught:
        judge(rules, run, baselines or {}, **options)
    return "\n".join(caught.value.problems)


ONE = Estimate.exactly(1.0)


def test_a_glob_that_matches_nothing_is_refused_with_what_was_meant():
    run = judged({"layer4.0.conv1": block(trace=ONE)})
    text = refused([rule(glob="layer5.*"), rule(glob="layer4.0.conv2"), rule()], run)
    assert "'layer5.*' matches no block" in text
    assert "did you mean 'layer4.0.conv1'?" in text
    assert "it was measured without the whole model" in text


def test_a_block_that_only_one_side_has_does_not_slip_through():
    run = judged({"a1": block(trace=ONE), "a2": block(trace=ONE)})
    main = judged({"a1": block(trace=ONE), "a3": block(trace=ONE)}, file=MAIN)
    text = refused([rule(kind="max_increase", glob="a*")], run, {MAIN: main})
    assert "'a2' is not in the baseline" in text
    assert "'a3' of the baseline main.json is not in the run" in text


def test_rules_of_different_globs_that_contradict_each_other_are_refused():
    run = judged({"fc": block(trace=ONE), "full": block(trace=ONE)})
    text = refused([rule(kind="min", number=3.0, glob="*"), rule(kind="max", number=2.0, glob="fc")], run)
    assert text == "*:trace min 3 and fc:trace max 2: nothing can hold both"
    judge([rule(kind="min", number=3.0, glob="full"), rule(kind="max", number=2.0, glob="fc")], run, {})


@pytest.mark.parametrize("change", [{"curvature": "ggn"}, {"loss": "mse"}])
def test_another_matrix_is_no_baseline(change):
    main = judged({"full": block(trace=ONE)}, file=MAIN, **change)
    run = judged({"full": block(trace=ONE)})
    assert "in the baseline" in refused([rule(kind="max_increase")], run, {MAIN: main})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_sha256": "00" * 32, "samples": 128}, "on 128 other samples"),
        ({"data": "cifar10", "data_sha256": "00" * 32}, "samples of cifar10"),
        ({"arch": "vit"}, "vit in the baseline"),
        ({"blocks": {"full": block(size=7, trace=ONE)}}, "other sizes"),
    ],
)
def test_a_baseline_of_other_data_is_told_and_strict_refuses_it(change, message):
    main = judged(**({"blocks": {"full": block(trace=ONE)}, "file": MAIN} | change))
    run = judged({"full": block(trace=ONE)})
    report = judge([rule(kind="max_increase")], run, {MAIN: main})
    assert any(message in warning for warning in report.warnings)
    assert message in refused([rule(kind="max_increase")], run, {MAIN: main}, strict=True)


def test_policies_are_read_with_the_lines_of_their_rules(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text('# first\n[[rule]]\nmeasure = "trace"\nmax = 1\n\n[[ rule ]]\nmeasure = "trace"\nmin = 0\n')
    table, lines = read_policy(str(path))
    found = rules_of_policy(table, where="ci/policy.toml", lines=lines)
    assert [(one.line, one.file) for one in found] == [(2, "ci/policy.toml"), (6, "ci/policy.toml")]


def test_baselines_are_relative_to_the_policy_and_give_way_to_the_one_typed():
    entry = {"measure": "trace", "max_ratio": 2, "baseline": MAIN}
    assert rules_of_policy({"rule": [entry]}, where="ci/policy.toml")[0].baseline == "ci/main.json"
    assert rules_of_policy({"rule": [entry]}, where="ci/policy.toml", baseline="x.json")[0].baseline == "x.json"


PROJECT = '[project]\nname = "p"\n[[tool.hessent.check.rule]]\nmeasure = "trace"\nmax = 1\n'


def test_the_projects_own_table_is_found_upwards_from_the_working_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_project_policy(tmp_path / "a" / "b") is None
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "a" / "pyproject.toml").write_text("not even toml [[[ hess ent")
    path = find_project_policy(tmp_path / "a" / "b")
    assert path == str(tmp_path / "pyproject.toml")
    assert find_project_policy(tmp_path) == "pyproject.toml"
    table, lines = read_policy(path)
    assert table == {"rule": [{"measure": "trace", "max": 1}]}
    assert lines == (3,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rule = [", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"a" * (MAX_BYTES + 1), "has more than"),
        (b"a = " + b"[" * 20_000, "nested too deeply"),
        (b"a" + b".a" * 5_000 + b" = 1", "has 5,000 dots"),
        (b"x = 0x" + b"f" * 5_000, None),
        (b"x = " + b"1" * 5_000, "is not TOML"),
    ],
)
def test_a_hostile_policy_is_refused_with_a_sentence(tmp_path, content, message):
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        rules_of_policy(read_policy(str(path))[0], where=str(path))
    assert message is None or message in caught.value.found


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.toml"):
        with pytest.raises(UsageError):
            read_policy(str(path))
