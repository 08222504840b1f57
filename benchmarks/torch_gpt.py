"""The original's architecture in plain PyTorch, written from its rules: the model that parity tests and timings face.

Parameter names are those of the original's checkpoints. What ours adds is here too, and off unless asked for: float
inputs, the ordinal basis, dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class GPTConfig:
    """The original's configuration."""

    sequence_len: int = 512
    vocab_size: int = 128
    n_layer: int = 8
    n_head: int = 8
    n_kv_head: int = 8
    n_embd: int = 512
    dropout: float = 0.0
    n_inputs: int = 0


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.head_dim = config.n_embd // config.n_head
        kv_width = config.n_kv_head * self.head_dim
        self.c_q = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_k = nn.Linear(config.n_embd, kv_width, bias=False)
        self.c_v = nn.Linear(config.n_embd, kv_width, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = (f(x).view(batch, time, -1, self.head_dim) for f in (self.c_q, self.c_k, self.c_v))
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.size(1) != k.size(1))
        return self.c_proj(y.transpose(1, 2).reshape(batch, time, width))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.relu(self.c_fc(x)).square())


class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.attn = Attention(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(norm(x), cos, sin))
        return x + self.dropout(self.mlp(norm(x)))


class TorchGPT(nn.Module):
    """Tokens (B, T), and float inputs (B, T, F) if it reads any, to float32 logits (B, T, vocab_size).

    With a `basis` (V, P) of the bins and their `log_masses` (V,), tokens are embedded and predicted through it.
    """

    def __init__(
        self,
        config: GPTConfig,
        rope_dtype: torch.dtype = torch.bfloat16,
        basis: np.ndarray | None = None,
        log_masses: np.ndarray | None = None,
    ):
        super().__init__()
        self.config, self.ordinal = config, basis is not None
        rows = -(-config.vocab_size // 64) * 64 if basis is None else basis.shape[1]
        embedding = nn.Embedding(rows, config.n_embd) if basis is None else nn.Linear(rows, config.n_embd, bias=False)
        self.transformer = nn.ModuleDict(
            {"wte": embedding, "h": nn.ModuleList(Block(config) for _ in range(config.n_layer))}
        )
        if config.n_inputs:
            self.transformer["wie"] = nn.Linear(config.n_inputs, config.n_embd, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.lm_head = nn.Linear(config.n_embd, rows, bias=False)
        half = config.n_embd // config.n_head // 2
        inverse = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(config.sequence_len, dtype=torch.float32)[:, None] * inverse
        for name, f in (("cos", torch.cos), ("sin", torch.sin)):
            self.register_buffer(name, f(angle).to(rope_dtype).float()[None, :, None], persistent=False)
        if basis is not None:
            self.register_buffer("basis", torch.as_tensor(basis), persistent=False)
            self.register_buffer("log_masses", torch.as_tensor(log_masses, dtype=torch.float32), persistent=False)

    def forward(self, tokens: Tensor, inputs: Tensor | None = None) -> Tensor:
        x = self.transformer["wte"](self.basis[tokens] if self.ordinal else tokens)
        if self.config.n_inputs:
            x = x + self.transformer["wie"](inputs)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        x = self.dropout(norm(x))
        cos, sin = (table[:, : tokens.size(1)] for table in (self.cos, self.sin))
        for block in self.transformer["h"]:
            x = block(x, cos, sin)
        head = self.lm_head(norm(x)).float()
        if not self.ordinal:
            return 15 * torch.tanh(head[..., : self.config.vocab_size] / 15)
        with torch.autocast(device, enabled=False):
            return 15 * torch.tanh(head @ self.basis.T / 15) + self.log_masses

    def loss(self, tokens: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of each next token, nats."""
        logits = self(tokens[:, :-1], inputs)
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def randomise(model: nn.Module, seed: int) -> None:
    """Give every parameter, the zero-initialised too, values of the size that training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            std = 1.0 if parameter.shape[0] % 64 == 0 and parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
