"""A model's weights as the decoder multiplies by them: cast, joined and turned once, before the first step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mqc_jax.kernels.products import transposed
from mqc_jax.model import GPT


class LayerWeights(NamedTuple):
    """One block. Matrices are (out, in): paths stand last in what they multiply."""

    qkv: Array  # ((N + 2K) H, D)
    out: Array  # (D, N H)
    fc: Array  # (4 D, D)
    proj: Array  # (D, 4 D)


class DecoderWeights(NamedTuple):
    """All that a step multiplies by, in the model's compute dtype."""

    embed_VD: Array  # special tokens included
    inputs_DF: Array | None
    layers: tuple[LayerWeights, ...]
    head_RD: Array


def decoder_weights(model: GPT) -> DecoderWeights:
    """What follows from the model alone."""
    config = model.config

    def turned(weight: Array) -> Array:
        return transposed(weight.astype(config.dtype))

    def layer(n: int) -> LayerWeights:
        block = jax.tree.map(lambda x: x[n], model.blocks)
        attention, mlp = block.attention, block.mlp
        qkv = jnp.concatenate([attention.query[...], attention.key[...], attention.value[...]], axis=1)
        return LayerWeights(*map(turned, (qkv, attention.out[...], mlp.fc[...], mlp.proj[...])))

    return DecoderWeights(
        embed_VD=model.embed_tokens(jnp.arange(config.vocab_size + config.n_special)),
        inputs_DF=turned(model.embed_inputs[...]) if config.inputs else None,
        layers=tuple(layer(n) for n in range(config.n_layer)),
        head_RD=turned(model.head[...]),
    )
