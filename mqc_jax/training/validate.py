"""Teacher-forced predictions of the rows of a split."""

from __future__ import annotations

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from data_pipeline.dataset import Split, TokenDataset
from mqc_jax.model import GPT
from mqc_jax.training.batches import gather, scoring_windows
from mqc_jax.training.sharding import ROWS, readable, shard_rows
from mqc_jax.training.step import Batch, cross_entropy

BATCH = 32


def validation_loss(model: GPT, dataset: TokenDataset, split: Split = "validation", mesh: Mesh | None = None) -> float:
    """Mean −ln p over the rows of `split`, nats; NaN where the split has none. With `mesh`, the model lies on it."""
    rows = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in ROWS)
    size = rows * -(-BATCH // rows)
    total, count = 0.0, 0
    for batch, scored, _ in scoring_batches(dataset, split, model.config.sequence_len, model.config.inputs, size):
        if mesh is None:
            found = _cross_entropy(model, batch)
        else:
            found = readable(_cross_entropy(model, shard_rows(batch, mesh)), mesh)
        nats = np.asarray(found, np.float64)
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
    dataset: TokenDataset, split: Split, length: int, inputs: bool, size: int = BATCH
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
    """Batches that score every row of `split` once, which of their targets count, and the targets' rows, (B, T)."""
    windows = scoring_windows(dataset, split, length)
    for start in range(0, len(windows.rows), size):
        rows, scored = windows.rows[start : start + size], windows.scored[start : start + size]
        missing = size - len(rows)  # one shape, one compilation
        rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        scored = np.concatenate([scored, np.zeros((missing, length), bool)])
        yield gather(dataset, rows, inputs), scored, rows[:, 1:]


@jax.jit
def _cross_entropy(model: GPT, batch: Batch) -> Array:
    return cross_entropy(model, batch)


@jax.jit
def _log_probabilities(model: GPT, batch: Batch) -> Array:
    return jax.nn.log_softmax(model(batch.tokens[:, :-1], batch.inputs).astype(jnp.float32))
