from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hessent.arch.registry import build
from hessent.errors import ArchitectureError

SOURCE = '''
from dataclasses import dataclass

from torch import nn


@dataclass
class Shape:
    width: int


def make(width=3, bias=True, name="plain"):
    """Return a linear layer."""
    network = nn.Linear(Shape(width).width, 2, bias=bias)
    network.title = name
    return network


def fails(width=3):
    raise KeyError("no such width")


def returns_a_number():
    return 7


NUMBER = 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with `nets_of_mine.py` in it; imports are forgotten afterwards."""
    (tmp_path / "nets_of_mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if "nets_of_mine" in name or "sub" in name:
            del sys.modules[name]


@pytest.mark.parametrize("name", ["nets_of_mine.py:make", "nets_of_mine:make"])
def test_factories_get_options_as_keyword_arguments(folder: Path, name: str) -> None:
    built = build(name, options={"width": "5", "bias": "false", "name": "mine"}, where="t")
    assert built.model.get_parameter("weight").shape == (2, 5)
    assert built.model.bias is None
    assert built.model.title == "mine"
    assert built.options == {"width": 5, "bias": False, "name": "mine"}
    assert (built.name, built.default_loss, built.rename) == (name, "cross-entropy", None)


def test_a_class_is_a_factory(folder: Path) -> None:
    built = build("torch.nn:Linear", options={"in_features": "4", "out_features": "2"}, where="t")
    assert built.model(torch.zeros(1, 4)).shape == (1, 2)


def test_a_file_is_run_once_and_may_import_its_neighbours(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "neighbour_of_sub.py").write_text("SIZE = 6\n")
    (folder / "sub" / "net_in_sub.py").write_text(
        "from torch import nn\nfrom neighbour_of_sub import SIZE\n\n\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(SIZE, 2)\n"
    )
    first = build("sub/net_in_sub.py:Net", where="t").model
    second = build(str(folder / "sub" / "net_in_sub.py") + ":Net", where="t").model
    assert first.get_parameter("weight").shape == (2, 6)
    assert type(first) is type(second)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.py:make", "no file 'missing.py'"),
        ("no_such_module_here:make", "cannot be imported: ModuleNotFoundError"),
        ("nets_of_mine.py:mak", "has no function 'mak'"),
        ("nets_of_mine.py:NUMBER", "has no function 'NUMBER'"),
        ("nets_of_mine.py:", "has no function ''"),
        ("nets_of_mine.py:fails", "the factory raised KeyError: 'no such width'"),
        ("nets_of_mine.py:returns_a_number", "the factory returned int"),
        (":make", "cannot be imported: ValueError"),
    ],
)
def test_what_goes_wrong_with_a_factory_is_explained(folder: Path, name: str, sentence: str) -> None:
    with pytest.raises(ArchitectureError) as caught:
        build(name, where="t")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"--arch {name}: ")


def test_a_near_name_is_suggested(folder: Path) -> None:
    with pytest.raises(ArchitectureError, match="did you mean 'make'"):
        build("nets_of_mine.py:mkae", where="t")


def test_an_argument_that_the_factory_does_not_take_is_explained(folder: Path) -> None:
    with pytest.raises(ArchitectureError) as caught:
        build("nets_of_mine.py:make", options={"depth": "3"}, where="t")
    assert "unexpected keyword argument 'depth'" in str(caught.value)
    assert "make(depth=3)" in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("body", ["raise RuntimeError('half done')", "import sys; sys.exit(3)", "def broken(:"])
def test_a_file_that_cannot_be_run_leaves_no_half_module(folder: Path, body: str) -> None:
    (folder / "sub_broken.py").write_text(body + "\n")
    with pytest.raises(ArchitectureError, match=r"'sub_broken.py' cannot be imported"):
        build("sub_broken.py:make", where="t")
    assert not [name for name in sys.modules if "sub_broken" in name]
