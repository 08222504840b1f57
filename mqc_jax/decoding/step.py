"""One token of many paths through the network, paths last: every loop of a step runs over paths, and every product is
weights times paths, for which processors have kernels.

The same network as `mqc_jax.model.GPT`, and a test holds the two together. Axis letters: those of `cache`, and D width
G query heads of a key-value head  F float inputs  V vocabulary.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from mqc_jax.config import ModelConfig
from mqc_jax.decoding.attention import over_prompts, over_ring
from mqc_jax.decoding.cache import DecoderCache, Ring, Shared
from mqc_jax.decoding.weights import DecoderWeights
from mqc_jax.kernels.products import product
from mqc_jax.model import GPT
from mqc_jax.model.layers import relu_squared, rms_norm
from mqc_jax.model.rope import rope_tables, rotate


def step(
    model: GPT, weights: DecoderWeights, cache: DecoderCache, token_B: Array, inputs_BF: Array | None
) -> tuple[Array, DecoderCache]:
    """Read one token of each of B paths; logits of the next, float32 (B, V), and the cache behind it."""
    config, dtype = model.config, model.config.dtype
    x_DB = weights.embed_VD[token_B].T
    if weights.inputs_DF is not None:
        if inputs_BF is None:
            raise ValueError("this model reads float inputs beside the tokens; pass inputs and their feedback")
        x_DB = x_DB + product(weights.inputs_DF, inputs_BF.T.astype(dtype)).astype(dtype)
    x_DB = rms_norm(x_DB, axis=0)
    tables = _tables(cache, config, len(token_B))
    rings = []
    for layer, ring in zip(weights.layers, cache.rings, strict=True):
        shared = None if cache.shared is None else cache.shared[len(rings)]
        qkv = product(layer.qkv, rms_norm(x_DB, axis=0)).astype(dtype)
        mixed, ring = _attention(qkv, tables, shared, ring, cache, config)
        x_DB = x_DB + product(layer.out, mixed.astype(dtype)).astype(dtype)
        hidden = relu_squared(product(layer.fc, rms_norm(x_DB, axis=0)).astype(dtype))
        x_DB = x_DB + product(layer.proj, hidden).astype(dtype)
        rings.append(ring)
    logits_BV = model.logits_of(product(weights.head_RD, rms_norm(x_DB, axis=0)).T)
    return logits_BV, cache._replace(rings=tuple(rings), t=cache.t + 1)


def _attention(
    qkv: Array,
    tables: tuple[Array, Array],
    shared: Shared | None,
    ring: Ring,
    cache: DecoderCache,
    config: ModelConfig,
) -> tuple[Array, Ring]:
    """What each path's heads read, (N H, B), and the ring with its newest keys and values."""
    heads = qkv.reshape(-1, config.head_dim, qkv.shape[1])
    query, key, value = jnp.split(heads, [config.n_head, config.n_head + config.n_kv_head])
    query, key = (rms_norm(rotate(x, *tables, axis=1), axis=1) for x in (query, key))
    ring = ring.write(cache.t, key, value)
    query_KGHB = query.reshape(config.n_kv_head, -1, *query.shape[1:])
    sums = over_ring(query_KGHB.astype(jnp.float32), ring, cache.t, cache.first_B(qkv.shape[1]), config.sequence_len)
    if shared is not None:
        sums += over_prompts(query_KGHB, shared, cache.seen_MP(config.sequence_len))
    return sums.mean().reshape(-1, qkv.shape[1]), ring


def _tables(cache: DecoderCache, config: ModelConfig, batch: int) -> tuple[Array, Array]:
    """Cosine and sine of the newest position of each path, (H/2, B)."""
    tables = rope_tables(cache.position_M(), config.head_dim, config.rope_dtype)
    cos, sin = (jnp.repeat(table.T, batch // len(cache.length_M), axis=1) for table in tables)
    return cos, sin
