"""Autoregressive generation, in phases: read the prompts, then draw a token and read it, step by step.

Shapes come in powers of two, so that a longer prompt, or another number of paths or steps, finds a compiled program.
Axis letters: M prompts  R paths of each  B = M R paths  P prompt positions  S steps  V vocabulary  F float inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mqc_jax.decoding.cache import DecoderCache, decoder_cache, empty_cache
from mqc_jax.decoding.sampler import Sampler
from mqc_jax.decoding.step import step
from mqc_jax.decoding.storage import CacheDtype
from mqc_jax.decoding.weights import DecoderWeights, decoder_weights
from mqc_jax.model import GPT

# (state, token_B, share_B) -> (state, inputs_BF, output): what the model reads beside a token that was just drawn, and
# what else is to be known of it. `share_B` in (0, 1) says how far into its bin each return falls.
Feedback = Callable[[Any, Array, Array], tuple[Any, Array | None, Any]]


class Prompts(NamedTuple):
    """M prompts, each from its beginning; positions from its length on are padding."""

    tokens_MP: Array
    inputs_MPF: Array | None
    length_M: Array


class Decoding(NamedTuple):
    """Where B paths stand between two tokens."""

    weights: DecoderWeights
    cache: DecoderCache
    logits_BV: Array  # of the next token
    key_B: Array
    n_drawn: Array  # ()
    state: Any  # the feedback's


class Drawn(NamedTuple):
    """S tokens of B paths, and what the feedback put out for each."""

    tokens_SB: Array
    outputs: Any  # leading axis S; None without feedback


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
    prompts = Prompts(prompt_BT, inputs_BTF, jnp.full(batch, length, jnp.int32))
    return decode(
        model, prompts, key_B[:, None], steps=steps, sampler=sampler, state=state, feedback=feedback
    ).tokens_SB.T


def decode(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    *,
    steps: int,
    sampler: Sampler,
    state: Any = None,
    feedback: Feedback | None = None,
) -> Drawn:
    """Draw `steps` tokens of R paths of each prompt: path (m, r) depends on its prompt, its state and its key only.

    `state` has one row for each of the B paths, those of a prompt beside one another. R above 1 reads each prompt once
    for all of its paths.
    """
    decoding = start(model, prompts, key_MR, steps=steps, state=state)
    size = power_of_two(steps)
    _, drawn = _advance(model, decoding, steps, size=size, sampler=sampler, feedback=feedback)
    return jax.tree.map(lambda x: x[:steps], drawn)


def stream(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    *,
    steps: int,
    sampler: Sampler,
    state: Any = None,
    feedback: Feedback | None = None,
    at_once: int = 1,
) -> Iterator[Drawn]:
    """The same draws as `decode`, `at_once` steps at a time, as they come."""
    decoding = start(model, prompts, key_MR, steps=steps, state=state)
    for first in range(0, steps, at_once):
        n = min(at_once, steps - first)
        decoding, drawn = _advance(model, decoding, n, size=at_once, sampler=sampler, feedback=feedback)
        yield jax.tree.map(lambda x, n=n: x[:n], drawn)


def start(
    model: GPT, prompts: Prompts, key_MR: Array, *, steps: int, state: Any, cache_dtype: CacheDtype | None = None
) -> Decoding:
    """Read the prompts; room for `steps` tokens behind them."""
    n_prompts, length = prompts.tokens_MP.shape
    n_paths = key_MR.shape[1]
    padding = power_of_two(length) - length
    tokens_MP = jnp.pad(prompts.tokens_MP, [(0, 0), (0, padding)])
    inputs = prompts.inputs_MPF
    inputs_MPF = None if inputs is None else jnp.pad(inputs, [(0, 0), (0, padding), (0, 0)])
    own = steps if n_paths > 1 else steps + length + padding
    window = model.config.sequence_len if n_paths > 1 else max(model.config.sequence_len, length + padding)
    capacity = power_of_two(min(own, window))
    dtype = cache_dtype or model.config.dtype
    padded = Prompts(tokens_MP, inputs_MPF, prompts.length_M)
    return _start(model, padded, key_MR, state, capacity=capacity, cache_dtype=dtype)


@partial(jax.jit, static_argnames=("capacity", "cache_dtype"))
def _start(
    model: GPT, prompts: Prompts, key_MR: Array, state: Any, *, capacity: int, cache_dtype: CacheDtype
) -> Decoding:
    n_prompts, n_positions = prompts.tokens_MP.shape
    n_paths = key_MR.shape[1]
    cache = empty_cache(model.config, batch=n_prompts, capacity=n_positions)
    logits_MPV, cache = model(prompts.tokens_MP, prompts.inputs_MPF, cache=cache)
    logits_MV = jnp.take_along_axis(logits_MPV, prompts.length_M[:, None, None] - 1, axis=1)[:, 0]
    return Decoding(
        decoder_weights(model),
        decoder_cache(cache, prompts.length_M, n_paths, capacity, cache_dtype),
        jnp.repeat(logits_MV, n_paths, axis=0),
        key_MR.reshape(-1),
        jnp.int32(0),
        state,
    )


@partial(jax.jit, static_argnames=("size", "sampler", "feedback"), donate_argnames="decoding")
def _advance(
    model: GPT, decoding: Decoding, n_steps: Array | int, *, size: int, sampler: Sampler, feedback: Feedback | None
) -> tuple[Decoding, Drawn]:
    """Take `n_steps` steps; what is drawn stands in the first of `size` rows."""

    def tick(decoding: Decoding) -> tuple[Decoding, Array, Any]:
        key_B = jax.vmap(jax.random.fold_in, (0, None))(decoding.key_B, decoding.n_drawn)
        token_B = sampler(key_B, decoding.logits_BV)
        state, inputs_BF, output = decoding.state, None, None
        if feedback is not None:
            state, inputs_BF, output = feedback(state, token_B, sampler.share(key_B))
        logits_BV, cache = step(model, decoding.weights, decoding.cache, token_B, inputs_BF)
        decoding = decoding._replace(cache=cache, logits_BV=logits_BV, n_drawn=decoding.n_drawn + 1, state=state)
        return decoding, token_B, output

    def store(n: Array, carry: tuple[Decoding, Drawn]) -> tuple[Decoding, Drawn]:
        decoding, drawn = carry
        decoding, *new = tick(decoding)
        return decoding, jax.tree.map(lambda rows, row: rows.at[n].set(row), drawn, Drawn(*new))

    _, *like = jax.eval_shape(tick, decoding)
    empty = jax.tree.map(lambda one: jnp.zeros((size, *one.shape), one.dtype), Drawn(*like))
    return jax.lax.fori_loop(0, n_steps, store, (decoding, empty))


def power_of_two(n: int) -> int:
    """The least one that is not below n ≥ 1."""
    return 1 << (n - 1).bit_length()
