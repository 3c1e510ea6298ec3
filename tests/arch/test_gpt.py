from __future__ import annotations

import pytest
import torch
from network_shapes import build_meta, randomise, shapes_from
from torch.nn import functional

from hessent.arch.gpt_reading import rename_key
from hessent.arch.registry import build, fits
from hessent.errors import ArchitectureError

TINY = {"vocab": 11, "context": 6, "width": 16, "depth": 2, "heads": 2}

COUNTS = {"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200}

# Keys as nanoGPT writes them, complete for the network and its first block.
GPT2_KEYS = {
    "transformer.wte.weight": (50257, 768),
    "transformer.wpe.weight": (1024, 768),
    "transformer.h.0.ln_1.weight": (768,),
    "transformer.h.0.ln_1.bias": (768,),
    "transformer.h.0.attn.c_attn.weight": (2304, 768),
    "transformer.h.0.attn.c_attn.bias": (2304,),
    "transformer.h.0.attn.c_proj.weight": (768, 768),
    "transformer.h.0.attn.c_proj.bias": (768,),
    "transformer.h.0.ln_2.weight": (768,),
    "transformer.h.0.ln_2.bias": (768,),
    "transformer.h.0.mlp.c_fc.weight": (3072, 768),
    "transformer.h.0.mlp.c_fc.bias": (3072,),
    "transformer.h.0.mlp.c_proj.weight": (768, 3072),
    "transformer.h.0.mlp.c_proj.bias": (768,),
    "transformer.ln_f.weight": (768,),
    "transformer.ln_f.bias": (768,),
    "lm_head.weight": (50257, 768),
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_gpt_parameter_counts_are_the_published_ones_with_the_head_counted_once(name: str, count: int) -> None:
    assert sum(p.numel() for p in build_meta(name).model.parameters()) == count


def test_gpt_keys_and_shapes_are_those_of_nanogpt() -> None:
    found = shapes_from("gpt2")
    assert {key: shape for key, shape in found.items() if ".h." not in key or ".h.0." in key} == GPT2_KEYS
    assert len(found) == 5 + 12 * 12


def test_tied_head_is_the_embedding_itself() -> None:
    model = build("gpt", options=TINY, where="test").model
    assert model.get_parameter("lm_head.weight") is model.get_parameter("transformer.wte.weight")
    own = build("gpt", options={**TINY, "tied": "no"}, where="test").model
    assert own.get_parameter("lm_head.weight") is not own.get_parameter("transformer.wte.weight")


def test_a_file_without_a_head_is_tied_and_one_with_is_assumed_to_be() -> None:
    shapes = shapes_from("gpt", **TINY)
    with_head = build("gpt", tensors=shapes, where="test")
    assert any(sentence.startswith("tied = yes") for sentence in with_head.assumptions)
    del shapes["lm_head.weight"]
    without = build("gpt", tensors=shapes, where="test")
    assert without.options["tied"] is True
    assert not any("tied" in sentence for sentence in without.assumptions)
    assert fits(shapes)[0].fits


def test_no_token_sees_a_later_one() -> None:
    model = randomise(build("gpt", options=TINY, where="test").model)
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    changed = torch.tensor([[1, 2, 3, 9, 10]])
    logits, others = model(tokens), model(changed)
    assert logits.shape == (1, 5, 11)
    torch.testing.assert_close(logits[:, :3], others[:, :3])
    assert not torch.allclose(logits[:, 3:], others[:, 3:])


def test_gpt_forward_is_the_written_formula() -> None:
    model = randomise(build("gpt", options={**TINY, "depth": 1, "heads": 1, "bias": "no"}, where="test").model)
    state = model.state_dict()

    def norm(hidden: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(hidden, (16,), state[f"transformer.{name}.weight"])

    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    hidden = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][:5]
    block = {key.removeprefix("transformer.h.0."): tensor for key, tensor in state.items()}
    queries, keys, values = (norm(hidden, "h.0.ln_1") @ block["attn.c_attn.weight"].T).split(16, dim=2)
    later = torch.ones(5, 5).triu(1).bool()
    scores = (queries @ keys.transpose(1, 2) / 4).masked_fill(later, -torch.inf)
    hidden = hidden + scores.softmax(dim=-1) @ values @ block["attn.c_proj.weight"].T
    inner = functional.gelu(norm(hidden, "h.0.ln_2") @ block["mlp.c_fc.weight"].T)
    hidden = hidden + inner @ block["mlp.c_proj.weight"].T
    expected = norm(hidden, "ln_f") @ state["lm_head.weight"].T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-4, atol=1e-5)


def test_stored_causal_masks_are_dropped_by_the_renaming() -> None:
    shapes = shapes_from("gpt", **TINY)
    old = shapes | {f"transformer.h.{block}.attn.bias": (1, 1, 6, 6) for block in range(2)}
    built = build("gpt", tensors=old, where="test")
    assert built.rename is not None
    assert {new for key in old if (new := built.rename(key)) is not None} == set(shapes)
    assert fits(old)[0].fits
    assert rename_key("module.transformer.h.0.attn.masked_bias") is None
    assert rename_key("transformer.h.0.attn.c_attn.bias") == "transformer.h.0.attn.c_attn.bias"


def test_transposed_weights_of_transformers_are_refused_by_name() -> None:
    shapes = shapes_from("gpt", **TINY)
    turned = {key: shape[::-1] if ".c_" in key and len(shape) == 2 else shape for key, shape in shapes.items()}
    with pytest.raises(ArchitectureError) as caught:
        build("gpt", tensors=turned, where="test")
    assert "c_attn.weight is 16x48: transposed" in str(caught.value)
    assert "--arch hf:DIR" in str(caught.value)


def test_biases_follow_from_the_keys() -> None:
    assert build("gpt", tensors=shapes_from("gpt", **TINY, bias="no"), where="test").options["bias"] is False
    assert build("gpt", tensors=shapes_from("gpt", **TINY), where="test").options["bias"] is True


def test_language_models_default_to_the_next_token_loss() -> None:
    assert build("gpt", options=TINY, where="test").default_loss == "next-token"


def test_fresh_gpt_scales_the_branches_that_join_the_stream() -> None:
    torch.manual_seed(0)
    model = build("gpt", options={**TINY, "width": 64, "depth": 8}, where="test").model
    plain = model.get_submodule("transformer.h.0.mlp.c_fc").weight.std().item()
    joining = model.get_submodule("transformer.h.0.mlp.c_proj").weight.std().item()
    assert plain == pytest.approx(0.02, rel=0.05)
    assert joining == pytest.approx(0.02 / 4, rel=0.05)  # √(2 · 8)
