from __future__ import annotations

import pytest
import torch
from network_shapes import build_meta, randomise, shapes_from
from torch import Tensor
from torch.nn import functional

from hessent.arch.registry import build, fits
from hessent.arch.resnet_reading import rename_key
from hessent.errors import ArchitectureError

TINY = {"width": 4, "stem": "cifar", "channels": 1, "classes": 3}

# Parameter counts as published for torchvision's models.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}

# Keys as torchvision and timm write them, by hand for a few places.
RESNET18_KEYS = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.weight": (64,),
    "bn1.running_var": (64,),
    "bn1.num_batches_tracked": (),
    "layer1.0.conv1.weight": (64, 64, 3, 3),
    "layer1.1.bn2.bias": (64,),
    "layer2.0.conv1.weight": (128, 64, 3, 3),
    "layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "layer2.0.downsample.1.running_mean": (128,),
    "layer4.1.conv2.weight": (512, 512, 3, 3),
    "fc.weight": (1000, 512),
    "fc.bias": (1000,),
}
RESNET50_KEYS = {
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.conv2.weight": (64, 64, 3, 3),
    "layer1.0.conv3.weight": (256, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.2.bn3.weight": (256,),
    "layer3.5.conv1.weight": (256, 1024, 1, 1),
    "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
    "fc.weight": (1000, 2048),
}


def to_variant_names(key: str) -> str:
    """Write a key as the common CIFAR variant does."""
    key = key.replace("downsample.", "shortcut.")
    return key.replace("fc.", "linear.") if key.startswith("fc.") else key


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    assert sum(p.numel() for p in build_meta(name).model.parameters()) == count


@pytest.mark.parametrize(("name", "keys"), [("resnet18", RESNET18_KEYS), ("resnet50", RESNET50_KEYS)])
def test_keys_and_shapes_are_those_of_torchvision(name: str, keys: dict[str, tuple[int, ...]]) -> None:
    found = shapes_from(name)
    assert {key: found.get(key) for key in keys} == keys
    assert len(shapes_from("resnet18")) == 122  # 62 parameters, 20 norms with 3 buffers each
    assert "layer1.0.downsample.0.weight" not in shapes_from("resnet18")


def test_variant_names_give_the_same_network() -> None:
    reference = randomise(build("resnet18", options=TINY, where="test").model)
    state = {to_variant_names(key): tensor for key, tensor in reference.state_dict().items()}
    built = build("resnet18", tensors={key: tuple(t.shape) for key, t in state.items()}, where="test")
    assert built.rename is not None
    built.model.load_state_dict({built.rename(key): tensor for key, tensor in state.items()})  # type: ignore[misc]
    images = torch.randn(3, 1, 8, 8)
    assert reference(images).std(dim=0).max() > 0.01  # the images reach the answer
    assert torch.equal(built.model.eval()(images), reference(images))


def test_torchvision_names_need_no_renaming() -> None:
    assert build("resnet18", tensors=shapes_from("resnet18", **TINY), where="test").rename is None


def test_renaming_works_under_any_prefix_and_only_where_it_should() -> None:
    assert rename_key("module.layer2.0.shortcut.1.bias") == "module.layer2.0.downsample.1.bias"
    assert rename_key("module.linear.weight") == "module.fc.weight"
    for key in ("fc.weight", "layer2.0.conv1.weight", "nonlinear.weight", "linear.0.weight"):
        assert rename_key(key) == key


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_wrapper_prefixes_do_not_hide_the_network(prefix: str) -> None:
    shapes = {prefix + key: shape for key, shape in shapes_from("resnet18", **TINY).items()}
    assert build("resnet18", tensors=shapes, where="test").options["width"] == 4
    assert fits(shapes)[0].name == "resnet18"


def test_forward_is_the_residual_formula() -> None:
    model = randomise(build("resnet", options={**TINY, "depths": "1", "norm_eps": 0.1}, where="test").model)
    state = model.state_dict()

    def norm(hidden: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (hidden - mean[:, None, None]) / (variance[:, None, None] + 0.1).sqrt()
        return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    images = torch.randn(2, 1, 6, 6)
    stem = norm(functional.conv2d(images, state["conv1.weight"], padding=1), "bn1").relu()
    inner = norm(functional.conv2d(stem, state["layer1.0.conv1.weight"], padding=1), "layer1.0.bn1").relu()
    inner = norm(functional.conv2d(inner, state["layer1.0.conv2.weight"], padding=1), "layer1.0.bn2")
    pooled = (inner + stem).relu().mean(dim=(2, 3))
    expected = pooled @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(model(images), expected)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # the images reach the answer


@pytest.mark.parametrize(
    ("options", "side"),
    [({"stem": "imagenet"}, 1), ({"stem": "cifar"}, 4), ({"stem": "cifar", "max_pool": "yes"}, 2)],
)
def test_stem_decides_how_coarse_the_last_stage_is(options: dict[str, str], side: int) -> None:
    model = build("resnet18", options={"width": 4, **options}, where="test").model.eval()
    seen: list[int] = []
    model.get_submodule("layer4").register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[-1])
    )
    model(torch.randn(1, 3, 32, 32))
    assert seen == [side]


def test_bottleneck_stride_moves_between_convolutions_without_changing_shapes() -> None:
    usual = build("resnet50", options={"width": 4}, where="test").model
    first = build("resnet50", options={"width": 4, "bottleneck_stride": "conv1"}, where="test").model
    strides = [tuple(m.get_submodule(f"layer2.0.{c}").stride for c in ("conv1", "conv2")) for m in (usual, first)]
    assert strides == [((1, 1), (2, 2)), ((2, 2), (1, 1))]
    assert [p.shape for p in usual.parameters()] == [p.shape for p in first.parameters()]


def test_what_the_shapes_do_not_tell_is_assumed_aloud() -> None:
    built = build("resnet18", tensors=shapes_from("resnet18", **TINY), options={"norm_eps": "1e-3"}, where="test")
    assumed = {sentence.split(" = ")[0] for sentence in built.assumptions}
    assert assumed == {"stem_stride", "max_pool", "strides", "activation"}
    assert built.options["norm_eps"] == 1e-3


def test_resolved_options_rebuild_the_same_network_without_assumptions() -> None:
    first = build("resnet50", options={"width": 4, "classes": 7, "activation": "silu"}, where="test")
    again = build("resnet50", tensors=shapes_from("resnet50", width=4, classes=7), options=first.options, where="t")
    assert again.options == first.options
    assert again.assumptions == ()


def test_wrong_depth_names_the_one_that_fits() -> None:
    with pytest.raises(ArchitectureError) as caught:
        build("resnet18", tensors=shapes_from("resnet34"), where="run.safetensors")
    text = str(caught.value)
    assert text.startswith("run.safetensors: these tensors are not a resnet18")
    assert "depths is 3-4-6-3 in the tensors, but 2-2-2-2 by the architecture's name" in text
    assert "--arch resnet34, which fits these tensors" in text


def test_basic_blocks_are_no_bottlenecks() -> None:
    with pytest.raises(ArchitectureError, match="--arch resnet34, which fits"):
        build("resnet50", tensors=shapes_from("resnet34"), where="test")


def test_grouped_bottlenecks_are_read_from_shapes() -> None:
    shapes = shapes_from("resnet50", groups=32, width_per_group=4)
    assert shapes["layer1.0.conv2.weight"] == (128, 4, 3, 3)  # ResNeXt-50 32x4d
    best = fits(shapes)[0]
    assert (best.name, best.options["groups"], best.options["width_per_group"]) == ("resnet50", 32, 4)
    assert "wide_resnet50_2" not in [fit.name for fit in fits(shapes) if fit.fits]


@pytest.mark.parametrize(("width", "width_per_group"), [(6, 80), (7, 75), (10, 100), (3, 66)])
def test_inner_widths_that_were_rounded_down_are_read_back(width: int, width_per_group: int) -> None:
    shapes = shapes_from("resnet50", width=width, width_per_group=width_per_group)
    assert fits(shapes)[0].name == "resnet50"
    assert shapes_from("resnet50", **fits(shapes)[0].options) == shapes


def test_a_net_without_norms_is_refused_with_a_way_out() -> None:
    shapes = {key: shape for key, shape in shapes_from("resnet18").items() if "bn" not in key}
    with pytest.raises(ArchitectureError) as caught:
        build("resnet18", tensors=shapes, where="test")
    assert "no batch norms" in str(caught.value)
    assert "path/to/file.py:factory" in str(caught.value)


def test_both_namings_at_once_are_refused() -> None:
    shapes = shapes_from("resnet18", **TINY)
    with pytest.raises(ArchitectureError, match="both fc and linear"):
        build("resnet18", tensors=shapes | {"linear.weight": (3, 32)}, where="test")


def test_an_unknown_stem_is_refused() -> None:
    shapes = shapes_from("resnet18") | {"conv1.weight": (64, 3, 5, 5)}
    with pytest.raises(ArchitectureError, match="kernel is 5x5"):
        build("resnet18", tensors=shapes, where="test")


def test_strides_must_count_the_stages() -> None:
    with pytest.raises(ArchitectureError, match=r"strides has 3 number\(s\) for 4 stage\(s\)"):
        build("resnet18", options={"strides": "1-2-2"}, where="test")
