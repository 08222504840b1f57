"""Matrix products in the forms for which processors have kernels.

A product of float32 operands is one: GPUs and TPUs would round them first, to TF32 or bfloat16, unless told otherwise.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.layout import Layout, with_layout_constraint


def product(x: Array, y: Array, over: int = -2) -> Array:
    """Sum over the last axis of x and axis `over` of y, -2 (x @ y) or -1 (x @ y.T), in float32.

    The leading axes of y are those of x, one by one, or none.
    """
    batch = tuple(range(y.ndim - 2))
    axes = (((x.ndim - 1,), (y.ndim + over,)), (batch, batch))
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jax.lax.dot_general(x, y, axes, precision=precision, preferred_element_type=jnp.float32)


def attention(query_BTNH: Array, key_BSKH: Array, value_BSKH: Array, **how: Any) -> Array:
    """`jax.nn.dot_product_attention`, whose products are not rounded either."""
    with jax.default_matmul_precision("highest") if query_BTNH.dtype == jnp.float32 else nullcontext():
        return jax.nn.dot_product_attention(query_BTNH, key_BSKH, value_BSKH, **how)


def transposed(x: Array) -> Array:
    """x.mT, moved in memory: a CPU multiplies what only looks transposed at half the speed."""
    return with_layout_constraint(x.mT, Layout(major_to_minor=tuple(range(x.ndim))))
