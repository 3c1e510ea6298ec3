from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from network_shapes import shapes_from

from hessent.arch.built_in import BUILT_IN
from hessent.arch.registry import (
    architectures,
    build,
    data_options,
    data_problem,
    fits,
    is_built_in,
    nearest,
)
from hessent.errors import ArchitectureError

TINY = {
    "resnet": {"width": 4, "depths": "1-1", "stem": "cifar", "classes": 3},
    "vit": {"width": 16, "depth": 1, "patch": 2, "image_size": 4, "classes": 3},
    "gpt": {"vocab": 11, "context": 6, "width": 16, "depth": 1},
    "mlp": {"sizes": "6-5-3"},
}
NAMES = [architecture.name for architecture in architectures() if architecture.source == "built-in"]


def test_a_mistyped_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ArchitectureError) as caught:
        build("resent18", where="test")
    assert "no architecture 'resent18'" in str(caught.value)
    assert "did you mean 'resnet18'" in str(caught.value)
    assert "path/to/file.py:factory" in str(caught.value)


def test_a_file_without_a_function_is_answered_with_the_form() -> None:
    with pytest.raises(ArchitectureError, match=r"nets/mine\.py:NAME"):
        build("nets/mine.py", where="test")


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_name_recognises_its_own_network(name: str) -> None:
    shapes = shapes_from(name)
    ranking = fits(shapes)
    assert name in [fit.name for fit in ranking if fit.fits]
    assert {fit.family for fit in ranking if fit.fits} == {ranking[0].family}
    assert len(ranking) == len(NAMES)


@pytest.mark.parametrize("family", TINY)
def test_auto_finds_the_family_and_its_sizes(family: str) -> None:
    shapes = shapes_from(family, **TINY[family])
    built = build("auto", tensors={f"module.{key}": shape for key, shape in shapes.items()}, where="test")
    assert built.name == family
    assert {key: tuple(tensor.shape) for key, tensor in built.model.state_dict().items()} == shapes


@pytest.mark.parametrize("family", TINY)
def test_a_network_is_found_inside_another(family: str) -> None:
    shapes = shapes_from(family, **TINY[family])
    inside = {f"model.student.backbone.{key}": shape for key, shape in shapes.items()}
    assert fits(inside)[0].name == family
    assert build(family, tensors=inside, where="t").options == build(family, tensors=shapes, where="t").options


def test_keys_that_all_begin_alike_keep_what_belongs_to_them() -> None:
    headless = shapes_from("gpt", **TINY["gpt"])
    del headless["lm_head.weight"]
    assert all(key.startswith("transformer.") for key in headless)
    assert fits(headless)[0].name == "gpt"


def test_auto_refuses_what_fits_nothing_and_says_why() -> None:
    shapes = shapes_from("vit", **TINY["vit"])
    del shapes["blocks.0.norm2.weight"]
    with pytest.raises(ArchitectureError) as caught:
        build("auto", tensors=shapes, where="x.pt")
    assert "x.pt: these tensors fit no built-in architecture" in str(caught.value)
    assert "vit: 1 missing: blocks.0.norm2.weight" in str(caught.value)
    assert "resnet" not in str(caught.value)


def test_auto_does_not_choose_between_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "chain", replace(BUILT_IN["mlp"], family="chain"))
    with pytest.raises(ArchitectureError, match="fit more than one family") as caught:
        build("auto", tensors=shapes_from("mlp", **TINY["mlp"]), where="t")
    assert set(caught.value.problems) == {"mlp: fits", "chain: fits"}


def test_auto_says_which_option_no_family_knows() -> None:
    with pytest.raises(ArchitectureError, match="no option 'haeds'; did you mean 'heads'"):
        build("auto", tensors=shapes_from("vit", **TINY["vit"]), options={"haeds": 2}, where="test")


def test_an_unknown_option_beside_empty_tensors_is_no_crash() -> None:
    shapes = shapes_from("resnet", **TINY["resnet"], block="bottleneck") | {"conv1.weight": (0, 3, 3, 3)}
    with pytest.raises(ArchitectureError, match="no option 'haeds'"):
        build("auto", tensors=shapes, options={"haeds": 2}, where="test")


def test_auto_needs_tensors() -> None:
    with pytest.raises(ArchitectureError, match="reads the architecture from a checkpoint"):
        build("auto", where="test")


def test_near_misses_list_missing_left_over_and_misshapen_tensors() -> None:
    shapes = shapes_from("resnet", **TINY["resnet"])
    del shapes["layer2.0.bn2.weight"]
    shapes |= {"extra.weight": (1,), "layer2.0.conv2.weight": (8, 9, 3, 3)}
    best = fits(shapes)[0]
    assert (best.name, best.fits) == ("resnet", False)
    assert best.problems == (
        "1 missing: layer2.0.bn2.weight",
        "1 left over: extra.weight",
        "1 of the wrong shape: layer2.0.conv2.weight is 8x9x3x3 instead of 8x8x3x3",
    )
    assert "--arch resnet, which comes nearest" in str(nearest(shapes))


def test_counters_of_norms_may_be_absent() -> None:
    shapes = shapes_from("resnet", **TINY["resnet"])
    old = {key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(shapes)
    assert fits(old)[0].fits


def test_names_that_decide_more_come_before_generic_ones() -> None:
    assert [fit.name for fit in fits(shapes_from("wide_resnet50_2")) if fit.fits] == [
        "wide_resnet50_2",
        "resnet50",
        "resnet",
    ]


def test_nothing_is_near_to_foreign_tensors() -> None:
    assert nearest({"encoder.rnn.weight_ih": (4, 4)}) is None
    assert nearest({}) is None


def test_an_option_that_disagrees_with_the_tensors_is_refused_but_one_that_agrees_is_not() -> None:
    shapes = shapes_from("resnet", **TINY["resnet"])
    assert build("resnet", tensors=shapes, options={"width": 4, "classes": "3"}, where="t").options["width"] == 4
    with pytest.raises(ArchitectureError) as caught:
        build("resnet", tensors=shapes, options={"width": "8"}, where="t")
    assert "width is 4 in the tensors, but 8 by the option" in str(caught.value)
    assert "leave out the architecture options that disagree" in str(caught.value)


def test_options_alone_make_no_assumptions() -> None:
    assert build("resnet", options=TINY["resnet"], where="t").assumptions == ()


def test_sizes_too_large_for_memory_are_an_error_of_the_input() -> None:
    with pytest.raises(ArchitectureError, match="gpt cannot be built with these sizes"):
        build("gpt", options={"vocab": 10**15}, where="t")


@pytest.mark.parametrize(("wide", "sentence"), [(10**6, "of the wrong shape"), (10**9, "cannot be built")])
def test_a_few_shapes_cannot_ask_for_petabytes(wide: int, sentence: str) -> None:
    hostile = {
        "patch_embed.proj.weight": (wide, 1, 1, 1),
        "pos_embed": (1, 2, 1),
        "cls_token": (1, 1, 1),
        "blocks.0.mlp.fc1.weight": (wide, 1),
        "head.weight": (2, 1),
    }
    with pytest.raises(ArchitectureError, match=sentence):
        build("vit", tensors=hostile, options={"heads": 1}, where="t")
    assert not fits(hostile)[0].fits


@pytest.mark.parametrize(
    "hostile",
    [
        {f"layer{stage}.0.conv1.weight": (1, 1, 3, 3) for stage in range(1, 60)},
        {f"layer1.{block}.conv1.weight": (1, 1, 3, 3) for block in range(2_000)},
    ],
)
def test_names_alone_do_not_make_a_network_deep(hostile: dict[str, tuple[int, ...]]) -> None:
    shapes = hostile | {"conv1.weight": (1, 1, 3, 3), "fc.weight": (2, 1)}
    with pytest.raises(ArchitectureError, match="more than any ResNet has"):
        build("resnet", tensors=shapes, where="t")


def test_more_tensors_than_any_network_has_fit_none_and_cost_no_time() -> None:
    hostile = {f"blocks.{block}.norm1.weight": (1,) for block in range(200_000)}
    started = time.process_time()
    assert fits(hostile)[0].problems == ("200000 tensors, more than any built-in has",)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("family", TINY)
def test_empty_tensors_are_refused(family: str) -> None:
    shapes = shapes_from(family, **TINY[family])
    for key in shapes:
        broken = shapes | {key: (0, *shapes[key][1:])}
        with pytest.raises(ArchitectureError, match="without elements"):
            build(family, tensors=broken, where="t")


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (1, 2, 3), (7, 7, 7, 7), (2, 1, 5, 4), (1, 1, 1, 1, 1)])
def test_no_shape_of_any_tensor_is_a_crash(family: str, shape: tuple[int, ...]) -> None:
    shapes = shapes_from(family, **TINY[family])
    for key in shapes:
        best = fits(shapes | {key: shape})
        assert best[0].problems or best[0].fits


def test_listing_shows_options_with_help() -> None:
    for architecture in architectures():
        assert architecture.summary
        assert architecture.problem is None
        assert all(option.help for option in architecture.options.values())
        assert set(architecture.fixed) <= set(architecture.options)


def test_only_the_table_is_built_in() -> None:
    assert is_built_in("resnet18")
    for name in ("auto", "timm:resnet18", "package.module:factory", "nets.py:make", "resnet19"):
        assert not is_built_in(name)


@pytest.mark.parametrize(
    ("name", "input_shape", "classes"),
    [
        ("resnet18", (1, 8, 8), 10),
        ("vit", (1, 8, 8), 10),
        ("vit", (3, 28, 30), 10),
        ("vit", (3, 224, 224), 7),
        ("gpt", (16,), 65),
        ("mlp", (1, 8, 8), 10),
        ("mlp", (13,), None),
    ],
)
def test_data_sizes_a_network_that_takes_it(name: str, input_shape: tuple[int, ...], classes: int | None) -> None:
    options = data_options(name, input_shape=input_shape, num_classes=classes)
    small = {"width": 16, "depth": 1} if name in ("vit", "gpt") else {}
    built = build(name, options=options | small, where="t")
    assert data_problem(built, input_shape=input_shape, num_classes=classes) is None
    token = name == "gpt"
    inputs = torch.zeros((2, *input_shape), dtype=torch.int64 if token else torch.float32)
    outputs = built.model.eval()(inputs)
    assert outputs.shape == ((2, *input_shape, classes) if token else (2, classes or 1))


@pytest.mark.parametrize(
    ("family", "input_shape", "classes", "sentence"),
    [
        ("resnet", (3, 8, 8), 4, "the data has 4 classes, the network has outputs for 3"),
        ("resnet", (1, 8, 8), 3, "takes images with channels 3 and the data's have 1"),
        ("resnet", (64,), 3, r"takes images \(channels, height, width\), the data's inputs have shape \(64,\)"),
        ("vit", (3, 8, 4), 3, "height 4 and the data's have 8"),
        ("gpt", (7,), 11, "sequences have 7 tokens, the network's context is 6"),
        ("gpt", (6,), 12, "the data has 12 tokens in its vocabulary"),
        ("gpt", (3, 8, 8), 11, "takes token sequences"),
        ("mlp", (2, 4), 3, "takes 6 numbers per input, the data has 8"),
    ],
)
def test_data_that_does_not_belong_is_named(
    family: str, input_shape: tuple[int, ...], classes: int, sentence: str
) -> None:
    built = build(family, options=TINY[family], where="t")
    problem = data_problem(built, input_shape=input_shape, num_classes=classes)
    assert problem is not None
    assert re.search(sentence, problem)


def test_data_of_the_wrong_kind_sizes_nothing() -> None:
    assert data_options("resnet18", input_shape=(64,), num_classes=10) == {}
    assert data_options("gpt", input_shape=(3, 8, 8), num_classes=10) == {}
    assert data_options("nets.py:make", input_shape=(64,), num_classes=10) == {}


def test_listing_and_reading_load_no_torch() -> None:
    code = (
        "import sys; from hessent.arch.registry import architectures, fits;"
        "architectures(); fits({'encoder.weight': (3, 3)}); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
