from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hessent.arch.registry import architectures, build, data_options
from hessent.errors import ArchitectureError

MODULE = '''
from torch import nn

from hessent.arch.architecture import OptionSpec, Reading, Recipe


def factory(width=3):
    """Make a linear layer of some width."""
    return nn.Linear(width, 2)


def read(shapes, given, fixed):
    width = shapes["weight"][1] if shapes else given.get("width", 3)
    if width == 13:
        raise LookupError("unlucky")
    return Reading({"in_features": width, "out_features": 2})


RECIPE = Recipe(
    family="line",
    summary="a line",
    options={"width": OptionSpec("int", 3, "inputs")},
    read=read,
    network="torch.nn:Linear",
    data_options=lambda shape, classes: {"width": shape[0]},
)
NUMBER = 7
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with entry points, really, in a folder on the path."""
    monkeypatch.delenv("HESSENT_NO_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plugin_for_tests.py").write_text(MODULE)

    def add(distribution: str, **entries: str) -> None:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (folder / "entry_points.txt").write_text("[hessent.architectures]\n" + "\n".join(lines) + "\n")

    yield add
    sys.modules.pop("plugin_for_tests", None)


def test_a_recipe_joins_the_registry(install: Install) -> None:
    install("lines", line="plugin_for_tests:RECIPE")
    listed = {architecture.name: architecture for architecture in architectures()}["line"]
    assert (listed.source, listed.family, listed.summary, listed.problem) == ("lines", "line", "a line", None)
    assert build("line", tensors={"weight": (2, 5)}, where="t").model.get_parameter("weight").shape == (2, 5)
    assert build("line", options=data_options("line", input_shape=(4,), num_classes=2), where="t").options == {
        "in_features": 4,
        "out_features": 2,
    }


def test_a_factory_joins_the_registry(install: Install) -> None:
    install("lines", line="plugin_for_tests:factory")
    listed = architectures()[-1]
    assert (listed.name, listed.source, listed.summary) == ("line", "lines", "Make a linear layer of some width.")
    assert build("line", options={"width": "6"}, where="t").model.get_parameter("weight").shape == (2, 6)


def test_a_plugin_is_not_imported_before_it_is_used(install: Install) -> None:
    install("lines", line="plugin_for_tests:RECIPE")
    build("mlp", options={"sizes": "3-2"}, where="t")
    assert "plugin_for_tests" not in sys.modules


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("no_such_plugin_module:RECIPE", "cannot be imported: ModuleNotFoundError"),
        ("plugin_for_tests:ABSENT", "cannot be imported: AttributeError"),
        ("plugin_for_tests:NUMBER", "is a int"),
    ],
)
def test_a_broken_plugin_is_reported_by_name_and_harms_no_other(
    install: Install, value: str, sentence: str
) -> None:
    install("broken", crooked=value)
    install("lines", line="plugin_for_tests:RECIPE")
    listed = {architecture.name: architecture for architecture in architectures()}
    assert sentence in str(listed["crooked"].problem)
    assert listed["crooked"].source == "broken"
    assert listed["line"].problem is None
    assert listed["resnet18"].problem is None
    with pytest.raises(ArchitectureError) as caught:
        build("crooked", where="t")
    assert "architecture plug-in 'crooked'" in str(caught.value)
    assert sentence in str(caught.value)


def test_a_plugin_that_fails_while_it_builds_is_named(install: Install) -> None:
    install("lines", line="plugin_for_tests:RECIPE")
    with pytest.raises(ArchitectureError, match="the plug-in 'line' raised LookupError: unlucky"):
        build("line", options={"width": "13"}, where="t")


def test_a_plugin_cannot_take_a_built_in_name(install: Install) -> None:
    install("lines", resnet18="plugin_for_tests:RECIPE")
    claims = [architecture for architecture in architectures() if architecture.name == "resnet18"]
    assert [(claim.source, claim.problem is None) for claim in claims] == [("built-in", True), ("lines", False)]
    assert "the name is taken by hessent" in str(claims[1].problem)
    assert type(build("resnet18", options={"width": 4}, where="t").model).__name__ == "ResNet"


def test_two_plugins_of_one_name_are_both_refused(install: Install) -> None:
    install("lines", line="plugin_for_tests:RECIPE")
    install("strokes", line="plugin_for_tests:factory")
    assert "claimed 2 times" in str(architectures()[-1].problem)
    with pytest.raises(ArchitectureError) as caught:
        build("line", where="t")
    assert "(lines)" in str(caught.value)
    assert "(strokes)" in str(caught.value)


def test_plugins_can_be_switched_off(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("lines", line="plugin_for_tests:RECIPE")
    monkeypatch.setenv("HESSENT_NO_PLUGINS", "1")
    assert "line" not in [architecture.name for architecture in architectures()]
    with pytest.raises(ArchitectureError, match="no architecture 'line'"):
        build("line", where="t")


def test_a_mistyped_plugin_name_is_suggested_too(install: Install) -> None:
    install("lines", line_of_mine="plugin_for_tests:RECIPE")
    with pytest.raises(ArchitectureError, match="did you mean 'line_of_mine'"):
        build("lineofmine", where="t")
