"""Joint paths of future returns: the decoder, fed back with the volatility of the returns it draws."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import Tokenizer
from data_pipeline.tokenizers.base import ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP, VolatilityState, steady_state
from mqc_jax.decoding import Feedback, Sampler, generate
from mqc_jax.model import GPT


class History(NamedTuple):
    """What a path goes on from: the last tokens, the inputs beside them, and the volatility after them."""

    tokens: np.ndarray  # (T,) int32
    inputs: np.ndarray | None  # (T, F)
    state: VolatilityState | None

    @classmethod
    def of_returns(cls, tokenizer: ReturnTokenizer, log_returns: np.ndarray, length: int) -> History:
        """The last `length` steps of one asset's log returns. Raises BadInput when they do not outlast the warm-up."""
        if len(log_returns) <= WARMUP:
            raise BadInput(f"{len(log_returns)} returns of history; more than {WARMUP} are needed to know volatility")
        filtered = tokenizer.filter(log_returns)
        tokens = tokenizer.encode(log_returns, filtered.volatility).astype(np.int32)
        kept = slice(max(WARMUP, len(tokens) - length), None)
        return cls(tokens[kept], filtered.inputs[kept], filtered.state)

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer, tokens: np.ndarray) -> History:
        """Tokens that happen after a long calm at the training data's typical volatility."""
        if not isinstance(tokenizer, ReturnTokenizer):
            return cls(tokens, None, None)
        state, inputs = steady_state(tokenizer.typical_volatility), np.empty((len(tokens), len(INPUT_NAMES)))
        for t, token in enumerate(tokens):
            state, inputs[t], _ = tokenizer.step(state, tokenizer.bins.values[token])
        return cls(tokens, inputs.astype(np.float32), state)


class VolatilityFeedback:
    """The decoder's feedback: a drawn token happens as its bin's mean return, and volatility answers to it."""

    def __init__(self, tokenizer: ReturnTokenizer):
        self.tokenizer = tokenizer

    def __call__(self, state: VolatilityState, token_B: Array) -> tuple[VolatilityState, Array]:
        state, inputs_BF, _ = self.tokenizer.step(state, jnp.asarray(self.tokenizer.bins.values)[token_B])
        return state, inputs_BF

    # equal tokenizers, equal compiled programs
    def __hash__(self) -> int:
        return hash(id(self.tokenizer))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolatilityFeedback) and other.tokenizer is self.tokenizer


def sample_tokens(
    model: GPT, tokenizer: Tokenizer, history: History, key: Array, *, steps: int, n_paths: int, sampler: Sampler
) -> np.ndarray:
    """Tokens of `n_paths` futures of one history, (n_paths, steps); path p depends on (key, p) only."""
    inputs_BTF: Any = None
    state: Any = None
    feedback: Feedback | None = None
    if model.config.inputs and isinstance(tokenizer, ReturnTokenizer) and history.inputs is not None:
        inputs_BTF = jnp.broadcast_to(history.inputs, (n_paths, *history.inputs.shape))
        state = jax.tree.map(lambda x: jnp.broadcast_to(jnp.float32(x), (n_paths, *np.shape(x))), history.state)
        feedback = VolatilityFeedback(tokenizer)
    prompt_BT = jnp.broadcast_to(jnp.asarray(history.tokens, jnp.int32), (n_paths, len(history.tokens)))
    tokens = generate(
        model, prompt_BT, key, steps=steps, sampler=sampler, inputs_BTF=inputs_BTF, state=state, feedback=feedback
    )
    return np.asarray(tokens)


def path_returns(tokenizer: ReturnTokenizer, history: History, tokens: np.ndarray) -> np.ndarray:
    """Log returns of token paths (n_paths, steps) that go on from `history`."""
    log_returns = np.empty(tokens.shape)
    state = VolatilityState(*(np.broadcast_to(x, (len(tokens), *np.shape(x))) for x in history.state or ()))
    for t, token in enumerate(tokens.T):
        state, _, log_returns[:, t] = tokenizer.step(state, tokenizer.bins.values[token])
    return log_returns
