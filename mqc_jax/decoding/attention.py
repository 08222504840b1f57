"""Attention of the newest token of each path: to its prompt, which it shares with other paths, and to its own past.

Queries and keys are normalised, so no score is above √H and no maximum need be taken off before the exponential: the
two parts' sums simply add up. This is the merge by log-sum-exp of Hydragen (Juravsky et al., arXiv 2402.05099) without
its rescaling. All sums are float32. Axis letters: those of `cache`, and G query heads of a key-value head, S slots.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mqc_jax.decoding.cache import Ring, Shared
from mqc_jax.decoding.storage import widened
from mqc_jax.kernels.products import product

BLOCK_SIZE = 2**16  # numbers of keys that one pass of the loop over a ring reads, about: they stay in a CPU's cache


class Sums(NamedTuple):
    """Values summed under their weights exp(score), and the sum of those weights."""

    values_KGHB: Array
    weights_KGB: Array

    def __add__(self, other: Sums) -> Sums:  # type: ignore[override]
        return Sums(self.values_KGHB + other.values_KGHB, self.weights_KGB + other.weights_KGB)

    def mean(self) -> Array:
        """The values' weighted mean, (K, G, H, B)."""
        return self.values_KGHB / self.weights_KGB[:, :, None]


def over_prompts(query_KGHB: Array, shared: Shared, seen_MP: Array) -> Sums:
    """All paths of a prompt in one product with its keys, and one with its values."""
    n_prompts = len(seen_MP)
    n_kv, group, width, batch = query_KGHB.shape
    query = query_KGHB.reshape(n_kv, group, width, n_prompts, -1)
    query_MKHX = query.transpose(3, 0, 2, 1, 4).reshape(n_prompts, n_kv, width, -1)  # X: G R
    score_MKPX = product(shared.keys_MKPH, query_MKHX)
    weight_MKPX = jnp.where(seen_MP[:, None, :, None], jnp.exp(score_MKPX * width**-0.5), 0)
    values_MKHX = product(shared.values_MKHP, weight_MKPX.astype(shared.values_MKHP.dtype))

    def by_path(x: Array) -> Array:
        """(M, K, …, G R) to (K, G, …, B)."""
        x = x.reshape(*x.shape[:-1], group, batch // n_prompts)
        return jnp.moveaxis(jnp.moveaxis(x, -2, 2), 0, -2).reshape(n_kv, group, *x.shape[2:-2], batch)

    return Sums(by_path(values_MKHX), by_path(jnp.sum(weight_MKPX, axis=2)))


def over_ring(query_KGHB: Array, ring: Ring, t: Array, first_B: Array, window: int) -> Sums:
    """Each path over what it has read itself: positions first_B … t, at most `window` of them; a block at a time.

    Blocks that nothing was written to yet are not read, so that a long ring costs nothing before it fills.
    """
    _, n_kv, width, batch = ring.keys_CKHB.numbers.shape
    size = block_size(ring.capacity, n_kv * width * batch)

    def add_block(n: Array, sums: Sums) -> Sums:
        keys, values = ring.slots(n * size, size)
        ago_S = (t - n * size - jnp.arange(size)) % ring.capacity
        seen_SB = (ago_S < window)[:, None] & (ago_S[:, None] <= t - first_B)
        score_SKGB = jnp.sum(query_KGHB * widened(keys)[:, :, None], axis=3)
        if keys.scale is not None:
            score_SKGB = score_SKGB * keys.scale
        weight_SKGB = jnp.where(seen_SB[:, None, None], jnp.exp(score_SKGB * width**-0.5), 0)
        scaled_SKGB = weight_SKGB if values.scale is None else weight_SKGB * values.scale
        values_KGHB = jnp.sum(scaled_SKGB[:, :, :, None] * widened(values)[:, :, None], axis=0)
        return sums + Sums(values_KGHB, jnp.sum(weight_SKGB, axis=0))

    n_blocks = jnp.minimum(t // size + 1, ring.capacity // size)
    nothing = Sums(jnp.zeros(query_KGHB.shape, jnp.float32), jnp.zeros((*query_KGHB.shape[:2], batch), jnp.float32))
    return jax.lax.fori_loop(0, n_blocks, add_block, nothing)


def block_size(capacity: int, slot_size: int) -> int:
    """Slots per block: a power of two that divides the capacity, itself one or a multiple of one."""
    size = 1
    while capacity % (2 * size) == 0 and 2 * size * slot_size <= BLOCK_SIZE:
        size *= 2
    return size
