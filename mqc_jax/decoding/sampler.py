"""How a token is drawn from logits: greedy, temperature, top-k, top-p, min-p."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

SMALLEST = 2.0**-24  # shares: 0 itself would be an infinite return
BELOW_ONE = 1 - 2.0**-23


@dataclass(frozen=True)
class Sampler:
    """Keep the `top_k` likeliest tokens, divide by `temperature`, keep the `top_p` nucleus, of that what is at least
    `min_p` times as likely as the likeliest, draw.

    `temperature=0` takes the likeliest token. The order is the seed's. Anything but the defaults changes the law that
    the model predicts: fine for exploring, wrong for risk. Raises ValueError for values out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    gumbel: bool = False  # draw by Gumbel's race, a random number per token: like laws then mostly draw the same

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature} must be 0 (greedy) or above; 1 is the model's own law")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} keeps no token; give 1 or more, or leave it out to keep all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must be in (0, 1]; leave it out to keep all tokens")
        if self.min_p is not None and not 0 < self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p} must be in (0, 1]; leave it out to keep all tokens")

    def __call__(self, key_B: Array, logits_BV: Array) -> Array:
        """One token per row, int32 (B,), each drawn with the row's own key."""
        if self.temperature == 0:
            return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
        if self.top_k is not None:
            logits_BV = keep_top_k(logits_BV, self.top_k)
        logits_BV = logits_BV / self.temperature
        if self.top_p is not None:
            logits_BV = keep_top_p(logits_BV, self.top_p)
        if self.min_p is not None:
            logits_BV = keep_min_p(logits_BV, self.min_p)
        if self.gumbel:
            return jax.vmap(jax.random.categorical)(key_B, logits_BV).astype(jnp.int32)
        return _inverse_cdf(logits_BV, jax.vmap(jax.random.uniform)(key_B))

    def share(self, key_B: Array) -> Array:
        """How far into its bin each return falls, in (0, 1): uniform, and independent of the token."""
        if self.temperature == 0:
            return jnp.full(len(key_B), 0.5)
        key_B = jax.vmap(partial(jax.random.fold_in, data=1))(key_B)
        return jax.vmap(partial(jax.random.uniform, minval=SMALLEST, maxval=1.0))(key_B)


def _inverse_cdf(logits_BV: Array, uniform_B: Array) -> Array:
    """The first token whose cumulative probability is above u: one random number per row, and no sorting.

    Each row of the product adds in one order, so that tokens of no probability are never drawn.
    """
    weight_BV = jnp.exp(logits_BV - jnp.max(logits_BV, axis=-1, keepdims=True))
    up_to_VV = jnp.triu(jnp.ones((weight_BV.shape[1],) * 2, jnp.float32))
    cumulative_BV = jnp.dot(weight_BV, up_to_VV, precision="highest")
    target_B = uniform_B * cumulative_BV[:, -1] * BELOW_ONE
    return jnp.sum(cumulative_BV <= target_B[:, None], axis=-1, dtype=jnp.int32)


def keep_top_k(logits_BV: Array, k: int) -> Array:
    """Logits with all but the k largest of each row at −inf; ties with the k-th stay."""
    least_B1 = jax.lax.top_k(logits_BV, min(k, logits_BV.shape[-1]))[0][:, -1:]
    return jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)


def keep_top_p(logits_BV: Array, p: float) -> Array:
    """Logits with all but the smallest set of likeliest tokens that holds probability p at −inf."""
    sorted_BV = -jnp.sort(-logits_BV, axis=-1)
    probability_BV = jax.nn.softmax(sorted_BV, axis=-1)
    likelier_BV = jnp.cumsum(probability_BV, axis=-1) - probability_BV
    least_B1 = jnp.min(jnp.where(likelier_BV < p, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)


def keep_min_p(logits_BV: Array, p: float) -> Array:
    """Logits with all tokens less than p times as likely as the row's likeliest at −inf (arXiv 2407.01082)."""
    least_B1 = jnp.max(logits_BV, axis=-1, keepdims=True) + jnp.log(p)
    return jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)
