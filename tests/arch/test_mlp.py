from __future__ import annotations

import pytest
import torch
from network_shapes import shapes_of
from torch import nn

from hessent.arch.registry import build, fits
from hessent.errors import ArchitectureError


def test_a_plain_sequential_gives_the_same_outputs() -> None:
    reference = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    built = build("mlp", tensors=shapes_of(reference), options={"activation": "tanh"}, where="test")
    assert built.rename is not None
    state = reference.state_dict()
    built.model.load_state_dict({built.rename(key): tensor for key, tensor in state.items()})  # type: ignore[misc]
    inputs = torch.randn(7, 2, 3)
    torch.testing.assert_close(built.model(inputs), reference(inputs.flatten(1)))


def test_own_keys_need_no_renaming() -> None:
    model = build("mlp", options={"sizes": "6-5-3"}, where="test").model
    assert list(shapes_of(model)) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    built = build("mlp", tensors=shapes_of(model), where="test")
    assert built.rename is None
    assert built.options["sizes"] == (6, 5, 3)


def test_renaming_keeps_prefixes() -> None:
    shapes = {"net.0.weight": (5, 6), "net.2.weight": (3, 5)}
    rename = build("mlp", tensors=shapes, where="test").rename
    assert rename is not None
    assert rename("net.2.weight") == "net.layers.1.weight"
    assert rename("2.weight") == "layers.1.weight"
    assert rename("running.7.weight") == "running.7.weight"


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ({"0.weight": (5, 6), "2.weight": (3, 4)}, "layer 0 gives 5 numbers, layer 1 takes 4"),
        ({"0.weight": (5, 6), "1.weight": (5,)}, "not a matrix: layers.1.weight"),
        ({"0.weight": (5, 6), "0.bias": (5,), "1.weight": (3, 5)}, "some layers have a bias and some have none"),
        ({"weight": (5, 6)}, "no linear layers"),
    ],
)
def test_what_is_no_chain_of_linear_layers_is_refused(shapes: dict[str, tuple[int, ...]], sentence: str) -> None:
    with pytest.raises(ArchitectureError, match=sentence):
        build("mlp", tensors=shapes, where="test")
    assert not any(fit.fits for fit in fits(shapes))


def test_one_size_is_no_layer() -> None:
    with pytest.raises(ArchitectureError, match="sizes=64 is no layer"):
        build("mlp", options={"sizes": "64"}, where="test")
