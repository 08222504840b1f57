"""Causal self-attention over the last `sequence_len` positions, with or without a cache."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax import Array

from mqc_jax.config import ModelConfig
from mqc_jax.kernels.causal import causal_attention
from mqc_jax.kernels.products import attention
from mqc_jax.model.layers import init_linear, linear, rms_norm
from mqc_jax.model.rope import apply_rope


class KVCache(NamedTuple):
    """Keys and values of all layers for the first `length` positions; shapes never change."""

    keys_LBSKH: Array  # rotated and normalised
    values_LBSKH: Array
    length: Array  # () int32, the same for every layer and row

    @property
    def capacity(self) -> int:
        return self.keys_LBSKH.shape[2]

    def write(self, layer: Array, key_BTKH: Array, value_BTKH: Array) -> KVCache:
        """Put T new positions behind the first `length` of one layer; `length` itself moves once per model call."""
        start = (layer, 0, self.length, 0, 0)
        keys = jax.lax.dynamic_update_slice(self.keys_LBSKH, key_BTKH[None].astype(self.keys_LBSKH.dtype), start)
        values = jax.lax.dynamic_update_slice(
            self.values_LBSKH, value_BTKH[None].astype(self.values_LBSKH.dtype), start
        )
        return self._replace(keys_LBSKH=keys, values_LBSKH=values)


class Attention(nnx.Module):
    """Grouped-query attention; queries and keys are rotated first, then normalised."""

    def __init__(self, config: ModelConfig, key: Array):
        self.config = config
        width, kv_width = config.n_embd, config.n_kv_head * config.head_dim
        query_key, key_key, value_key = jax.random.split(key, 3)
        self.query = nnx.Param(init_linear(query_key, width, width))
        self.key = nnx.Param(init_linear(key_key, width, kv_width))
        self.value = nnx.Param(init_linear(value_key, width, kv_width))
        self.out = nnx.Param(jnp.zeros((width, width)))

    def __call__(
        self, x_BTD: Array, tables: tuple[Array, Array], positions_T: Array, cache: KVCache | None, layer: Array
    ) -> tuple[Array, KVCache | None]:
        """Attend from every position to those at most `sequence_len` − 1 before it; return the new cache, if any."""
        config, dtype = self.config, self.config.dtype

        def heads(weight: Array) -> Array:
            return rearrange(linear(x_BTD, weight, dtype), "B T (N H) -> B T N H", H=config.head_dim)

        query_BTNH = rms_norm(apply_rope(heads(self.query[...]), tables))
        key_BSKH = rms_norm(apply_rope(heads(self.key[...]), tables))
        value_BSKH = heads(self.value[...])
        key_positions_S = positions_T
        if cache is not None:
            cache = cache.write(layer, key_BSKH, value_BSKH)
            key_BSKH, value_BSKH = cache.keys_LBSKH[layer], cache.values_LBSKH[layer]
            key_positions_S = jnp.arange(cache.capacity)

        if cache is None and x_BTD.shape[1] <= config.sequence_len:
            mixed_BTNH = causal_attention(query_BTNH, key_BSKH, value_BSKH, config.attention)
        else:
            distance_TS = positions_T[:, None] - key_positions_S[None, :]
            mask_TS = (distance_TS >= 0) & (distance_TS < config.sequence_len)
            mixed_BTNH = attention(query_BTNH, key_BSKH, value_BSKH, mask=mask_TS[None, None])
        return linear(rearrange(mixed_BTNH, "B T N H -> B T (N H)"), self.out[...], dtype), cache
