"""Teacher-forced predictions of the rows of a split."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.dataset import Split, TokenDataset
from mqc_jax.model import GPT
from mqc_jax.training.batches import gather, scoring_windows
from mqc_jax.training.step import Batch, cross_entropy

BATCH = 32


def validation_loss(model: GPT, dataset: TokenDataset, split: Split = "validation") -> float:
    """Mean −ln p over the rows of `split`, nats; NaN where the split has none."""
    total, count = 0.0, 0
    for batch, scored, _ in scoring_batches(dataset, split, model.config.sequence_len, model.config.inputs):
        nats = np.asarray(_cross_entropy(model, batch), np.float64)
        total, count = total + nats[scored].sum(), count + scored.sum()
    return float(total / count) if count else float("nan")


def predictions(
    model: GPT, dataset: TokenDataset, split: Split, length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows, log probabilities) with shapes (n,) and (n, V) until every row of `split` came exactly once."""
    for batch, scored, targets in scoring_batches(dataset, split, length, model.config.inputs):
        log_probabilities_BTV = np.asarray(_log_probabilities(model, batch))
        yield targets[scored], log_probabilities_BTV[scored]


def scoring_batches(
    dataset: TokenDataset, split: Split, length: int, inputs: bool
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
    """Batches that score every row of `split` once, which of their targets count, and the targets' rows, (B, T)."""
    windows = scoring_windows(dataset, split, length)
    for start in range(0, len(windows.rows), BATCH):
        rows, scored = windows.rows[start : start + BATCH], windows.scored[start : start + BATCH]
        missing = BATCH - len(rows)  # one shape, one compilation
        rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        scored = np.concatenate([scored, np.zeros((missing, length), bool)])
        yield gather(dataset, rows, inputs), scored, rows[:, 1:]


@jax.jit
def _cross_entropy(model: GPT, batch: Batch) -> Array:
    return cross_entropy(model, batch)


@jax.jit
def _log_probabilities(model: GPT, batch: Batch) -> Array:
    return jax.nn.log_softmax(model(batch.tokens[:, :-1], batch.inputs).astype(jnp.float32))
