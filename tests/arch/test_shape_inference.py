"""Round trips: whatever small network is built, its shapes alone give it back."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from network_shapes import build_meta, shapes_of

from hessent.arch.registry import build, fits

FEW = settings(max_examples=25, deadline=None, derandomize=True)
SMALL = st.integers(1, 3)


def assert_round_trip(family: str, options: dict[str, Any], told: set[str]) -> None:
    """Build by options; read the shapes back, telling only the options that shapes cannot show."""
    first = build_meta(family, **options)
    shapes = shapes_of(first.model)
    again = build(family, tensors=shapes, options={key: first.options[key] for key in told}, where="test")
    assert again.options == first.options
    assert shapes_of(again.model) == shapes
    best = fits(shapes)[0]
    assert best.fits
    assert best.family == family


@FEW
@given(
    st.fixed_dictionaries(
        {
            "block": st.just("basic"),
            "depths": st.lists(SMALL, min_size=1, max_size=4),
            "width": st.integers(1, 9),
            "channels": SMALL,
            "classes": SMALL,
            "stem": st.sampled_from(["imagenet", "cifar"]),
        }
    )
)
def test_basic_resnets_follow_from_their_shapes(options: dict[str, Any]) -> None:
    assert_round_trip("resnet", options, told=set())


@FEW
@given(
    st.fixed_dictionaries(
        {
            "block": st.just("bottleneck"),
            "depths": st.lists(SMALL, min_size=1, max_size=3),
            "width": st.sampled_from([4, 8, 16]),
            "groups": st.sampled_from([1, 2, 4]),
            "width_per_group": st.sampled_from([16, 32, 64, 128]),
            "classes": SMALL,
        }
    )
)
def test_bottleneck_resnets_follow_from_their_shapes(options: dict[str, Any]) -> None:
    assert_round_trip("resnet", options, told=set())


@FEW
@given(
    st.fixed_dictionaries(
        {
            "width": st.sampled_from([8, 24, 64, 72]),
            "depth": SMALL,
            "hidden": st.integers(1, 40),
            "patch": SMALL,
            "channels": SMALL,
            "classes": SMALL,
            "class_token": st.booleans(),
            "norm_last": st.booleans(),
            "qkv_bias": st.booleans(),
            "head_bias": st.booleans(),
        }
    ),
    st.integers(1, 4),
)
def test_vits_follow_from_their_shapes(options: dict[str, Any], side: int) -> None:
    usual = options["class_token"] and not options["norm_last"]
    sized = {"image_size": side * options["patch"], "pool": "token" if usual else "avg"}
    assert_round_trip("vit", options | sized, told=set())


@FEW
@given(
    st.fixed_dictionaries(
        {
            "vocab": st.integers(2, 20),
            "context": st.integers(1, 20),
            "width": st.sampled_from([8, 24, 64, 72]),
            "depth": SMALL,
            "hidden": st.integers(1, 40),
            "bias": st.booleans(),
        }
    )
)
def test_gpts_follow_from_their_shapes(options: dict[str, Any]) -> None:
    assert_round_trip("gpt", options, told=set())


@FEW
@given(st.fixed_dictionaries({"sizes": st.lists(st.integers(1, 9), min_size=2, max_size=5), "bias": st.booleans()}))
def test_perceptrons_follow_from_their_shapes(options: dict[str, Any]) -> None:
    assert_round_trip("mlp", options, told=set())
