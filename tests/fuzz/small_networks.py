"""Names and shapes of the tensors of small networks, one of each built-in family."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]

MLP: Shapes = {
    "layers.0.weight": (6, 64),
    "layers.0.bias": (6,),
    "layers.1.weight": (10, 6),
    "layers.1.bias": (10,),
}
_NORM = ("weight", "bias", "running_mean", "running_var")
_NORMS = ("bn1", "layer1.0.bn1", "layer1.0.bn2")
RESNET: Shapes = {
    "conv1.weight": (4, 1, 3, 3),
    "layer1.0.conv1.weight": (4, 4, 3, 3),
    "layer1.0.conv2.weight": (4, 4, 3, 3),
    **{f"{norm}.{part}": (4,) for norm in _NORMS for part in _NORM},
    "fc.weight": (10, 4),
    "fc.bias": (10,),
}
_BLOCK: Shapes = {"ln_1": (8,), "ln_2": (8,), "attn.c_attn": (24, 8), "attn.c_proj": (8, 8)} | {
    "mlp.c_fc": (32, 8),
    "mlp.c_proj": (8, 32),
}
GPT: Shapes = {
    "transformer.wte.weight": (11, 8),
    "transformer.wpe.weight": (5, 8),
    "transformer.ln_f.weight": (8,),
} | {f"transformer.h.{index}.{name}.weight": shape for index in range(2) for name, shape in _BLOCK.items()}
_VIT_BLOCK: Shapes = {"norm1": (8,), "norm2": (8,), "attn.qkv": (24, 8), "attn.proj": (8, 8)} | {
    "mlp.fc1": (16, 8),
    "mlp.fc2": (8, 16),
}
VIT: Shapes = (
    {"cls_token": (1, 1, 8), "pos_embed": (1, 17, 8), "patch_embed.proj.weight": (8, 1, 2, 2)}
    | {
        "patch_embed.proj.bias": (8,),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "head.weight": (10, 8),
        "head.bias": (10,),
    }
    | {f"blocks.0.{name}.weight": shape for name, shape in _VIT_BLOCK.items()}
    | {f"blocks.0.{name}.bias": shape[:1] for name, shape in _VIT_BLOCK.items()}
)

NETWORKS = (MLP, RESNET, GPT, VIT)
