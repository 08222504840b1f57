"""Joint paths of future returns: the decoder, fed back with the volatility of the returns it draws."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.rows import CLOCK_NAMES
from data_pipeline.tokenizers import ReturnTokenizer, Tokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP, VolatilityState
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
        tokens = tokenizer.encode(log_returns).astype(np.int32)
        kept = slice(max(WARMUP, len(tokens) - length), None)
        return cls(tokens[kept], filtered.inputs[kept], filtered.state)

    @classmethod
    def of_rows(cls, dataset: TokenDataset, asset: int, last: int, length: int) -> History:
        """At most `length` rows of an asset up to row `last`, special tokens included, none from before a break."""
        segments = dataset.asset_segments(asset)
        piece = segments[np.searchsorted(segments[:, 4], last, side="right")]
        kept = slice(max(piece[1], last + 1 - length), last + 1)
        tokens = np.asarray(dataset.tokens[kept], np.int32)
        if dataset.market is None or not isinstance(dataset.tokenizer, ReturnTokenizer):
            return cls(tokens, None if dataset.market is None else np.asarray(dataset.market.inputs[kept]), None)
        returns = np.asarray(dataset.market.returns[segments[0, 0] : last + 1])
        state = dataset.tokenizer.filter(returns[np.isfinite(returns)]).state  # special tokens have no return
        return cls(tokens, np.asarray(dataset.market.inputs[kept]), state)

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer, tokens: np.ndarray) -> History:
        """Tokens that happen after a long calm at the training data's typical volatility."""
        if not isinstance(tokenizer, ReturnTokenizer):
            return cls(tokens, None, None)
        state, inputs = tokenizer.calm_state(), np.empty((len(tokens), len(INPUT_NAMES)))
        for t, token in enumerate(tokens):
            state, inputs[t], _ = tokenizer.step(state, tokenizer.bins.values[token])
        return cls(tokens, inputs.astype(np.float32), state)


class PathState(NamedTuple):
    """What the inputs of the next step depend on."""

    volatility: VolatilityState  # leading axis: paths
    step: Array  # ()
    clock: Array  # (S, C) how the bars to come lie in time


class VolatilityFeedback:
    """The decoder's feedback: a drawn token happens as its bin's mean return, and volatility answers to it."""

    def __init__(self, tokenizer: ReturnTokenizer):
        self.tokenizer = tokenizer

    def __call__(self, state: PathState, token_B: Array) -> tuple[PathState, Array]:
        z_B = jnp.asarray(self.tokenizer.bins.values)[token_B]
        volatility, inputs_BF, _ = self.tokenizer.step(state.volatility, z_B)
        clock_BC = jnp.broadcast_to(state.clock[state.step], (len(token_B), state.clock.shape[1]))
        inputs_BF = jnp.concatenate([inputs_BF, clock_BC], axis=1)
        return PathState(volatility, state.step + 1, state.clock), inputs_BF

    # one tokenizer, one compiled program
    def __hash__(self) -> int:
        return hash(id(self.tokenizer))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolatilityFeedback) and other.tokenizer is self.tokenizer


def sample_tokens(
    model: GPT,
    tokenizer: Tokenizer,
    history: History,
    key: Array,
    *,
    steps: int,
    n_paths: int,
    sampler: Sampler,
    clock: np.ndarray | None = None,
) -> np.ndarray:
    """Tokens of `n_paths` futures of one history, (n_paths, steps); path p depends on (key, p) only.

    `clock`, (steps, 3), is how the bars to come lie in time, for a model that reads it; without it they follow one
    another without a pause.
    """
    batch = min(n_paths, PATHS_AT_ONCE)

    def repeat(x: Any) -> Array:
        return jnp.broadcast_to(jnp.asarray(x), (batch, *np.shape(x)))

    rows: dict[str, Any] = {}
    if model.config.inputs and history.inputs is not None:
        if not isinstance(tokenizer, ReturnTokenizer):
            raise BadInput(f"a model that reads volatility cannot go on from {tokenizer.kind} tokens: they carry none")
        n_inputs = model.embed_inputs.shape[0]
        if n_inputs > len(INPUT_NAMES) + len(CLOCK_NAMES):  # it reads ranges, and paths of closes have none
            if steps > 1:
                raise BadInput("a model that reads ranges sees one bar ahead; ask for one, or train without --ranges")
            clock = None
        if clock is None:
            clock = np.zeros((steps, n_inputs - len(INPUT_NAMES)))
        state = PathState(
            jax.tree.map(lambda x: repeat(jnp.float32(x)), history.state), jnp.int32(0), jnp.asarray(clock, jnp.float32)
        )
        missing = n_inputs - history.inputs.shape[1]
        inputs_TF = np.pad(history.inputs, ((0, 0), (0, missing)))
        rows = {"inputs_BTF": repeat(inputs_TF), "state": state, "feedback": VolatilityFeedback(tokenizer)}
    prompt_BT = repeat(history.tokens.astype(np.int32))
    drawn = []
    for first in range(0, n_paths, batch):
        key_B = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(batch))
        drawn.append(np.asarray(generate(model, prompt_BT, key_B, steps=steps, sampler=sampler, **rows)))
    return np.concatenate(drawn)[:n_paths]


def simulate(
    model: GPT,
    tokenizer: ReturnTokenizer,
    histories: Sequence[History],
    keys: Sequence[Array],
    *,
    steps: int,
    n_paths: int,
    clocks: Sequence[np.ndarray | None] | None = None,
) -> np.ndarray:
    """Log returns of `n_paths` futures of each of M histories, (M, n_paths, steps).

    Path p of history m depends on (keys[m], p) only. `clocks`, each (steps, 3), as in `sample_tokens`.
    """
    found = []
    for history, key, clock in zip(histories, keys, clocks or [None] * len(histories), strict=True):
        tokens = sample_tokens(
            model, tokenizer, history, key, steps=steps, n_paths=n_paths, sampler=Sampler(), clock=clock
        )
        found.append(path_returns(tokenizer, history, tokens))
    return np.stack(found)


def series_key(seed: int, unique_id: str) -> Array:
    """The key of one series' paths: whatever it is forecast together with."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(unique_id.encode()))


def path_returns(tokenizer: ReturnTokenizer, history: History, tokens: np.ndarray) -> np.ndarray:
    """Log returns of token paths (n_paths, steps) that go on from `history`."""
    log_returns = np.empty(tokens.shape)
    state: Any = jax.tree.map(lambda x: np.broadcast_to(x, (len(tokens), *np.shape(x))), history.state)
    for t, token in enumerate(tokens.T):
        state, _, log_returns[:, t] = tokenizer.step(state, tokenizer.bins.values[token])
    return log_returns
