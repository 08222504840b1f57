"""What a model reads beside the tokens it draws: volatility that answers to its own returns.

Axis letters: M histories  B paths, those of a history beside one another  A assets  S bars to come  C clock inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, VolatilityState
from mqc_jax.forecasting.history import History


class PathState(NamedTuple):
    """What the next inputs depend on."""

    volatility: VolatilityState  # (B, A, ...)
    inputs_BF: Array  # read beside the last token
    clock_MSC: Array  # how the bars to come lie in time
    bar: Array  # () how many of them are over
    asset: Array  # () whose return comes next


class VolatilityFeedback:
    """The decoder's feedback: a token becomes a return, at its share of the bin's own law, and volatility answers.

    Returns are drawn from the whole law, its Pareto tails included. A special token is no return: beside it stand the
    inputs of the last one, or zeros where the assets of a date stand side by side. `n_inputs` is how many the model
    reads, the last of them clock inputs; 0: none, and returns are found all the same.
    """

    def __init__(self, tokenizer: ReturnTokenizer, n_inputs: int):
        self.tokenizer, self.n_inputs = tokenizer, n_inputs
        self.n_clock = max(0, n_inputs - len(INPUT_NAMES))

    def __call__(self, state: PathState, token_B: Array, share_B: Array) -> tuple[PathState, Array | None, Array]:
        n_assets = state.volatility.z.shape[1]
        special_B = token_B >= self.tokenizer.vocab_size
        before = jax.tree.map(lambda x: x[:, state.asset], state.volatility)
        z_B = self.tokenizer.bins.place(jnp.minimum(token_B, self.tokenizer.vocab_size - 1), share_B)
        after, inputs_BI, return_B = self.tokenizer.step(before, z_B)
        inputs_BF = jnp.concatenate([inputs_BI, self._clock(state, len(token_B))], axis=1)
        held_BF = jnp.zeros_like(inputs_BF) if n_assets > 1 else state.inputs_BF
        volatility = jax.tree.map(
            lambda all_, one, new: all_.at[:, state.asset].set(jnp.where(_like(special_B, new), one, new)),
            *(state.volatility, before, after),
        )
        drawn = 1 - special_B[0].astype(jnp.int32)  # the same token is special in all paths
        state = PathState(
            volatility,
            jnp.where(special_B[:, None], held_BF, inputs_BF),
            state.clock_MSC,
            state.bar + drawn * (state.asset == n_assets - 1),
            (state.asset + drawn) % n_assets,
        )
        return state, state.inputs_BF if self.n_inputs else None, jnp.where(special_B, jnp.nan, return_B)

    def _clock(self, state: PathState, batch: int) -> Array:
        clock_MC = state.clock_MSC[:, state.bar]
        return jnp.repeat(clock_MC, batch // len(clock_MC), axis=0)

    # one tokenizer, one compiled program
    def __hash__(self) -> int:
        return hash((id(self.tokenizer), self.n_inputs))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, VolatilityFeedback)
            and other.tokenizer is self.tokenizer
            and other.n_inputs == self.n_inputs
        )


def first_state(histories: Sequence[History], clock_MSC: np.ndarray, n_paths: int) -> PathState:
    """Before the first draw: each history's volatility, (...) or that of its assets, (A, ...), for all of its paths."""

    def of_paths(*leaves: np.ndarray, axes: int) -> Array:
        all_ = np.stack([np.asarray(leaf, np.float32) for leaf in leaves])
        return jnp.repeat(jnp.asarray(all_ if axes else all_[:, None]), n_paths, axis=0)

    states: list[Any] = [history.state for history in histories]
    volatility: VolatilityState = jax.tree.map(partial(of_paths, axes=np.ndim(states[0].z)), *states)
    inputs_BF = jnp.zeros((len(volatility.z), len(INPUT_NAMES) + clock_MSC.shape[2]))
    return PathState(volatility, inputs_BF, jnp.asarray(clock_MSC), jnp.int32(0), jnp.int32(0))


def _like(x_B: Array, other: Array) -> Array:
    return x_B.reshape(-1, *[1] * (other.ndim - 1))
