"""Joint paths of future returns: the decoder, fed back with the volatility of the returns it draws.

Axis letters: M histories  R paths of each  S steps  C clock inputs.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.errors import BadInput
from data_pipeline.rows import CLOCK_NAMES
from data_pipeline.tokenizers import ReturnTokenizer, Tokenizer
from data_pipeline.volatility import INPUT_NAMES
from mqc_jax.decoding import CacheDtype, Prompts, Sampler, decode, power_of_two
from mqc_jax.forecasting.feedback import VolatilityFeedback, first_state
from mqc_jax.forecasting.history import History
from mqc_jax.model import GPT

PATHS_AT_ONCE = 1024  # of all histories: bounds memory, and a path does not depend on how they are batched


class Paths(NamedTuple):
    """R futures of each of M histories."""

    tokens_MRS: np.ndarray
    log_returns_MRS: np.ndarray | None  # NaN for special tokens; None where tokens are no returns


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
    """Log returns of `n_paths` futures of each of M histories, (M, n_paths, steps), under the model's own law.

    Path p of history m depends on (keys[m], p) only. `clocks` as in `draw_paths`.
    """
    found = draw_paths(model, tokenizer, histories, keys, steps=steps, n_paths=n_paths, clocks=clocks).log_returns_MRS
    if found is None:
        raise BadInput("these histories have no returns to go on from; give prices")
    return found


def series_key(seed: int, unique_id: str) -> Array:
    """The key of one series' paths: whatever it is forecast together with."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(unique_id.encode()))


def draw_paths(
    model: GPT,
    tokenizer: Tokenizer,
    histories: Sequence[History],
    keys: Sequence[Array],
    *,
    steps: int,
    n_paths: int,
    sampler: Sampler = Sampler(),  # noqa: B008  frozen
    clocks: Sequence[np.ndarray | None] | None = None,
    schedule: np.ndarray | None = None,
    cache_dtype: CacheDtype | None = None,
) -> Paths:
    """Draw `n_paths` futures of `steps` tokens of each history; path p of history m depends on (keys[m], p) only.

    Args:
      model, tokenizer: of one run.
      histories: what each goes on from, of any lengths.
      clocks: how the bars to come lie in time, each (bars, 3), for a model that reads it; without one they follow one
        another without a pause.
      schedule, cache_dtype: as in `decode`.

    Raises BadInput for a model that reads what histories or paths do not have.
    """
    n_inputs = model.embed_inputs.shape[0] if model.config.inputs else 0
    returns = isinstance(tokenizer, ReturnTokenizer) and all(history.state is not None for history in histories)
    if n_inputs and not returns:
        raise BadInput(f"a model that reads volatility cannot go on from {tokenizer.kind} tokens: they carry none")
    if n_inputs > len(INPUT_NAMES) + len(CLOCK_NAMES):  # it reads ranges, and paths of closes have none
        if steps > 1:
            raise BadInput("a model that reads ranges sees one bar ahead; ask for one, or train without --ranges")
        clocks = None
    feedback = VolatilityFeedback(tokenizer, n_inputs) if isinstance(tokenizer, ReturnTokenizer) and returns else None
    n_together = min(max(2, power_of_two(n_paths)), PATHS_AT_ONCE)  # two share a prompt
    n_rows = min(power_of_two(len(histories)), PATHS_AT_ONCE // n_together)
    found = []
    for row in range(0, len(histories), n_rows):
        group = [min(m, len(histories) - 1) for m in range(row, row + n_rows)]
        prompts = _prompts([histories[m] for m in group], n_inputs)
        clock_MSC = _clocks([None if clocks is None else clocks[m] for m in group], steps, feedback)
        drawn = []
        for first in range(0, n_paths, n_together):
            key_MR = _path_keys(jnp.stack([keys[m] for m in group]), first + jnp.arange(n_together))
            state = None if feedback is None else first_state([histories[m] for m in group], clock_MSC, n_together)
            about = {"steps": steps, "sampler": sampler, "state": state, "feedback": feedback}
            drawn.append(decode(model, prompts, key_MR, **about, schedule=schedule, cache_dtype=cache_dtype))
        found.append(jax.tree.map(lambda *parts: _by_path(parts, n_rows)[:, :n_paths], *drawn))
    tokens, outputs = jax.tree.map(lambda *groups: np.concatenate(groups)[: len(histories)], *found)
    return Paths(tokens, None if outputs is None else outputs.astype(np.float64))  # sums of many are to be exact


@jax.jit
def _path_keys(key_M: Array, path_R: Array) -> Array:
    return jax.vmap(lambda key: jax.vmap(partial(jax.random.fold_in, key))(path_R))(key_M)


def _by_path(parts: Sequence[Array], n_rows: int) -> np.ndarray:
    """Each (S, M R) to all of them, (M, R, S)."""
    return np.concatenate([np.asarray(part).T.reshape(n_rows, -1, len(part)) for part in parts], axis=1)


def _prompts(histories: Sequence[History], n_inputs: int) -> Prompts:
    lengths = np.array([len(history.tokens) for history in histories], np.int32)
    tokens = np.zeros((len(histories), lengths.max()), np.int32)
    inputs = np.zeros((*tokens.shape, n_inputs), np.float32)
    for m, (history, length) in enumerate(zip(histories, lengths, strict=True)):
        tokens[m, :length] = history.tokens
        if n_inputs and history.inputs is not None:
            inputs[m, :length, : history.inputs.shape[1]] = history.inputs
    return Prompts(jnp.asarray(tokens), jnp.asarray(inputs) if n_inputs else None, jnp.asarray(lengths))


def _clocks(clocks: Sequence[np.ndarray | None], steps: int, feedback: VolatilityFeedback | None) -> np.ndarray:
    found = np.zeros((len(clocks), power_of_two(steps), 0 if feedback is None else feedback.n_clock), np.float32)
    for m, clock in enumerate(clocks):
        if clock is not None and found.shape[2]:
            found[m, : len(clock)] = clock
    return found
