"""Models of one configuration and several seeds, trained side by side in one compiled program.

For what trains many small models and keeps their predictions only: walk-forward refits, known-answer tasks. Member k
starts from the weights, and sees the batches and the dropout, that `train.py --seed k` would.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.errors import NumericFailure
from mqc_jax.config import Config
from mqc_jax.model import GPT
from mqc_jax.training.batches import Feed, Table, Windows, draw_windows, steps_per_epoch
from mqc_jax.training.dispatch import take_steps
from mqc_jax.training.optimizer import make_optimizer
from mqc_jax.training.start import dropout_key, first_model, open_bases
from mqc_jax.training.step import Batch, TrainState, first_state
from mqc_jax.training.validate import scoring_batches

STEPS_AT_ONCE = 20  # in one dispatch


class Ensemble:
    """K members under training; `members` is one GPT whose parameters have a leading axis K."""

    def __init__(self, config: Config, dataset: TokenDataset, seeds: Sequence[int]):
        self.config, self.dataset, self.seeds, self.done = config, dataset, seeds, 0
        self._starts = dataset.window_starts(config.model.sequence_len)
        per_epoch = steps_per_epoch(dataset, config.model.sequence_len, config.train.batch_size)
        self._tx = make_optimizer(config.train, per_epoch)
        self._key_K = jnp.stack([dropout_key(seed) for seed in seeds])
        bases = open_bases(config, dataset)
        first = [first_model(config, dataset, bases, seed) for seed in seeds]
        members: Any = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
        self._state = jax.vmap(lambda member: first_state(member, config.train, self._tx))(members)
        self._feed = Feed(dataset, config.model.inputs)

    @property
    def members(self) -> GPT:
        return self._state.result

    def advance(self, n_steps: int) -> np.ndarray:
        """Take that many more steps; the members' losses, (n_steps, K), nats. Raises NumericFailure at a NaN."""
        losses = []
        for first in range(self.done, self.done + n_steps, STEPS_AT_ONCE):
            n = min(STEPS_AT_ONCE, self.done + n_steps - first)
            windows_KSB = self._windows(range(first, first + STEPS_AT_ONCE))
            table, windows_KSB = self._feed(windows_KSB, self.config.model.sequence_len)
            self._state, loss_KS = _advance(
                self._state, table, windows_KSB, first, n, self._key_K, tx=self._tx, config=self.config
            )
            losses.append(np.asarray(loss_KS)[:, :n].T)
        self.done += n_steps
        found = np.concatenate(losses)
        taken = np.asarray(self._state.step)
        if (taken < self.done).any():
            raise NumericFailure(
                f"a loss or gradient that is not finite at step {taken.min()}; try a --learning_rate below "
                f"{self.config.train.learning_rate:g}"
            )
        return found

    def _windows(self, steps: Sequence[int]) -> Windows:
        """Stacked to (K, S, B)."""
        length, size = self.config.model.sequence_len, self.config.train.batch_size
        drawn = [draw_windows(self.dataset, self._starts, length, size, seed=seed, steps=steps) for seed in self.seeds]
        return jax.tree.map(lambda *members: np.stack(members), *drawn)


@partial(jax.jit, static_argnames=("tx", "config"), donate_argnames="state")
def _advance(
    state: TrainState,
    table: Table,
    windows_KSB: Windows,
    first: Array | int,
    n_steps: Array | int,
    key_K: Array,
    *,
    tx: optax.GradientTransformation,
    config: Config,
) -> tuple[TrainState, Array]:
    def of_member(state: TrainState, windows_SB: Windows, key: Array) -> tuple[TrainState, Array]:
        state, metrics = take_steps(state, table, windows_SB, first, n_steps, key, tx=tx, config=config)
        return state, metrics["loss"]

    return jax.vmap(of_member)(state, windows_KSB, key_K)


def pooled_probabilities(members: GPT, dataset: TokenDataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `split` in order, (N,), and the linear pool of the members' laws of their tokens, (N, V)."""
    config = members.config
    found, pooled = [], []
    for batch, scored, targets in scoring_batches(dataset, split, config.sequence_len, config.inputs):
        found.append(targets[scored])
        pooled.append(np.asarray(_pooled(members, batch), np.float64)[scored])
    rows = np.concatenate(found)
    order = np.argsort(rows)
    return rows[order], np.concatenate(pooled)[order]


@jax.jit
def _pooled(members: GPT, batch: Batch) -> Array:
    def law(member: GPT) -> Array:
        return jax.nn.softmax(member(batch.tokens[:, :-1], batch.inputs).astype(jnp.float32))

    return jnp.mean(jax.vmap(law)(members), axis=0)
