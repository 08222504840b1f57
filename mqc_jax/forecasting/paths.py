"""Joint paths of future returns: the decoder, fed back with the volatility of the returns it draws."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import Tokenizer
from data_pipeline.tokenizers.base import ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP, VolatilityState, steady_state
from mqc_jax.decoding import Sampler, generate
from mqc_jax.model import GPT

PATHS_AT_ONCE = 1024  # bounds memory; a path does not depend on how they are batched


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

    # one tokenizer, one compiled program
    def __hash__(self) -> int:
        return hash(id(self.tokenizer))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolatilityFeedback) and other.tokenizer is self.tokenizer


def sample_tokens(
    model: GPT, tokenizer: Tokenizer, history: History, key: Array, *, steps: int, n_paths: int, sampler: Sampler
) -> np.ndarray:
    """Tokens of `n_paths` futures of one history, (n_paths, steps); path p depends on (key, p) only."""
    batch = min(n_paths, PATHS_AT_ONCE)

    def repeat(x: Any) -> Array:
        return jnp.broadcast_to(jnp.asarray(x), (batch, *np.shape(x)))

    rows: dict[str, Any] = {}
    if model.config.inputs and isinstance(tokenizer, ReturnTokenizer):
        state = jax.tree.map(lambda x: repeat(jnp.float32(x)), history.state)
        rows = {"inputs_BTF": repeat(history.inputs), "state": state, "feedback": VolatilityFeedback(tokenizer)}
    prompt_BT = repeat(history.tokens.astype(np.int32))
    drawn = []
    for first in range(0, n_paths, batch):
        key_B = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(batch))
        drawn.append(np.asarray(generate(model, prompt_BT, key_B, steps=steps, sampler=sampler, **rows)))
    return np.concatenate(drawn)[:n_paths]


def path_returns(tokenizer: ReturnTokenizer, history: History, tokens: np.ndarray) -> np.ndarray:
    """Log returns of token paths (n_paths, steps) that go on from `history`."""
    log_returns = np.empty(tokens.shape)
    state = VolatilityState(*(np.broadcast_to(x, (len(tokens), *np.shape(x))) for x in history.state or ()))
    for t, token in enumerate(tokens.T):
        state, _, log_returns[:, t] = tokenizer.step(state, tokenizer.bins.values[token])
    return log_returns
