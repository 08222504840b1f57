"""Scores of a model against a known law: no model can gain more than the floor allows.

Axis letters: N rows, history after history  K tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import entr

ALARM = 3.0  # standard errors


class MeanNats(NamedTuple):
    """A mean, and how far chance may have moved it."""

    nats: float
    standard_error: float


def batch_means(values_N: np.ndarray) -> MeanNats:
    """Mean of a dependent series; its error from the means of about √N batches, each longer than the memory.

    Batch means as in Flegal and Jones (2010), Annals of Statistics 38, 1034-1070.
    """
    size = max(1, int(np.sqrt(len(values_N))))
    means = values_N[: len(values_N) // size * size].reshape(-1, size).mean(axis=1)
    return MeanNats(float(values_N.mean()), float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0)


def entropy(masses_NK: np.ndarray) -> np.ndarray:
    """−Σ p ln p of each row, (N,)."""
    return entr(masses_NK).sum(axis=-1)


def cross_entropy(masses_NK: np.ndarray, log_model_NK: np.ndarray) -> np.ndarray:
    """−Σ p ln q of each row, (N,): what a model loses on average over the tokens that may come."""
    return -(masses_NK * np.where(masses_NK > 0, log_model_NK, 0.0)).sum(axis=-1)


def divergence(masses_NK: np.ndarray, log_model_NK: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence Σ p ln(p / q) of each row, (N,): what the model loses to the truth there."""
    return cross_entropy(masses_NK, log_model_NK) - entropy(masses_NK)


def excess(masses_NK: np.ndarray, log_model_NK: np.ndarray) -> float:
    """Mean divergence of a model's log probabilities from the true law; never negative, without the noise of draws."""
    return float(divergence(masses_NK, log_model_NK).mean())


def log_loss(masses_NK: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
    """−ln of the mass on the token that came, (N,)."""
    return -np.log(np.take_along_axis(masses_NK, tokens_N[:, None].astype(np.int64), axis=1)[:, 0])


def recovery(loss: float, unigram: float, floor: float) -> float:
    """The share of what can be gained over the unigram that was gained: 0 the unigram, 1 the truth."""
    return (unigram - loss) / (unigram - floor)


def below_floor(model_nats_N: np.ndarray, true_nats_N: np.ndarray) -> bool:
    """Whether a model's log losses are lower than the true law's by more than ALARM standard errors.

    Both are of the same tokens in the same order. Only a model that was told something of the future can do that.
    """
    gain = batch_means(true_nats_N - model_nats_N)
    return gain.nats > ALARM * gain.standard_error
