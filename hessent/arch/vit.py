"""Vision transformers under timm's key names.

patches -> linear embedding (+ class token, + learned positions) -> pre-norm blocks of attention and MLP ->
norm -> class token or average -> linear head.

References
----------
Dosovitskiy et al. (2021), An image is worth 16x16 words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hessent.arch.activations import activation_function


class PatchEmbedding(nn.Module):
    """One vector per patch, by a convolution whose stride is its kernel."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, patches, width)."""
        embedded: Tensor = self.proj(images)
        return embedded.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of every token to every token."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        size, length, width = tokens.shape
        # (B, T, 3 · width) -> three of (B, heads, T, width / heads)
        joined = self.qkv(tokens).view(size, length, 3, self.heads, width // self.heads)
        queries, keys, values = joined.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        outputs: Tensor = self.proj(mixed.transpose(1, 2).reshape(size, length, width))
        return outputs


class Mlp(nn.Module):
    """Two linear layers with an activation between, for each token alone."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.act = activation_function(activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        outputs: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return outputs


class Block(nn.Module):
    """Attention, then MLP, each on normed tokens and added to what came in."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, qkv_bias: bool, norm_eps: float, activation: str
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, hidden, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        outputs: Tensor = tokens + self.mlp(self.norm2(tokens))
        return outputs


class VisionTransformer(nn.Module):
    """A vision transformer; its parameters are the options of `hessent.arch.vit_reading.OPTIONS`."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        patch: int,
        image_size: tuple[int, int],
        channels: int,
        classes: int,
        class_token: bool,
        pool: str,
        norm_last: bool,
        qkv_bias: bool,
        head_bias: bool,
        norm_eps: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.pool = pool
        num_tokens = (image_size[0] // patch) * (image_size[1] // patch) + int(class_token)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.patch_embed = PatchEmbedding(channels, width, patch)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, hidden, qkv_bias=qkv_bias, norm_eps=norm_eps, activation=activation)
                for _ in range(depth)
            )
        )
        norm = nn.LayerNorm(width, eps=norm_eps)
        self.norm = nn.Identity() if norm_last else norm
        self.fc_norm = norm if norm_last else nn.Identity()
        self.head = nn.Linear(width, classes, bias=head_bias)
        self._start()

    def _start(self) -> None:
        """Set start values as timm does: normal with deviation 0.02 cut off at 2, biases zero."""
        for parameter in (self.cls_token, self.pos_embed):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        tokens = self.patch_embed(images)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens + self.pos_embed))
        first_patch = 0 if self.cls_token is None else 1
        pooled = tokens[:, 0] if self.pool == "token" else tokens[:, first_patch:].mean(dim=1)
        logits: Tensor = self.head(self.fc_norm(pooled))
        return logits
