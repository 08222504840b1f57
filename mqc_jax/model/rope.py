"""Rotary positions (Su et al., arXiv 2104.09864) with the seed's pairs and sign."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

BASE = 10_000.0


def rope_tables(positions_T: Array, head_dim: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Cosine and sine of every position's angles, each (T, H/2), rounded to `dtype` and returned in float32."""
    half = head_dim // 2
    angle_Th = positions_T[:, None] * BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    cos_Th, sin_Th = (f(angle_Th).astype(dtype).astype(jnp.float32) for f in (jnp.cos, jnp.sin))
    return cos_Th, sin_Th


def apply_rope(x_BTNH: Array, tables: tuple[Array, Array]) -> Array:
    """Rotate the pairs (first half, second half) of each head by minus the position, in float32."""
    return rotate(x_BTNH, *(table[:, None, :] for table in tables))


def rotate(x: Array, cos: Array, sin: Array, *, axis: int = -1) -> Array:
    """Turn the pairs along `axis` by minus the angles, whose axis is half as long; in float32."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=axis)
    return jnp.concatenate([a * cos + b * sin, b * cos - a * sin], axis=axis).astype(x.dtype)
