"""Autoregressive generation in one compiled program: prefill, then a scan over a fixed-shape cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mqc_jax.decoding.cache import empty_cache
from mqc_jax.decoding.sampler import Sampler
from mqc_jax.model import GPT

# (state, token_B) -> (state, inputs_BF): what the model reads beside a token it has just drawn
Feedback = Callable[[Any, Array], tuple[Any, Array]]


@partial(jax.jit, static_argnames=("steps", "sampler", "feedback"))
def generate(
    model: GPT,
    prompt_BT: Array,
    key: Array,
    *,
    steps: int,
    sampler: Sampler,
    inputs_BTF: Array | None = None,
    state: Any = None,
    feedback: Feedback | None = None,
) -> Array:
    """Draw `steps` tokens behind each prompt, int32 (B, steps); the same arguments give the same tokens.

    Args:
      model: the network; each of its layers looks back `sequence_len` positions, so any number of steps will do.
      prompt_BT: tokens so far, all rows of one length.
      key: one key, from which row b gets its own by `fold_in(key, b)`, or an array of B keys.
      steps: how many tokens to draw.
      sampler: how to draw them.
      inputs_BTF, state, feedback: for a model with float inputs: those of the prompt, any pytree of arrays, and the
        function that turns that state and a drawn token into the next state and inputs.
    """
    batch, length = prompt_BT.shape
    key_B = key if key.ndim else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))
    cache = empty_cache(model.config, batch=batch, capacity=length + steps)
    logits_BTV, cache = model(prompt_BT, inputs_BTF, cache=cache)

    def tick(carry, step):
        logits_BV, cache, state = carry
        token_B = sampler(jax.vmap(jax.random.fold_in, (0, None))(key_B, step), logits_BV)
        state, inputs_BF = (state, None) if feedback is None else feedback(state, token_B)
        inputs_B1F = None if inputs_BF is None else inputs_BF[:, None]
        logits_B1V, cache = model(token_B[:, None], inputs_B1F, cache=cache)
        return (logits_B1V[:, 0], cache, state), token_B

    _, token_SB = jax.lax.scan(tick, (logits_BTV[:, -1], cache, state), jnp.arange(steps))
    return token_SB.T
