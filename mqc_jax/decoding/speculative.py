"""Speculative decoding: a draft guesses some tokens ahead, and the model reads all guesses in one pass.

A path's draws hang on its key and the step only, so the model's own draw at a step is known as soon as its logits are:
a guess is right when it is that very token. What comes out is, token for token, what plain decoding draws, whatever the
draft; the rule of Leviathan et al. (arXiv 2211.17192) keeps the law only. The draft guesses with the model's keys, and
laws that are alike then mostly give the same token when both draw by Gumbel's race (Daliri et al., arXiv 2408.07978).

Axis letters: V vocabulary  T prompt positions  S steps  G guesses of a round and the token before them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mqc_jax.decoding.cache import empty_cache
from mqc_jax.decoding.generate import Feedback
from mqc_jax.decoding.sampler import Sampler
from mqc_jax.model import GPT, KVCache


class Draft(Protocol):
    """What guesses: a pytree, whose `state` holds what it has read of one path."""

    def start(self, prompt_T: Array, capacity: int) -> Any:
        """After all tokens of the prompt but the last; room for `capacity` tokens."""
        ...

    def read(self, state: Any, token: Array) -> tuple[Array, Any]:
        """Logits of the token behind `token`, (V,), and the state after reading it."""
        ...

    def rewind(self, state: Any, n_read: Array) -> Any:
        """The state when it had read `n_read` tokens, prompt included."""
        ...


class Bigram(NamedTuple):
    """The law of a token after each token, from counts."""

    log_p_VV: Array

    @classmethod
    def of_tokens(cls, tokens: np.ndarray, vocab_size: int, prior: float = 50.0) -> Bigram:
        """From a sequence of ids; each row shrinks to the law of all tokens with the weight of `prior` of them."""
        inside = (tokens[:-1] < vocab_size) & (tokens[1:] < vocab_size)
        pairs = np.bincount(
            tokens[:-1][inside].astype(np.int64) * vocab_size + tokens[1:][inside], minlength=vocab_size**2
        ).reshape(vocab_size, vocab_size)
        everywhere = (pairs.sum(axis=0) + 1) / (pairs.sum() + vocab_size)
        law = (pairs + prior * everywhere) / (pairs.sum(axis=1, keepdims=True) + prior)
        return cls(jnp.log(jnp.asarray(law, jnp.float32)))

    def start(self, prompt_T: Array, capacity: int) -> None:
        return None

    def read(self, state: None, token: Array) -> tuple[Array, None]:
        return self.log_p_VV[jnp.minimum(token, len(self.log_p_VV) - 1)], None

    def rewind(self, state: None, n_read: Array) -> None:
        return None


class SmallModel(NamedTuple):
    """A model on the same tokens that reads no float inputs."""

    model: GPT

    def start(self, prompt_T: Array, capacity: int) -> KVCache:
        cache = empty_cache(self.model.config, batch=1, capacity=capacity)
        return self.model(prompt_T[None, :-1], cache=cache)[1] if len(prompt_T) > 1 else cache

    def read(self, state: KVCache, token: Array) -> tuple[Array, KVCache]:
        logits_11V, state = self.model(token[None, None], cache=state)
        return logits_11V[0, 0], state

    def rewind(self, state: KVCache, n_read: Array) -> KVCache:
        return state._replace(length=n_read)


class Speculated(NamedTuple):
    """What was drawn, and how often the draft was right."""

    tokens_S: Array
    n_rounds: Array  # passes of the model
    n_right: Array  # guesses that were taken


class _Round(NamedTuple):
    tokens: Array  # drawn so far, with room for a last round that goes beyond
    n: Array  # how many
    cache: KVCache  # the model's, without the last token
    state: Any  # the feedback's, without it
    guesser: Any  # the draft's, without it
    n_rounds: Array
    n_right: Array


@partial(jax.jit, static_argnames=("steps", "sampler", "feedback", "n_guesses"))
def speculate(
    model: GPT,
    draft: Any,
    prompt_T: Array,
    key: Array,
    *,
    steps: int,
    sampler: Sampler,
    n_guesses: int = 4,
    inputs_TF: Array | None = None,
    state: Any = None,
    feedback: Feedback | None = None,
) -> Speculated:
    """Draw `steps` tokens behind one prompt: those that `decode` draws with this key, in fewer passes of the model.

    Arguments as of `decode` for a single path, `state` with a leading axis of 1; a `Draft`, and how far it guesses
    ahead. Use `Sampler(gumbel=True)`: with the default way of drawing, two laws that are alike seldom agree.
    """
    length = len(prompt_T)
    capacity = length + steps + n_guesses + 1
    cache = empty_cache(model.config, batch=1, capacity=capacity)
    beside = None if inputs_TF is None else inputs_TF[None]
    logits_1TV, cache = model(prompt_T[None], beside, cache=cache)
    tokens = jnp.zeros(steps + n_guesses + 1, jnp.int32).at[0].set(_draw(sampler, key, 0, logits_1TV[0, -1]))
    _, guesser = draft.read(draft.start(prompt_T, capacity), prompt_T[-1])
    zero = jnp.int32(0)
    first = _Round(tokens, jnp.int32(1), cache, state, guesser, zero, zero)

    def guess(carry: tuple[Array, Any], step: Array) -> tuple[tuple[Array, Any], Array]:
        token, guesser = carry
        logits_V, guesser = draft.read(guesser, token)
        return (_draw(sampler, key, step, logits_V), guesser), token

    def feed(state: Any, read: tuple[Array, Array]) -> tuple[Any, tuple[Any, Array | None]]:
        token, step = read
        assert feedback is not None
        key_1 = jax.random.fold_in(key, step)[None]
        state, inputs_1F, _ = feedback(state, token[None], sampler.share(key_1))
        return state, (state, inputs_1F)

    def take_round(at: _Round) -> _Round:
        steps_G = at.n + jnp.arange(n_guesses + 1)  # of the tokens that follow those read
        last = at.tokens[at.n - 1]
        (_, guesser), read_G = jax.lax.scan(guess, (last, at.guesser), steps_G)
        states, inputs_1GF = at.state, None
        if feedback is not None:
            _, (states, inputs_G1F) = jax.lax.scan(feed, at.state, (read_G, steps_G - 1))
            inputs_1GF = None if inputs_G1F is None else inputs_G1F[:, 0][None]
        logits_1GV, cache = model(read_G[None], inputs_1GF, cache=at.cache)
        drawn_G = jax.vmap(partial(_draw, sampler, key))(steps_G, logits_1GV[0])
        right = jnp.sum(jnp.cumprod(drawn_G[:-1] == read_G[1:]))
        n_read = at.cache.length + 1 + right
        return _Round(
            jax.lax.dynamic_update_slice(at.tokens, drawn_G, (at.n,)),
            at.n + right + 1,
            cache._replace(length=n_read),
            states if feedback is None else jax.tree.map(lambda x: x[right], states),
            draft.rewind(guesser, n_read),
            at.n_rounds + 1,
            at.n_right + right,
        )

    done = jax.lax.while_loop(lambda at: at.n < steps, take_round, first)
    return Speculated(done.tokens[:steps], done.n_rounds, done.n_right)


def _draw(sampler: Sampler, key: Array, step: Array | int, logits_V: Array) -> Array:
    """The path's token of this step."""
    return sampler(jax.random.fold_in(key, step)[None], logits_V[None])[0]
