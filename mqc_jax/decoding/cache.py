"""An empty cache: the one place that knows how large it has to be."""

from __future__ import annotations

import jax.numpy as jnp

from mqc_jax.config import ModelConfig
from mqc_jax.model import KVCache


def empty_cache(config: ModelConfig, *, batch: int, capacity: int) -> KVCache:
    """A cache for `capacity` positions of `batch` rows, in the model's compute dtype."""
    shape = (config.n_layer, batch, capacity, config.n_kv_head, config.head_dim)
    zeros = jnp.zeros(shape, config.dtype)
    return KVCache(zeros, zeros, jnp.int32(0))
