from __future__ import annotations

import json
from typing import Any

import pytest

from hessent.arch.architecture import OptionSpec
from hessent.arch.settings import Settings, parse_free, parse_options, show
from hessent.errors import ArchitectureError

SPECS = {
    "width": OptionSpec("int", 64, "channels"),
    "norm_eps": OptionSpec("float", 1e-5, "epsilon"),
    "max_pool": OptionSpec("bool", None, "pool"),
    "stem": OptionSpec("choice", "cifar", "stem", ("imagenet", "cifar")),
    "depths": OptionSpec("sizes", (2, 2), "depths"),
}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width", "16", 16),
        ("width", 16, 16),
        ("norm_eps", "1e-3", 1e-3),
        ("norm_eps", 1e-05, 1e-05),
        ("max_pool", "yes", True),
        ("max_pool", "False", False),
        ("max_pool", True, True),
        ("max_pool", 0, False),
        ("stem", "imagenet", "imagenet"),
        ("depths", "2-3-4", (2, 3, 4)),
        ("depths", "2,3,4", (2, 3, 4)),
        ("depths", "[2, 3, 4]", (2, 3, 4)),
        ("depths", "32x48", (32, 48)),
        ("depths", [2, 3], (2, 3)),
        ("depths", "7", (7,)),
        ("depths", 7, (7,)),
    ],
)
def test_options_are_read_as_typed_and_as_stored(key: str, text: Any, value: Any) -> None:
    parsed = parse_options({key: text}, SPECS, name="x")
    assert parsed == {key: value}
    assert type(parsed[key]) is type(value)


@pytest.mark.parametrize("value", [16, 1e-05, 0.1234567890123, True, False, "cifar", (2, 3, 4), (7,)])
def test_what_is_shown_can_be_typed_back(value: Any) -> None:
    key = {int: "width", float: "norm_eps", bool: "max_pool", str: "stem", tuple: "depths"}[type(value)]
    assert parse_options({key: show(value)}, SPECS, name="x") == {key: value}
    assert parse_options(json.loads(json.dumps({key: value})), SPECS, name="x") == {key: value}


def test_all_wrong_options_are_listed_at_once() -> None:
    given = {"widht": "3", "norm_eps": "-1", "max_pool": "maybe", "stem": "cifra", "depths": "2-0", "width": "²"}
    with pytest.raises(ArchitectureError) as caught:
        parse_options(given, SPECS, name="resnet")
    assert caught.value.problems == (
        "no option 'widht'; did you mean 'width'?",
        "norm_eps=-1: expected a number above 0",
        "max_pool=maybe: expected yes or no",
        "stem=cifra: did you mean 'cifar'?",
        "depths=2-0: expected whole numbers joined by '-', such as 2-2-2-2",
        "width=²: expected a whole number, at least 1",
    )
    assert "options of resnet: width, norm_eps, max_pool, stem, depths" in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "", "nan", "1e3", "9" * 5000])
def test_counts_are_whole_and_positive(text: str) -> None:
    with pytest.raises(ArchitectureError, match="whole number"):
        parse_options({"width": text}, SPECS, name="x")


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1e-3", "small"])
def test_numbers_are_finite_and_positive(text: str) -> None:
    with pytest.raises(ArchitectureError, match="number above 0"):
        parse_options({"norm_eps": text}, SPECS, name="x")


def test_an_option_left_open_by_metadata_is_no_option() -> None:
    assert parse_options({"width": None}, SPECS, name="x") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("relu", "relu"),
        ('"3"', "3"),
        ("[1]", "[1]"),
        (2, 2),
    ],
)
def test_free_options_are_scalars_or_text(text: Any, value: Any) -> None:
    assert parse_free(text) == value
    assert type(parse_free(text)) is type(value)


def test_every_voice_must_agree_and_only_defaults_are_assumptions() -> None:
    settings = Settings({"a": 1, "b": 2}, {"b": 3}, reads_checkpoint=True)
    assert settings.settle("a", seen=1, default=0) == 1
    assert settings.settle("b", default=0) == 3
    assert settings.settle("c", default=4, why="the rule") == 4
    assert settings.settle("d", seen=False, default=True) is False
    reading = settings.reading()
    assert reading.options == {"a": 1, "b": 3, "c": 4, "d": False}
    assert reading.problems == ("b is 3 by the architecture's name, but 2 by the option",)
    assert reading.assumptions == ("c = 4: the rule; the tensors do not tell",)
