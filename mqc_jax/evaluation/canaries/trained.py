"""Experiments that train: too slow for every evaluation, run by the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_pipeline import DataConfig, build_dataset
from data_pipeline.dataset import TokenDataset
from mqc_jax.config import Config
from mqc_jax.evaluation.baselines import token_histogram
from mqc_jax.evaluation.canaries.canary import Canary
from mqc_jax.evaluation.known_answer.floors import batch_means, below_floor
from mqc_jax.evaluation.scores import hac_standard_error, mean_by_date
from mqc_jax.training.ensemble import Ensemble, pooled_probabilities

SHUFFLED_ERRORS = 2.0  # standard errors


def shuffled_canary(
    dataset: TokenDataset, config: Config, *, seeds: Sequence[int] = (0,), n_steps: int = 60, seed: int = 0
) -> Canary:
    """Train on returns without order, and see whether anything is gained over the histogram of their tokens.

    `config` is best a small model's. Tokens are quantiles of raw returns: those scaled by a volatility are predictable
    even then, from its errors.
    """
    cut = shuffled(dataset, config.data, config.model.vocab_size, seed)
    ensemble = Ensemble(config, cut, seeds)
    ensemble.advance(n_steps)
    rows_N, masses_NV = pooled_probabilities(ensemble.members, cut, "test")
    tokens_N = np.asarray(cut.tokens[rows_N], np.int64)
    assert cut.market is not None
    gain_N = np.log(masses_NV[np.arange(len(rows_N)), tokens_N]) - np.log(token_histogram(cut)[tokens_N])
    by_date = mean_by_date(gain_N, cut.market.times[rows_N])
    gain, error = float(by_date.mean()), hac_standard_error(by_date)
    detail = f"a gain of {gain:.4f} nats (standard error {error:.4f}) where there is nothing to gain"
    return Canary("shuffled", gain <= SHUFFLED_ERRORS * error, detail)


def shuffled(dataset: TokenDataset, data: DataConfig, vocab_size: int, seed: int = 0) -> TokenDataset:
    """The returns of all assets, each in units of its standard deviation, dealt out again in random order."""
    series = [dataset.series(number) for number in range(len(dataset.assets))]
    deviations = [one.log_returns.std() for one in series]
    pooled = np.concatenate([one.log_returns / deviation for one, deviation in zip(series, deviations, strict=True)])
    dealt = np.random.default_rng(seed).permutation(pooled) * np.median(deviations)
    ends = np.cumsum([len(one) for one in series])[:-1]
    parts = [replace(one, log_returns=r) for one, r in zip(series, np.split(dealt, ends), strict=True)]
    cut = replace(data, tokenizer="quantile", signal="log_return", timeframes=None, **dataset.manifest["splits"])
    return build_dataset(parts, cut, vocab_size=vocab_size)


def floor_canary(model_nats_N: np.ndarray, true_nats_N: np.ndarray) -> Canary:
    """Is a model better than the law its data were drawn from? Losses of the same tokens in the same order."""
    gain = batch_means(true_nats_N - model_nats_N)
    detail = f"a gain of {gain.nats:.4f} nats (standard error {gain.standard_error:.4f}) over the true law"
    return Canary("floor", not below_floor(model_nats_N, true_nats_N), detail)
