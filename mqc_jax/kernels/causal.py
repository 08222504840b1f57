"""Causal attention within a window: the same result in the three ways that hardware likes."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array
from jax.typing import DTypeLike

from mqc_jax.kernels.precision import is_ampere_or_newer
from mqc_jax.kernels.products import attention, product, transposed

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
    return attention(query_BTNH, key_BTKH, value_BTKH, is_causal=True, implementation=way)


def best_way(backend: str, dtype: DTypeLike, head_dim: int) -> Way:
    """cuDNN's kernel where it may be used (half precision, heads of 8, 16, … 128), blocks on a CPU, XLA elsewhere.

    `backend` is JAX's name, or 'ampere' for a GPU that has the kernel.
    """
    if backend == "ampere" and dtype in (jnp.bfloat16, jnp.float16) and head_dim % 8 == 0 and head_dim <= 128:
        return "cudnn"
    return "blocks" if backend == "cpu" else "xla"


def _in_blocks(query_BTNH: Array, key_BTKH: Array, value_BTKH: Array) -> Array:
    """A block of queries is multiplied with the keys up to its own end only: little more than half of all scores."""
    group = query_BTNH.shape[2] // key_BTKH.shape[2]
    query, key, value = (rearrange(x, "B T N H -> B N T H") for x in (query_BTNH, key_BTKH, value_BTKH))
    key, value = (jnp.repeat(x, group, axis=1) for x in (key, value))
    return rearrange(_attend(query, key, value), "B N T H -> B T N H")


@jax.custom_vjp
def _attend(query: Array, key: Array, value: Array) -> Array:
    return _attend_forward(query, key, value)[0]


def _attend_forward(query: Array, key: Array, value: Array) -> tuple[Array, Any]:
    """Shares of attention are not divided by their sums: only what is read with them is."""
    parts, sums, mixed = [], [], []
    for low, high in _bounds(query):
        scores = product(query[..., low:high, :], key[..., :high, :], over=-1)
        seen_TS = jnp.arange(low, high)[:, None] >= jnp.arange(high)
        # queries and keys are normalised: no score is beyond ±√H, so no maximum need be taken off; with heads of at
        # most 4096 (ModelConfig) exp is from 1.6e-28 to 6.2e27, and float32 holds 5e10 times as much
        part = jnp.where(seen_TS, jnp.exp(scores * query.shape[-1] ** -0.5), 0)
        total = jnp.sum(part, axis=-1, keepdims=True)
        part = part.astype(value.dtype)
        parts.append(part)
        sums.append(total)
        mixed.append((product(part, value[..., :high, :]) / total).astype(value.dtype))
    found = jnp.concatenate(mixed, axis=-2)
    return found, (query, key, value, found, parts, jnp.concatenate(sums, axis=-2))


def _attend_backward(saved: Any, slope: Array) -> tuple[Array, Array, Array]:
    """Autodiff would pass over the scores twice as often, and multiply by what only looks transposed."""
    query, key, value, found, parts, sums = saved
    mean = jnp.sum(slope.astype(jnp.float32) * found.astype(jnp.float32), axis=-1, keepdims=True) / sums
    slope = (slope.astype(jnp.float32) / sums).astype(query.dtype)
    query_HT, slope_HT = transposed(query), transposed(slope)
    query_slope, key_slope_HS, value_slope_HS = [], jnp.zeros(()), jnp.zeros(())
    for part, (low, high) in zip(parts, _bounds(query), strict=True):
        uphill = product(slope[..., low:high, :], value[..., :high, :], over=-1) - mean[..., low:high, :]
        uphill = (part.astype(jnp.float32) * uphill * query.shape[-1] ** -0.5).astype(query.dtype)
        query_slope.append(product(uphill, key[..., :high, :]).astype(query.dtype))
        behind = [(0, 0)] * (uphill.ndim - 1) + [(0, query.shape[-2] - high)]
        key_slope_HS += jnp.pad(product(query_HT[..., low:high], uphill), behind)
        value_slope_HS += jnp.pad(product(slope_HT[..., low:high], part), behind)
    key_slope, value_slope = (x.astype(key.dtype).mT for x in (key_slope_HS, value_slope_HS))
    return jnp.concatenate(query_slope, axis=-2), key_slope, value_slope


_attend.defvjp(_attend_forward, _attend_backward)


def _bounds(query: Array) -> list[tuple[int, int]]:
    length = query.shape[-2]
    return [(low, min(low + BLOCK, length)) for low in range(0, length, BLOCK)]
