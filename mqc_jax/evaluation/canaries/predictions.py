"""Does a model look ahead? Its predictions must not change with what comes after them.

Axis letters: W windows  T time  N rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data_pipeline.dataset import Split, TokenDataset
from mqc_jax.evaluation.canaries.canary import Canary, differs, first_of, place_of, skipped, spread
from mqc_jax.evaluation.canaries.data import at
from mqc_jax.model import GPT
from mqc_jax.training.batches import scoring_windows
from mqc_jax.training.validate import BATCH, predictions

Predict = Callable[[TokenDataset, Split], tuple[np.ndarray, np.ndarray]]  # rows (N,), (log) probabilities (N, V)


def predictor(model: GPT, length: int) -> Predict:
    """How evaluation asks a single model, in windows of `length`."""

    def predict(dataset: TokenDataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
        rows, log_probabilities = zip(*predictions(model, dataset, split, length), strict=True)
        return np.concatenate(rows), np.concatenate(log_probabilities)

    return predict


def predictions_canary(predict: Predict, dataset: TokenDataset, split: Split, context: int) -> Canary:
    """Do predictions stay the same, bit by bit, when the tokens and inputs behind their contexts change?"""
    windows_WT = scoring_windows(dataset, split, context).rows
    if not len(windows_WT):
        return skipped("predictions", f"no row is in the {split} split")
    windows_WT = windows_WT[spread(len(windows_WT), BATCH)]
    size, n_scored = context + 1, max(1, context // 2)
    pieces, rng = _pieces(dataset, windows_WT, n_scored), np.random.default_rng(0)
    cut_W = rng.integers(context - n_scored, context, len(windows_WT))
    rows_N, before_NV = predict(pieces, "test")
    again_N, after_NV = predict(_other_futures(pieces, (np.arange(size) > cut_W[:, None]).ravel(), rng), "test")
    if not np.array_equal(rows_N, again_N):
        return Canary("predictions", False, "which rows are scored changes with later tokens; score them in any case")
    known_N = rows_N % size <= cut_W[rows_N // size] + 1
    for n in first_of(differs(before_NV, after_NV) & known_N[:, None]):
        window, place = windows_WT[rows_N[n] // size], cut_W[rows_N[n] // size] + 1
        detail = f"that of {place_of(dataset, window[rows_N[n] % size])} changes with the tokens and inputs from " + (
            f"{place_of(dataset, window[place])} on; make the model causal"
        )
        return Canary("predictions", False, detail)
    return Canary("predictions", True, f"{int(known_N.sum())} of them in {len(windows_WT)} windows stayed the same")


def _pieces(dataset: TokenDataset, windows_WT: np.ndarray, n_scored: int) -> TokenDataset:
    """A dataset of these windows only, each a piece of its own whose last rows are its test."""
    rows, size = windows_WT.ravel(), windows_WT.shape[1]
    begin = size * np.arange(len(windows_WT))
    test = begin + size - n_scored
    market = None if dataset.market is None else at(dataset.market, rows)
    segments = np.stack([begin, begin, test, test, begin + size], axis=1)
    return replace(dataset, tokens=np.asarray(dataset.tokens[rows]), segments=segments, market=market)


def _other_futures(dataset: TokenDataset, future_N: np.ndarray, rng: np.random.Generator) -> TokenDataset:
    """The same with another token and other inputs in every `future` row; tokens that mark time stay."""
    bins = dataset.tokenizer.vocab_size
    moved_N = np.flatnonzero(future_N & (dataset.tokens < bins))
    tokens = dataset.tokens.copy()
    tokens[moved_N] = (tokens[moved_N].astype(np.int64) + rng.integers(1, bins, len(moved_N))) % bins
    market = dataset.market
    if market is not None:
        noise = rng.normal(size=market.inputs.shape).astype(market.inputs.dtype)
        market = market._replace(inputs=np.where(future_N[:, None], noise - market.inputs, market.inputs))
    return replace(dataset, tokens=tokens, market=market)
