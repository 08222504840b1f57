"""Decoding with PyTorch as it should be done: prompts read once, keys and values in buffers of fixed size, sampling on
the whole batch. And as the original does it, with the prefix computed again for every token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.torch_gpt import TorchGPT, norm, rotate


def draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """One token per row, (B, 1); without a generator the likeliest."""
    if generator is None:
        return logits.argmax(dim=-1, keepdim=True)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)


class CachedDecoder:
    """Draws tokens with a TorchGPT in its parameters' precision; every row has keys and values of its own."""

    def __init__(self, model: TorchGPT, batch: int, capacity: int):
        config = model.config
        self.model, self.head_dim = model, config.n_embd // config.n_head
        shape = (config.n_layer, 2, batch, config.n_kv_head, capacity, self.head_dim)
        self.cache = torch.zeros(shape, dtype=model.lm_head.weight.dtype)

    @torch.inference_mode()
    def draw(self, prompt: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
        """`steps` tokens behind each row of `prompt` (B, T)."""
        logits, drawn, length = self.read(prompt, 0), [], prompt.shape[1]
        for step in range(steps):
            token = draw(logits, generator)
            drawn.append(token)
            logits = self.read(token, length + step)
        return torch.cat(drawn, dim=1)

    def read(self, tokens: Tensor, start: int) -> Tensor:
        """Read (B, T) tokens at positions from `start`; float32 logits of the next, (B, V)."""
        model, (batch, time) = self.model, tokens.shape
        end = start + time
        cos, sin = (table[:, start:end] for table in (model.cos, model.sin))
        x = norm(model.transformer["wte"](tokens))
        for layer, block in enumerate(model.transformer["h"]):
            y, attention = norm(x), block.attn
            q, k, v = (f(y).view(batch, time, -1, self.head_dim) for f in (attention.c_q, attention.c_k, attention.c_v))
            q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
            keys, values = self.cache[layer]
            keys[:, :, start:end], values[:, :, start:end] = k.transpose(1, 2), v.transpose(1, 2)
            seen = (t[:, :, :end] for t in (keys, values))
            mixed = F.scaled_dot_product_attention(
                q.transpose(1, 2), *seen, is_causal=time > 1, enable_gqa=q.size(2) != k.size(2)
            )
            x = x + attention.c_proj(mixed.transpose(1, 2).reshape(batch, time, -1))
            x = x + block.mlp(norm(x))
        head = model.lm_head(norm(x[:, -1])).float()
        return 15 * torch.tanh(head[..., : model.config.vocab_size] / 15)


@torch.inference_mode()
def draw_again_and_again(model: TorchGPT, prompt: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    """The original's way: all tokens so far through the network for every new one."""
    tokens = prompt
    for _ in range(steps):
        tokens = torch.cat([tokens, draw(model(tokens)[:, -1], generator)], dim=1)
    return tokens[:, prompt.shape[1] :]
