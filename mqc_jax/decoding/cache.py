"""Keys and values of what was read: a prompt's, which its paths share, and each path's own, in a ring.

Axis letters: L layers  M prompts  R paths of each  B = M R paths  P prompt positions  C slots of the ring  K key-value
heads  H head width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mqc_jax.config import ModelConfig
from mqc_jax.decoding.storage import CacheDtype, Stored, narrowed, zeros
from mqc_jax.model import KVCache


def empty_cache(config: ModelConfig, *, batch: int, capacity: int) -> KVCache:
    """A cache for `capacity` positions of `batch` rows, in the model's compute dtype."""
    shape = (config.n_layer, batch, capacity, config.n_kv_head, config.head_dim)
    zeros = jnp.zeros(shape, config.dtype)
    return KVCache(zeros, zeros, jnp.int32(0))


class Shared(NamedTuple):
    """One layer of M prompts, read by all of their paths."""

    keys_MKPH: Array
    values_MKHP: Array


class Ring(NamedTuple):
    """One layer of what B paths have read each for itself; position t lies in slot t mod C."""

    keys_CKHB: Stored
    values_CKHB: Stored

    @property
    def capacity(self) -> int:
        return self.keys_CKHB.numbers.shape[0]

    def write(self, t: Array, key_KHB: Array, value_KHB: Array) -> Ring:
        """Put position t where position t − C was."""
        new = Ring(narrowed(key_KHB, self.keys_CKHB.dtype), narrowed(value_KHB, self.values_CKHB.dtype))
        slot = t % self.capacity
        return jax.tree.map(lambda ring, row: jax.lax.dynamic_update_index_in_dim(ring, row, slot, axis=0), self, new)

    def slots(self, first: Array, n: int) -> Ring:
        """Those from `first` on."""
        return jax.tree.map(lambda ring: jax.lax.dynamic_slice_in_dim(ring, first, n, axis=0), self)


class DecoderCache(NamedTuple):
    """What the next token is predicted from; shapes never change."""

    shared: tuple[Shared, ...] | None  # per layer; None where every path has a prompt of its own: then in its ring
    rings: tuple[Ring, ...]  # per layer
    length_M: Array  # tokens in each prompt
    start: Array  # () the position of the rings at which all prompts have ended
    t: Array  # () the next position of the rings

    def position_M(self) -> Array:
        """Of the next token, counted from the beginning of its prompt."""
        return self.length_M + self.t - self.start

    def first_B(self, batch: int) -> Array:
        """The first position in each path's ring."""
        prompt_M = 0 if self.shared else self.length_M
        return jnp.repeat(jnp.broadcast_to(self.start - prompt_M, self.length_M.shape), batch // len(self.length_M))

    def seen_MP(self, window: int) -> Array:
        """Which positions of each prompt the next token looks back to: the others are padding, or too long ago."""
        assert self.shared is not None
        p = jnp.arange(self.shared[0].keys_MKPH.shape[2])
        length_M1 = self.length_M[:, None]
        return (p < length_M1) & (self.position_M()[:, None] - p < window)


def decoder_cache(cache: KVCache, length_M: Array, n_paths: int, capacity: int, dtype: CacheDtype) -> DecoderCache:
    """Paths that go on from prompts read by the model: row m of `cache` holds length_M[m] tokens, from its beginning.

    One path per prompt: the prompts move into the rings, which must have room for them. More: they are shared.
    """
    n_layer, n_prompts, n_positions, n_kv, width = cache.keys_LBSKH.shape
    keys, values = cache.keys_LBSKH, cache.values_LBSKH
    if n_paths > 1:
        each = zip(keys.transpose(0, 1, 3, 2, 4), values.transpose(0, 1, 3, 4, 2), strict=True)
        own = zeros((capacity, n_kv, width, n_prompts * n_paths), dtype)
        return DecoderCache(
            tuple(map(Shared._make, each)), (Ring(own, own),) * n_layer, length_M, jnp.int32(0), jnp.int32(0)
        )

    def moved(part_LMPKH: Array) -> Stored:
        """To the ring's layout, all rows ending together."""
        ended = jax.vmap(lambda row, length: jnp.roll(row, n_positions - length, axis=1), (1, 0), -1)
        room = [(0, 0), (0, capacity - n_positions), (0, 0), (0, 0), (0, 0)]
        return narrowed(jnp.pad(ended(part_LMPKH, length_M), room), dtype)

    rings = Ring(moved(keys), moved(values))
    end = jnp.int32(n_positions)
    return DecoderCache(None, tuple(_layer(rings, n) for n in range(n_layer)), length_M, end, end)


def _layer(stacked: Ring, n: int) -> Ring:
    return jax.tree.map(lambda x: x[n], stacked)
