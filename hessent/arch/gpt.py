"""GPT-2 style language models under nanoGPT's key names.

token + position embedding -> pre-norm blocks of causal attention and MLP -> norm -> head, whose weight is the
token embedding's unless `tied` is off.

References
----------
Radford et al. (2019), Language models are unsupervised multitask learners.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hessent.arch.activations import activation_function


class CausalAttention(nn.Module):
    """Self-attention of every token to itself and to those before it."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.c_proj = nn.Linear(width, width, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        size, length, width = tokens.shape
        # (B, T, 3 · width) -> three of (B, heads, T, width / heads)
        joined = self.c_attn(tokens).view(size, length, 3, self.heads, width // self.heads)
        queries, keys, values = joined.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        outputs: Tensor = self.c_proj(mixed.transpose(1, 2).reshape(size, length, width))
        return outputs


class Mlp(nn.Module):
    """Two linear layers with an activation between, for each token alone."""

    def __init__(self, width: int, hidden: int, *, bias: bool, activation: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden, bias=bias)
        self.c_proj = nn.Linear(hidden, width, bias=bias)
        self.act = activation_function(activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        outputs: Tensor = self.c_proj(self.act(self.c_fc(tokens)))
        return outputs


class Block(nn.Module):
    """Attention, then MLP, each on normed tokens and added to what came in."""

    def __init__(
        self, width: int, heads: int, hidden: int, *, bias: bool, norm_eps: float, activation: str
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=norm_eps, bias=bias)
        self.attn = CausalAttention(width, heads, bias=bias)
        self.ln_2 = nn.LayerNorm(width, eps=norm_eps, bias=bias)
        self.mlp = Mlp(width, hidden, bias=bias, activation=activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, width)."""
        tokens = tokens + self.attn(self.ln_1(tokens))
        outputs: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return outputs


class Trunk(nn.Module):
    """Everything below the head: embeddings, blocks and the final norm."""

    def __init__(
        self,
        vocab: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        *,
        bias: bool,
        norm_eps: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocab, width)
        self.wpe = nn.Embedding(context, width)
        self.h = nn.ModuleList(
            Block(width, heads, hidden, bias=bias, norm_eps=norm_eps, activation=activation) for _ in range(depth)
        )
        self.ln_f = nn.LayerNorm(width, eps=norm_eps, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T), int64, to (B, T, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.wte(tokens) + self.wpe(places)
        for block in self.h:
            hidden = block(hidden)
        normed: Tensor = self.ln_f(hidden)
        return normed


class Gpt(nn.Module):
    """A GPT; its parameters are the options of `hessent.arch.gpt_reading.OPTIONS`."""

    def __init__(
        self,
        *,
        vocab: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        bias: bool,
        tied: bool,
        norm_eps: float,
        activation: str,
    ) -> None:
        super().__init__()
        self.transformer = Trunk(
            vocab, context, width, depth, heads, hidden, bias=bias, norm_eps=norm_eps, activation=activation
        )
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self._start(depth)
        if tied:
            self.lm_head.weight = self.transformer.wte.weight

    def _start(self, depth: int) -> None:
        """Set start values as GPT-2 does: deviation 0.02, less by √(2 · depth) where a branch joins the stream."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                joins = name.endswith("c_proj")
                nn.init.normal_(module.weight, std=0.02 / (2 * depth) ** 0.5 if joins else 0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T), int64, T at most the context, to logits (B, T, vocab)."""
        logits: Tensor = self.lm_head(self.transformer(tokens))
        return logits
