"""Windows of a token dataset: random ones to train on, and the ones that score every row of a split exactly once.

Which windows a step sees is decided on the host, a pure function of (seed, step); what they hold is read on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.tokenizers import special
from mqc_jax.config import ModelConfig
from mqc_jax.training.step import Batch

MAX_ON_DEVICE = 4 << 30  # bytes of a dataset; a larger one is sent window by window


def steps_per_epoch(dataset: TokenDataset, length: int, batch_size: int) -> int:
    """Steps that see as many windows as overlap by half in the training tokens."""
    lengths = dataset.segments[:, 2] - dataset.segments[:, 1]
    windows = sum(1 + (n - length - 1) // max(1, length // 2) for n in lengths if n > length)
    return max(1, round(windows / batch_size))


class Windows(NamedTuple):
    """Where windows begin: row numbers of any shape."""

    first: np.ndarray | Array
    last: np.ndarray | Array | None  # last training row of their pieces; None where every window fits into its piece

    def at(self, place: int | Array) -> Windows:
        """Those at one place of the leading axis."""
        return Windows(self.first[place], None if self.last is None else self.last[place])


def draw_windows(
    dataset: TokenDataset, starts: np.ndarray, length: int, batch_size: int, *, seed: int, steps: Sequence[int]
) -> Windows:
    """Random windows, (S, B); a pure function of (seed, step), so a resumed run sees what an unbroken one sees."""
    first_SB = np.stack([np.random.default_rng([seed, step]).choice(starts, batch_size) for step in steps])
    if not dataset.n_special and (dataset.segments[:, 2] - dataset.segments[:, 1] > length).all():
        return Windows(first_SB, None)
    segment_SB = np.searchsorted(dataset.segments[:, 4], first_SB, side="right")
    return Windows(first_SB, dataset.segments[segment_SB, 2] - 1)


class Table(NamedTuple):
    """Rows of a dataset on the device."""

    tokens: Array  # (N,)
    inputs: Array | None  # (N, F)


class Feed:
    """What the device reads windows from: the whole dataset where it is small enough, else the windows themselves."""

    def __init__(self, dataset: TokenDataset, inputs: bool, put: Callable[[Table], Table] = lambda table: table):
        self._put = put  # on several devices: onto all of them
        self._tokens = dataset.tokens
        self._inputs = dataset.market.inputs if inputs and dataset.market is not None else None
        n_bytes = self._tokens.nbytes + (0 if self._inputs is None else self._inputs.nbytes)
        fits = n_bytes <= MAX_ON_DEVICE and len(self._tokens) < 2**31
        self._whole = self._rows(slice(None)) if fits else None

    def __call__(self, windows: Windows, length: int) -> tuple[Table, Windows]:
        """A table, and where the windows are in it."""
        if self._whole is not None:
            return self._whole, jax.tree.map(lambda rows: rows.astype(np.int32), windows)
        rows = windows.first[..., None] + np.arange(length + 1)
        last = rows[..., -1] if windows.last is None else np.minimum(rows[..., -1], windows.last)
        first = (np.arange(windows.first.size, dtype=np.int32) * (length + 1)).reshape(windows.first.shape)
        table = self._rows(np.minimum(rows, last[..., None]).ravel())
        return table, Windows(first, None if windows.last is None else first + (last - windows.first).astype(np.int32))

    def _rows(self, rows: slice | np.ndarray) -> Table:
        inputs = None if self._inputs is None else jnp.asarray(self._inputs[rows])
        return self._put(Table(jnp.asarray(self._tokens[rows]), inputs))


def read_windows(table: Table, windows: Windows, config: ModelConfig) -> Batch:
    """The batch of these windows; what lies behind the end of a short piece, and special tokens, have no weight."""
    rows_BT = jnp.asarray(windows.first)[:, None] + jnp.arange(config.sequence_len + 1)
    if windows.last is None:
        return read_rows(table, rows_BT)
    inside_BT = rows_BT <= jnp.asarray(windows.last)[:, None]
    batch = read_rows(table, jnp.minimum(rows_BT, jnp.asarray(windows.last)[:, None]))
    if config.n_special:
        batch = batch._replace(tokens=jnp.where(inside_BT, batch.tokens, config.vocab_size + special.PAD))
    weights_BT = inside_BT[:, 1:] & (batch.tokens[:, 1:] < config.vocab_size)
    return batch._replace(weights=weights_BT.astype(jnp.float32))


def read_rows(table: Table, rows_BT: Array) -> Batch:
    """The batch at these rows of a table, (B, T + 1)."""
    inputs_BTF = None if table.inputs is None else table.inputs[rows_BT[:, :-1]]
    return Batch(table.tokens[rows_BT].astype(jnp.int32), inputs_BTF)


def gather(dataset: TokenDataset, rows: np.ndarray, inputs: bool) -> Batch:
    """The batch at these rows of a dataset, (B, T + 1), read on the host."""
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
