from __future__ import annotations

import math

import pytest
import torch
from network_shapes import build_meta, randomise, shapes_from
from torch import Tensor
from torch.nn import functional

from hessent.arch.registry import build, fits
from hessent.errors import ArchitectureError

TINY = {"width": 16, "depth": 2, "heads": 4, "patch": 2, "image_size": "6", "channels": 1, "classes": 3}

# Parameter counts as published for timm's models.
COUNTS = {
    "vit_tiny_patch16_224": 5_717_416,
    "vit_small_patch16_224": 22_050_664,
    "vit_base_patch16_224": 86_567_656,
    "vit_large_patch16_224": 304_326_632,
}

# Keys as timm writes them, complete for the network and its first block.
VIT_BASE_KEYS = {
    "cls_token": (1, 1, 768),
    "pos_embed": (1, 197, 768),
    "patch_embed.proj.weight": (768, 3, 16, 16),
    "patch_embed.proj.bias": (768,),
    "blocks.0.norm1.weight": (768,),
    "blocks.0.norm1.bias": (768,),
    "blocks.0.attn.qkv.weight": (2304, 768),
    "blocks.0.attn.qkv.bias": (2304,),
    "blocks.0.attn.proj.weight": (768, 768),
    "blocks.0.attn.proj.bias": (768,),
    "blocks.0.norm2.weight": (768,),
    "blocks.0.norm2.bias": (768,),
    "blocks.0.mlp.fc1.weight": (3072, 768),
    "blocks.0.mlp.fc1.bias": (3072,),
    "blocks.0.mlp.fc2.weight": (768, 3072),
    "blocks.0.mlp.fc2.bias": (768,),
    "norm.weight": (768,),
    "norm.bias": (768,),
    "head.weight": (1000, 768),
    "head.bias": (1000,),
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_vit_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    assert sum(p.numel() for p in build_meta(name).model.parameters()) == count


def test_vit_keys_and_shapes_are_those_of_timm() -> None:
    found = shapes_from("vit_base_patch16_224")
    first = {key: shape for key, shape in found.items() if not key.startswith("blocks.") or key[7:9] == "0."}
    assert first == VIT_BASE_KEYS
    assert len(found) == 8 + 12 * 12


def test_vit_forward_is_the_written_formula() -> None:
    model = randomise(build("vit", options={**TINY, "depth": 1}, where="test").model)
    state = model.state_dict()

    def norm(tokens: Tensor, name: str) -> Tensor:
        return functional.layer_norm(tokens, (16,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(tokens: Tensor, name: str) -> Tensor:
        return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    images = torch.randn(2, 1, 6, 6)
    patches = images.unfold(2, 2, 2).unfold(3, 2, 2).reshape(2, 9, 4)  # row by row, 2x2 pixels each
    embedded = patches @ state["patch_embed.proj.weight"].reshape(16, 4).T + state["patch_embed.proj.bias"]
    tokens = torch.cat([state["cls_token"].expand(2, 1, 16), embedded], dim=1) + state["pos_embed"]
    queries, keys, values = linear(norm(tokens, "blocks.0.norm1"), "blocks.0.attn.qkv").split(16, dim=2)
    heads = []
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        scores = queries[..., part] @ keys[..., part].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=-1) @ values[..., part])
    tokens = tokens + linear(torch.cat(heads, dim=-1), "blocks.0.attn.proj")
    hidden = functional.gelu(linear(norm(tokens, "blocks.0.norm2"), "blocks.0.mlp.fc1"))
    tokens = norm(tokens + linear(hidden, "blocks.0.mlp.fc2"), "norm")
    torch.testing.assert_close(model(images), linear(tokens[:, 0], "head"), rtol=1e-4, atol=1e-5)


def test_average_pooling_leaves_the_class_token_out() -> None:
    model = randomise(build("vit", options={**TINY, "pool": "avg"}, where="test").model)
    seen: list[Tensor] = []
    model.get_submodule("norm").register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(torch.randn(2, 1, 6, 6))
    torch.testing.assert_close(logits, model.get_submodule("head")(seen[0][:, 1:].mean(dim=1)))


def test_a_final_norm_after_pooling_is_read_from_its_name() -> None:
    shapes = shapes_from("vit", **TINY, norm_last="yes")
    assert "fc_norm.weight" in shapes
    assert "norm.weight" not in shapes
    built = build("vit", tensors=shapes, options={"heads": 4}, where="test")
    assert (built.options["norm_last"], built.options["pool"]) == (True, "avg")
    assert built.model(torch.randn(2, 1, 6, 6)).shape == (2, 3)


def test_heads_are_assumed_aloud_unless_the_name_or_the_user_tells() -> None:
    shapes = shapes_from("vit_tiny_patch16_224")
    with torch.device("meta"):
        generic = build("vit", tensors=shapes, where="test")
        named = build("vit_tiny_patch16_224", tensors=shapes, where="test")
        told = build("vit", tensors=shapes, options={"heads": "3"}, where="test")
    assert [built.options["heads"] for built in (generic, named, told)] == [3, 3, 3]
    assert any(sentence.startswith("heads = 3: width / 64") for sentence in generic.assumptions)
    assert not any("heads" in sentence for sentence in named.assumptions + told.assumptions)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ArchitectureError, match="5 heads do not divide the width 16"):
        build("vit", options={**TINY, "heads": 5}, where="test")


def test_mlp_ratio_is_another_way_to_say_hidden() -> None:
    assert build_meta("vit", **TINY, mlp_ratio=2).options["hidden"] == 32
    shapes = shapes_from("vit", **TINY, mlp_ratio=2)
    assert build("vit", tensors=shapes, options={"mlp_ratio": "2"}, where="test").options["hidden"] == 32
    with pytest.raises(ArchitectureError, match="hidden is 32 in the tensors, but 48 by the option"):
        build("vit", tensors=shapes, options={"mlp_ratio": "3"}, where="test")


def test_an_oblong_image_needs_its_size() -> None:
    shapes = shapes_from("vit", **{**TINY, "image_size": "4x6"})
    with pytest.raises(ArchitectureError, match="places for 6 patches, which make no square image"):
        build("vit", tensors=shapes, where="test")
    built = build("vit", tensors=shapes, options={"image_size": "4x6", "heads": 4}, where="test")
    assert built.model(torch.randn(2, 1, 4, 6)).shape == (2, 3)
    with pytest.raises(ArchitectureError, match="image_size 4-8 makes 8 patches, pos_embed has places for 6"):
        build("vit", tensors=shapes, options={"image_size": "4x8"}, where="test")
    assert build("auto", tensors=shapes, options={"image_size": "4x6"}, where="test").name == "vit"


def test_image_size_is_made_of_patches() -> None:
    with pytest.raises(ArchitectureError, match="image_size 7-7 is not made of 2x2 patches"):
        build("vit", options={**TINY, "image_size": "7"}, where="test")


def test_a_vit_of_another_image_size_is_not_the_named_one() -> None:
    shapes = shapes_from("vit", width=192, depth=12, image_size=384)
    with pytest.raises(ArchitectureError) as caught:
        build("vit_tiny_patch16_224", tensors=shapes, where="test")
    assert "--arch vit, which fits these tensors" in str(caught.value)
    assert fits(shapes)[0].name == "vit"


def test_fresh_vit_starts_near_the_uniform_answer() -> None:
    torch.manual_seed(0)
    model = build("vit", options={**TINY, "width": 64, "classes": 10}, where="test").model
    weight = model.get_submodule("blocks.0.mlp.fc1").weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model(torch.randn(4, 1, 6, 6)).abs().max() < 1
