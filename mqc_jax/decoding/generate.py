"""Autoregressive generation, in phases: read the prompts, then draw a token and read it, step by step.

Prompt lengths and steps are rounded up to powers of two, so that longer ones find a compiled program. Axis letters:
M prompts  R paths of each  B = M R paths  P prompt positions  S steps  V vocabulary  F float inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mqc_jax.decoding.cache import DecoderCache, decoder_cache, empty_cache
from mqc_jax.decoding.sampler import Sampler
from mqc_jax.decoding.step import step
from mqc_jax.decoding.storage import CacheDtype
from mqc_jax.decoding.weights import DecoderWeights, decoder_weights
from mqc_jax.model import GPT

# (state, token_B, share_B) -> (state, inputs_BF, output_B): what the model reads beside a token that was just drawn,
# and what it stands for. `share_B`, in (0, 1), says how far into its bin a return falls.
Feedback = Callable[[Any, Array, Array], tuple[Any, Array | None, Any]]


class Prompts(NamedTuple):
    """M prompts, each from its beginning; what stands behind its length is never read."""

    tokens_MP: Array
    inputs_MPF: Array | None
    length_M: Array


class Drawn(NamedTuple):
    """S tokens of B paths, and what the feedback said of each."""

    tokens_SB: Array
    outputs_SB: Any  # None without feedback


class Decoding(NamedTuple):
    """Where B paths stand between two tokens."""

    weights: DecoderWeights
    cache: DecoderCache
    logits_BV: Array  # of the next token
    key_B: Array
    n_drawn: Array  # ()
    state: Any  # the feedback's
    schedule_S: Array  # tokens that are not drawn; −1 for those that are


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
    drawn = decode(model, prompts, key_B[:, None], steps=steps, sampler=sampler, state=state, feedback=feedback)
    return drawn.tokens_SB.T


def decode(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    *,
    steps: int,
    sampler: Sampler,
    state: Any = None,
    feedback: Feedback | None = None,
    schedule: np.ndarray | None = None,
    cache_dtype: CacheDtype | None = None,
) -> Drawn:
    """Draw `steps` tokens of R paths of each prompt: path (m, r) depends on its prompt, its state and its key only.

    Args:
      key_MR: a key per path. More than one of a prompt share what was read of it.
      state: one row for each of the B paths, those of a prompt beside one another.
      feedback: as in `generate`; its outputs come back beside the tokens.
      schedule: (steps,) tokens that are to stand in every path, like those that mark sessions; −1 where one is drawn.
      cache_dtype: how each path's own keys and values are held, by default in the model's compute dtype; 'int8' takes
        the least memory, and is no longer exact.
    """
    about = {"state": state, "feedback": feedback, "schedule": schedule, "cache_dtype": cache_dtype}
    return next(stream(model, prompts, key_MR, steps=steps, sampler=sampler, at_once=steps, **about))


def stream(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    *,
    steps: int,
    sampler: Sampler,
    state: Any = None,
    feedback: Feedback | None = None,
    schedule: np.ndarray | None = None,
    cache_dtype: CacheDtype | None = None,
    at_once: int = 1,
) -> Iterator[Drawn]:
    """What `decode` draws, `at_once` steps at a time, as they come."""
    decoding = _read(model, prompts, key_MR, steps=steps, state=state, schedule=schedule, cache_dtype=cache_dtype)
    size = power_of_two(at_once)
    for first in range(0, steps, at_once):
        n = min(at_once, steps - first)
        decoding, drawn = _advance(model, decoding, n, size=size, sampler=sampler, feedback=feedback)
        yield jax.tree.map(lambda x, n=n: x[:n], drawn)


def _read(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    *,
    steps: int,
    state: Any,
    schedule: np.ndarray | None,
    cache_dtype: CacheDtype | None,
) -> Decoding:
    """Round shapes up, read the prompts, leave room for `steps` tokens behind them."""
    length, shared = prompts.tokens_MP.shape[1], key_MR.shape[1] > 1
    longest = power_of_two(length)
    inputs = None if prompts.inputs_MPF is None else _pad(prompts.inputs_MPF, longest, axis=1)
    padded = Prompts(_pad(prompts.tokens_MP, longest, axis=1), inputs, prompts.length_M)
    given = np.full(steps, -1, np.int32) if schedule is None else np.asarray(schedule, np.int32)
    window = model.config.sequence_len
    room = min(steps, window) if shared else min(steps + longest, max(window, longest))
    return _start(
        model,
        padded,
        key_MR,
        state,
        _pad(given, power_of_two(steps), axis=0),
        capacity=power_of_two(room),
        cache_dtype=cache_dtype or model.config.dtype,
    )


@partial(jax.jit, static_argnames=("capacity", "cache_dtype"))
def _start(
    model: GPT,
    prompts: Prompts,
    key_MR: Array,
    state: Any,
    schedule_S: Array,
    *,
    capacity: int,
    cache_dtype: CacheDtype,
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
        schedule_S,
    )


@partial(jax.jit, static_argnames=("size", "sampler", "feedback"), donate_argnames="decoding")
def _advance(
    model: GPT, decoding: Decoding, n_steps: Array | int, *, size: int, sampler: Sampler, feedback: Feedback | None
) -> tuple[Decoding, Drawn]:
    """Take `n_steps` steps; what is drawn stands in the first of `size` rows."""

    def tick(decoding: Decoding) -> tuple[Decoding, Drawn]:
        key_B = jax.vmap(jax.random.fold_in, (0, None))(decoding.key_B, decoding.n_drawn)
        given = decoding.schedule_S[decoding.n_drawn]
        token_B = jnp.where(given < 0, sampler(key_B, decoding.logits_BV), given)
        state, inputs_BF, output_B = decoding.state, None, None
        if feedback is not None:
            state, inputs_BF, output_B = feedback(state, token_B, sampler.share(key_B))
        logits_BV, cache = step(model, decoding.weights, decoding.cache, token_B, inputs_BF)
        decoding = decoding._replace(cache=cache, logits_BV=logits_BV, n_drawn=decoding.n_drawn + 1, state=state)
        return decoding, Drawn(token_B, output_B)

    def keep(n: Array, carry: tuple[Decoding, Drawn]) -> tuple[Decoding, Drawn]:
        decoding, new = tick(carry[0])
        return decoding, jax.tree.map(lambda rows, row: rows.at[n].set(row), carry[1], new)

    _, like = jax.eval_shape(tick, decoding)
    empty = jax.tree.map(lambda one: jnp.zeros((size, *one.shape), one.dtype), like)
    return jax.lax.fori_loop(0, n_steps, keep, (decoding, empty))


def power_of_two(n: int) -> int:
    """The least one that is not below n ≥ 1."""
    return 1 << (n - 1).bit_length()


def _pad(x: Array | np.ndarray, length: int, axis: int) -> Array:
    return jnp.pad(jnp.asarray(x), [(0, length - size if k == axis else 0) for k, size in enumerate(x.shape)])
