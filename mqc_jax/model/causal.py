"""Causal attention within a window: the same result in the three ways that hardware likes."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array
from jax.typing import DTypeLike

from mqc_jax.model.precision import is_ampere_or_newer

BLOCK = 64  # queries that share one product
Way = Literal["blocks", "xla", "cudnn"]


def causal_attention(query_BTNH: Array, key_BTKH: Array, value_BTKH: Array, way: Way | Literal["auto"]) -> Array:
    """Every position attends to itself and those before it: (B, T, N, H), scaled by 1/√H."""
    if way == "auto":
        backend = jax.default_backend()
        fused = backend == "gpu" and is_ampere_or_newer()
        way = best_way("ampere" if fused else backend, query_BTNH.dtype, query_BTNH.shape[-1])
    if way == "blocks":
        return _in_blocks(query_BTNH, key_BTKH, value_BTKH)
    return jax.nn.dot_product_attention(query_BTNH, key_BTKH, value_BTKH, is_causal=True, implementation=way)


def best_way(backend: str, dtype: DTypeLike, head_dim: int) -> Way:
    """cuDNN's kernel where it may be used (half precision, heads of 8, 16, … 128), blocks on a CPU, XLA elsewhere.

    `backend` is JAX's name, or 'ampere' for a GPU that has the kernel.
    """
    if backend == "ampere" and dtype in (jnp.bfloat16, jnp.float16) and head_dim % 8 == 0 and head_dim <= 128:
        return "cudnn"
    return "blocks" if backend == "cpu" else "xla"


def _in_blocks(query_BTNH: Array, key_BTKH: Array, value_BTKH: Array) -> Array:
    """A block of queries is multiplied with the keys up to its own end only: little more than half of all scores."""
    n_groups = key_BTKH.shape[2]
    query = rearrange(query_BTNH, "B T (K G) H -> B K G T H", K=n_groups)
    key, value = (rearrange(x, "B S K H -> B K S H") for x in (key_BTKH, value_BTKH))
    length = query.shape[3]
    mixed = [_block(query, key, value, low, min(low + BLOCK, length)) for low in range(0, length, BLOCK)]
    return rearrange(jnp.concatenate(mixed, axis=3), "B K G T H -> B T (K G) H")


def _block(query: Array, key: Array, value: Array, low: int, high: int) -> Array:
    """What the queries from `low` to `high` read."""
    scores = jnp.einsum(
        "BKGTH,BKSH->BKGTS", query[..., low:high, :], key[:, :, :high], preferred_element_type=jnp.float32
    )
    seen_TS = jnp.arange(low, high)[:, None] >= jnp.arange(high)
    shares = jax.nn.softmax(jnp.where(seen_TS, scores * query.shape[-1] ** -0.5, -jnp.inf)).astype(value.dtype)
    mixed = jnp.einsum("BKGTS,BKSH->BKGTH", shares, value[:, :, :high], preferred_element_type=jnp.float32)
    return mixed.astype(value.dtype)
