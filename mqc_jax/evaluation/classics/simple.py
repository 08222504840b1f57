"""Classics that count: what the last days were like, how returns fell in the past, which bin follows which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.volatility import WARMUP
from mqc_jax.evaluation.baselines import RawReturnLaw
from mqc_jax.evaluation.classics.panel import Asset
from mqc_jax.laws.law import Binned, Empirical, Law

_LOG_CONCENTRATIONS = 0.0, 14.0  # between rows of counts that stand for themselves and rows that are all alike


@dataclass(frozen=True)
class NoParameters:
    """Nothing was fitted."""

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> NoParameters:
        return cls(**fields)


@dataclass(frozen=True)
class HistoricalSimulation:
    """The next return is one of the last `window`, all alike."""

    window: int = 250
    parameters: ClassVar[type[Any]] = NoParameters

    def fit(self, past: Asset) -> NoParameters:
        return NoParameters()

    def law(self, parameters: NoParameters, asset: Asset, rows: np.ndarray) -> Law:
        returns = asset.returns[rows[0] - self.window : rows[-1]]
        return Empirical(np.lib.stride_tricks.sliding_window_view(returns, self.window))


@dataclass(frozen=True)
class RawReturns:
    """The smoothed histogram of the training returns; `adaptive`: with masses that follow the recent ones."""

    adaptive: bool = False
    parameters: ClassVar[type[Any]] = Bins

    def fit(self, past: Asset) -> Bins:
        return RawReturnLaw.fit(past.returns[WARMUP:]).bins

    def law(self, parameters: Bins, asset: Asset, rows: np.ndarray) -> Law:
        masses = parameters.masses
        if self.adaptive:
            masses = RawReturnLaw(parameters).adaptive_masses(asset.returns[: rows[-1] + 1])[rows]
        return Binned(parameters, np.zeros(len(rows)), np.ones(len(rows)), masses)


@dataclass(frozen=True, eq=False)
class MarkovParameters:
    """Bins of volatility-scaled returns, and how often one followed another."""

    bins: Bins
    counts_KK: np.ndarray
    concentration: float

    def to_json(self) -> dict[str, Any]:
        counts = self.counts_KK.tolist()
        return {"bins": self.bins.to_json(), "counts": counts, "concentration": self.concentration}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> MarkovParameters:
        return cls(Bins.from_json(fields["bins"]), np.asarray(fields["counts"]), fields["concentration"])

    def transitions(self) -> np.ndarray:
        """P(k | j), (K, K), rows sum to one."""
        prior_K = self.concentration * self.bins.masses
        return (self.counts_KK + prior_K) / (self.counts_KK.sum(axis=1, keepdims=True) + self.concentration)


@dataclass(frozen=True)
class Markov:
    """First order, over `n_bins` bins of volatility-scaled returns cut like the volatility tokenizer's.

    Each row of counts is smoothed towards the masses of the bins as by a Dirichlet prior, whose concentration makes
    the counts likeliest (MacKay and Peto 1995).
    """

    n_bins: int = 64
    parameters: ClassVar[type[Any]] = MarkovParameters

    def fit(self, past: Asset) -> MarkovParameters:
        z = (past.returns / past.volatility)[WARMUP:]
        bins = Bins.fit(z, fine_tail_levels(2 * self.n_bins)[1::2])
        token = bins.assign(z)
        counts_KK = np.zeros((self.n_bins, self.n_bins), np.int64)
        np.add.at(counts_KK, (token[:-1], token[1:]), 1)
        found = minimize_scalar(
            lambda log: -_log_evidence(counts_KK, np.exp(log) * bins.masses),
            bounds=_LOG_CONCENTRATIONS,
            method="bounded",
        )
        return MarkovParameters(bins, counts_KK, float(np.exp(found.x)))

    def law(self, parameters: MarkovParameters, asset: Asset, rows: np.ndarray) -> Law:
        token_before = parameters.bins.assign(asset.returns[rows - 1] / asset.volatility[rows - 1])
        masses = parameters.transitions()[token_before]
        return Binned(parameters.bins, np.zeros(len(rows)), asset.volatility[rows], masses)


def _log_evidence(counts_KK: np.ndarray, prior_K: np.ndarray) -> float:
    """Log probability of the counts, but for a constant, when each row's probabilities are Dirichlet(prior)."""
    total = prior_K.sum()
    rows = gammaln(total) - gammaln(total + counts_KK.sum(axis=1))
    return float(rows.sum() + (gammaln(prior_K + counts_KK) - gammaln(prior_K)).sum())
