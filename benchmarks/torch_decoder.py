"""Decoding with PyTorch as it should be done: prompts read once, keys and values in buffers of fixed size, sampling on
the whole batch. And as the original does it, with the prefix computed again for every token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.torch_gpt import TorchGPT, norm, rotate


class CachedDecoder:
    """Draws tokens with a TorchGPT in its parameters' precision; every row has keys and values of its own."""

    def __init__(self, model: TorchGPT, batch: int, capacity: int):
        config = model.config
        self.model, self.head_dim = model, config.n_embd // config.n_head
        shape = (config.n_layer, 2, batch, config.n_kv_head, capacity, self.head_dim)
        self.cache = torch.zeros(shape, dtype=model.lm_head.weight.dtype)

    @torch.inference_mode()
    def generate(self, prompt: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """`steps` tokens behind each row of `prompt` (B, T)."""
        logits, drawn, length = self.read(prompt, 0), [], prompt.shape[1]
        for step in range(steps):
            token = torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)
            drawn.append(token)
            logits = self.read(token, length + step)
        return torch.cat(drawn, dim=1)

    def read(self, tokens: Tensor, start: int) -> Tensor:
        """Read (B, T) tokens at positions from `start`; float32 logits of the next, (B, V)."""
        model, (batch, time) = self.model, tokens.shape
        cos, sin = (table[:, start : start + time] for table in (model.cos, model.sin))
        x = norm(model.transformer["wte"](tokens))
        for layer, block in enumerate(model.transformer["h"]):
            y, attention = norm(x), block.attn
            q, k, v = (f(y).view(batch, time, -1, self.head_dim) for f in (attention.c_q, attention.c_k, attention.c_v))
            q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
            keys, values = self.cache[layer]
            keys[:, :, start : start + time], values[:, :, start : start + time] = k.transpose(1, 2), v.transpose(1, 2)
            seen = (t[:, :, : start + time] for t in (keys, values))
            mixed = F.scaled_dot_product_attention(
                q.transpose(1, 2), *seen, is_causal=time > 1, enable_gqa=q.size(2) != k.size(2)
            )
            x = x + attention.c_proj(mixed.transpose(1, 2).reshape(batch, time, -1))
            x = x + block.mlp(norm(x))
        head = model.lm_head(norm(x[:, -1])).float()
        return 15 * torch.tanh(head[..., : model.config.vocab_size] / 15)


@torch.inference_mode()
def generate_again_and_again(model: TorchGPT, prompt: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """The original's way: all tokens so far through the network for every new one."""
    tokens = prompt
    for _ in range(steps):
        logits = model(tokens)[:, -1]
        drawn = torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator)
        tokens = torch.cat([tokens, drawn], dim=1)
    return tokens[:, prompt.shape[1] :]
