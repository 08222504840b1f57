"""Matrix products in the forms for which processors have kernels."""

from __future__ import annotations

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
    return jax.lax.dot_general(x, y, axes, preferred_element_type=jnp.float32)


def transposed(x: Array) -> Array:
    """x.mT, moved in memory: a CPU multiplies what only looks transposed at half the speed."""
    return with_layout_constraint(x.mT, Layout(major_to_minor=tuple(range(x.ndim))))
