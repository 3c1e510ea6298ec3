"""Names of data: what each form resolves to, what is refused, and what is offered instead."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hessent.data import registry
from hessent.data.parameters import Parameter, read_parameters
from hessent.data.registry import no_data_error, open_dataset, parse_name, sources
from hessent.data.sources import DataSource
from hessent.errors import DataError


@pytest.mark.parametrize(
    ("name", "source", "runs_code"),
    [
        ("digits", "digits", False),
        ("digits?split=test", "digits", False),
        ("arrays:some/file.npz?x=a", "arrays", False),
        ("synthetic:images?shape=3x8x8", "synthetic", False),
        ("package.module:factory", "factory", True),
        ("module:factory?count=3", "factory", True),
        ("path/to/file.py:factory", "factory", True),
        ("../file.py:factory", "factory", True),
    ],
)
def test_a_name_resolves_to_one_source(name, source, runs_code):
    parsed = parse_name(name)
    assert (parsed.text, parsed.source, parsed.runs_code) == (name, source, runs_code)


@pytest.mark.parametrize(
    ("made", "source"),
    [
        ("file.npz", "arrays"),
        ("file.H5", "arrays"),
        ("file.safetensors", "arrays"),
        ("file.bin", "tokens"),
        ("folder/cats/0.png", "images"),
        ("folder/train.bin", "tokens"),
        ("folder/data_batch_1.bin", "cifar10"),
        ("folder/cifar-10-batches-bin/data_batch_1.bin", "cifar10"),
        ("folder/dataset_info.json", "hf"),
        ("folder/dataset_dict.json", "hf"),
    ],
)
def test_a_bare_path_is_understood_by_what_lies_there(tmp_path, made, source):
    path = tmp_path / made
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    given = tmp_path / made.split("/")[0]
    assert parse_name(f"{given}?split=train").source == source


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digist", "did you mean 'digits'"),
        ("no/such/folder", "neither a known source of data nor a file"),
        ("absent.npz", "neither a known source"),
        ("", "neither a known source"),
        (":", "neither a known source"),
        ("digits:foo", "is not how 'digits' is written"),
        ("arrays", "is not how 'arrays' is written"),
        ("arrays:", "does not say which FILE"),
        ("array:file.npz", "did you mean 'arrays'"),
    ],
)
def test_an_unknown_name_is_refused_and_never_replaced(name, message):
    with pytest.raises(DataError, match=message):
        open_dataset(name)


def test_without_data_every_way_to_give_it_is_listed(tmp_path):
    unknown = tmp_path / "notes.txt"
    unknown.touch()
    with pytest.raises(DataError, match="no source reads by its suffix") as caught:
        open_dataset(str(unknown))
    for message in (str(caught.value), str(no_data_error("--data"))):
        for source in sources():
            assert source.form in message
        assert "package.module:factory" in message
    assert no_data_error("--data").exit_code == 2


def test_all_wrong_parameters_are_told_at_once(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), y=np.zeros(2, dtype=int))
    with pytest.raises(DataError) as caught:
        open_dataset(f"arrays:{tmp_path / 'a.npz'}?clases=3&layout=chw&normalize=a&x=1&x=2&odd")
    message = str(caught.value)
    for part in (
        "did you mean 'classes'",
        "auto or nchw or nhwc",
        "separated by commas",
        "given twice",
        "'odd' is not",
    ):
        assert part in message


def test_a_split_that_the_source_does_not_have_is_refused():
    with pytest.raises(DataError, match="train or test or all"):
        open_dataset("digits", split="validation")


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_every_source_is_described_and_its_opener_exists(source):
    module, _, function = source.opener.partition(":")
    assert callable(getattr(__import__(module, fromlist=["_"]), function))
    assert source.form.startswith(source.name)
    assert source.summary
    assert source.needs
    assert bool(source.path) == (":" in source.form)
    for parameter in source.parameters.values():
        assert parameter.help
        assert parameter.expected


def test_the_list_of_sources_needs_no_torch():
    code = "import sys; from hessent.data.registry import sources; sources(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


MINE = DataSource(name="mine", form="mine", summary="a plug-in's", opener="hessent.data.digits:open_digits")
TAKEN = DataSource(name="digits", form="digits", summary="a plug-in's", opener="hessent.data.digits:open_digits")
WRONG = object()


def plug_in(monkeypatch, attribute):
    entry = EntryPoint("plug", f"{__name__}:{attribute}", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry] if group == registry.ENTRY_POINT_GROUP else []
    )


def test_a_plug_in_adds_a_source(monkeypatch):
    plug_in(monkeypatch, "MINE")
    assert len(open_dataset("mine")) == 1442


@pytest.mark.parametrize(
    ("attribute", "message"), [("TAKEN", "which is taken"), ("WRONG", "expected: a DataSource")]
)
def test_a_plug_in_can_neither_take_a_name_nor_be_anything(monkeypatch, attribute, message):
    plug_in(monkeypatch, attribute)
    with pytest.raises(DataError, match=message):
        open_dataset("digits")


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("count", "3", 3),
        ("count", "0", None),
        ("count", "9" * 30, None),
        ("integer", "-4", -4),
        ("integer", "1.0", None),
        ("number", "1e-3", 0.001),
        ("number", "nan", None),
        ("number", "inf", None),
        ("numbers", "0.5,1", (0.5, 1.0)),
        ("numbers", "0.5,", None),
        ("shape", "3x32X32", (3, 32, 32)),
        ("shape", "3x", None),
        ("text", "a%26b", "a&b"),
        ("text", "", None),
    ],
)
def test_a_value_is_converted_or_refused(form, text, value):
    values, problems = read_parameters(f"key={text}", {"key": Parameter(form, "")})
    assert values["key"] == value
    assert bool(problems) == (value is None)
