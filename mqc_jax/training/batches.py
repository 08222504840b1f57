"""Windows of a token dataset: random ones to train on, and the ones that score every row of a split exactly once."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.tokenizers import special
from mqc_jax.training.step import Batch


def steps_per_epoch(dataset: TokenDataset, length: int, batch_size: int) -> int:
    """Steps that see as many windows as overlap by half in the training tokens."""
    lengths = dataset.segments[:, 2] - dataset.segments[:, 1]
    windows = sum(1 + (n - length - 1) // max(1, length // 2) for n in lengths if n > length)
    return max(1, round(windows / batch_size))


def training_batch(
    dataset: TokenDataset, starts: np.ndarray, length: int, batch_size: int, *, seed: int, step: int, inputs: bool
) -> Batch:
    """Windows at random starts; a pure function of (seed, step), so a resumed run sees what an unbroken one sees."""
    first = np.random.default_rng([seed, step]).choice(starts, batch_size)
    rows = first[:, None] + np.arange(length + 1)
    if not dataset.n_special and (dataset.segments[:, 2] - dataset.segments[:, 1] > length).all():
        return gather(dataset, rows, inputs)
    segment = np.searchsorted(dataset.segments[:, 4], first, side="right")
    last = dataset.segments[segment, 2, None] - 1
    batch = gather(dataset, np.minimum(rows, last), inputs)  # repeats behind a short piece, of no weight
    if dataset.n_special:
        pad = dataset.tokenizer.vocab_size + special.PAD
        batch = batch._replace(tokens=jnp.where(jnp.asarray(rows <= last), batch.tokens, pad))
    weights_BT = (rows[:, 1:] <= last) & (batch.tokens[:, 1:] < dataset.tokenizer.vocab_size)
    return batch._replace(weights=jnp.asarray(weights_BT, jnp.float32))


def gather(dataset: TokenDataset, rows: np.ndarray, inputs: bool) -> Batch:
    """The batch at `rows`, (B, T + 1) row numbers."""
    market = dataset.market if inputs else None
    inputs_BTF = None if market is None else jnp.asarray(market.inputs[rows[:, :-1]])
    return Batch(jnp.asarray(dataset.tokens[rows], jnp.int32), inputs_BTF)


class ScoringWindows(NamedTuple):
    """W windows that score every row of a split once, each with at least half a window of context where there is any.

    `rows` (W, T + 1); `scored` (W, T) marks the targets that count.
    """

    rows: np.ndarray
    scored: np.ndarray


def scoring_windows(dataset: TokenDataset, split: Split, length: int) -> ScoringWindows:
    """Cut the rows of `split` into blocks of half a window and put each at the end of a window."""
    block = max(1, length // 2)
    rows, scored = [], []
    for segment, (begin, end) in zip(dataset.segments, dataset.spans(split), strict=True):
        for low in range(begin, end, block):
            high = min(low + block, end)
            first = max(segment[1], high - 1 - length)
            window = first + np.arange(length + 1)
            rows.append(np.minimum(window, high - 1))  # repeats behind the block, unscored: the model is causal
            is_return = dataset.tokens[rows[-1][1:]] < dataset.tokenizer.vocab_size
            scored.append((window[1:] >= low) & (window[1:] < high) & is_return)
    empty = np.zeros((0, length + 1), np.int64)
    return ScoringWindows(np.stack(rows) if rows else empty, np.stack(scored) if scored else empty[:, 1:].astype(bool))
