"""The pieces every block shares: the one matrix product, the norm, dropout, the initialisation.

Axis letters of this package: B batch  T time  S cached time  D width  N heads  K key-value heads  H head width
F float inputs  V vocabulary  P functions of the ordinal basis  L layers.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mqc_jax.kernels.products import product, transposed

EPSILON = float(jnp.finfo(jnp.float32).eps)


def linear(x: Array, weight: Array, dtype: DTypeLike, out: DTypeLike | None = None) -> Array:
    """x @ weight with operands in `dtype` and sums in float32; returns `out`, or `dtype`. No bias."""
    return _linear(x.astype(dtype), weight, out or dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _linear(x: Array, weight: Array, out: DTypeLike) -> Array:
    return product(x, weight.astype(x.dtype)).astype(out)


def _linear_forward(x: Array, weight: Array, out: DTypeLike) -> tuple[Array, tuple[Array, Array]]:
    return product(x, weight.astype(x.dtype)).astype(out), (x, weight)  # seen by what chooses products to keep


def _linear_backward(out: DTypeLike, saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    """Autodiff would multiply float32 slopes by bfloat16 weights, and contract rows, for which CPUs have no kernel."""
    x, weight = saved
    slope = slope.astype(x.dtype)
    x_slope = product(slope, weight.astype(x.dtype), over=-1).astype(x.dtype)
    return x_slope, product(transposed(_rows(x)), _rows(slope)).astype(weight.dtype)


_linear.defvjp(_linear_forward, _linear_backward)


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


@jax.custom_vjp
def relu_squared(x: Array) -> Array:
    """max(x, 0)²; its slope 2·max(x, 0) is found from the result, so that x need not be kept."""
    return jnp.square(jax.nn.relu(x))


def _relu_squared_forward(x: Array) -> tuple[Array, Array]:
    found = relu_squared(x)
    return found, found


def _relu_squared_backward(found: Array, slope: Array) -> tuple[Array]:
    return ((2 * jnp.sqrt(found.astype(jnp.float32)) * slope).astype(slope.dtype),)


relu_squared.defvjp(_relu_squared_forward, _relu_squared_backward)


def rms_norm(x: Array, axis: int = -1) -> Array:
    """x over its root mean square along one axis, taken in float32; no parameters."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=axis, keepdims=True) + EPSILON)).astype(x.dtype)


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zero each element with probability `rate` and scale up the rest; without a key, the identity."""
    if key is None or rate == 0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0).astype(x.dtype)


def init_linear(key: Array, fan_in: int, fan_out: int) -> Array:
    """The seed's rule: normal with std = min(1, √(fan_out / fan_in)) / √fan_in, shape (fan_in, fan_out)."""
    std = min(1.0, (fan_out / fan_in) ** 0.5) / fan_in**0.5
    return std * jax.random.normal(key, (fan_in, fan_out))
