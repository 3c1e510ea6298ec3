"""Names without wrappers, before there is a model to compare with."""

import pytest

from hessent.checkpoint.prefixes import strip_prefixes, strip_wrappers
from hessent.errors import CheckpointError


@pytest.mark.parametrize(
    ("names", "bare", "prefixes"),
    [
        (["a.w", "b.w"], ["a.w", "b.w"], ()),
        (["module.a.w", "module.b.w"], ["a.w", "b.w"], ("module.",)),
        (
            ["module._orig_mod.model.a.w", "module._orig_mod.model.b.w"],
            ["a.w", "b.w"],
            ("_orig_mod.", "module.", "model."),
        ),
        (["net.module.a", "net.module.b"], ["a", "b"], ("net.", "module.")),
        (["module.a", "b"], ["module.a", "b"], ()),
        (["transformer.a", "transformer.b"], ["transformer.a", "transformer.b"], ()),
        (["model.a", "head.b"], ["model.a", "head.b"], ()),
        (["model", "net"], ["model", "net"], ()),
        (["model."], ["model."], ()),
        (["module.module."], ["module."], ("module.",)),
        ([""], [""], ()),
        ([], [], ()),
    ],
)
def test_only_wrappers_and_the_usual_prefixes_go(names, bare, prefixes):
    stripped = strip_prefixes(names)
    assert list(stripped.names) == names
    assert list(stripped.names.values()) == bare
    assert stripped.prefixes == prefixes


def test_only_one_usual_prefix_goes_without_a_model():
    assert list(strip_prefixes(["model.net.a", "model.net.b"]).names.values()) == ["net.a", "net.b"]


def test_wrappers_alone_leave_the_usual_prefixes():
    assert list(strip_wrappers(["module.model.a"]).names.values()) == ["model.a"]


def test_a_word_that_only_contains_the_wrapper_stays():
    assert list(strip_wrappers(["my_orig_mod.a", "module2.b"]).names.values()) == ["my_orig_mod.a", "module2.b"]


def test_two_names_do_not_become_one():
    with pytest.raises(CheckpointError, match="twice"):
        strip_prefixes(["_orig_mod.a", "a"])
