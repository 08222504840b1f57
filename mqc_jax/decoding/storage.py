"""How a ring holds its numbers: as they are, as bfloat16, or as int8 with a scale per head and position."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

CacheDtype = Literal["float32", "bfloat16", "int8"]
_HELD = {"float32": jnp.float32, "bfloat16": jnp.uint16, "int8": jnp.int8}
_NAMES: dict[Any, CacheDtype] = {"float32": "float32", "uint16": "bfloat16", "int8": "int8"}


class Stored(NamedTuple):
    """Vectors along the axis before the last."""

    numbers: Array  # (..., H, B)
    scale: Array | None  # (..., 1, B) of int8

    @property
    def dtype(self) -> CacheDtype:
        return _NAMES[self.numbers.dtype.name]


def zeros(shape: tuple[int, ...], dtype: CacheDtype) -> Stored:
    """Room for vectors along the axis before the last."""
    scale = jnp.zeros((*shape[:-2], 1, shape[-1]), jnp.float32) if dtype == "int8" else None
    return Stored(jnp.zeros(shape, _HELD[dtype]), scale)


def narrowed(x: Array, dtype: CacheDtype) -> Stored:
    """x in fewer bits: int8 divides each vector by its largest entry over 127.

    bfloat16 is held as the integers of its bits: to write a row of bfloat16, XLA converts the whole buffer on a CPU.
    """
    if dtype == "int8":
        x = x.astype(jnp.float32)
        scale = jnp.max(jnp.abs(x), axis=-2, keepdims=True) / 127
        return Stored(jnp.round(x / jnp.maximum(scale, 1e-30)).astype(jnp.int8), scale)
    if dtype == "bfloat16":
        return Stored(jax.lax.bitcast_convert_type(x.astype(jnp.bfloat16), jnp.uint16), None)
    return Stored(x.astype(jnp.float32), None)


def widened(stored: Stored) -> Array:
    """The numbers in float32, to be multiplied by `scale` where there is one."""
    if stored.numbers.dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(stored.numbers.astype(jnp.uint32) << 16, jnp.float32)
    return stored.numbers.astype(jnp.float32)
