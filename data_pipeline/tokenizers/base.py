"""What every tokenizer of returns can do.

A return r becomes the bin of z = (r − mean) / scale, where `scale` is known before r is. So the edges of the bins in
return space, mean + scale · edges, are known one step ahead, and a row of token probabilities is a distribution over
the next return.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.volatility import (
    WARMUP,
    Filtered,
    VolatilityState,
    advance,
    filter_returns,
    inputs_from,
    next_volatility,
)

MIN_TRAINING_RETURNS = 200


@dataclass(frozen=True, eq=False)
class ReturnTokenizer:
    """A causal tokenizer; subclasses say what scales a return and at which quantiles the bins are cut."""

    bins: Bins  # of standardised returns z
    mean: float  # of training returns; log return per bar
    typical_volatility: float  # median training volatility; log return per bar
    kind: ClassVar[str]
    levels: ClassVar[np.ndarray]

    @classmethod
    def fit(cls, training_returns: Sequence[np.ndarray]) -> Self:
        """Fit on the training dates of each asset, pooled; one array of log returns per asset, from its first bar.

        Raises BadInput when fewer than MIN_TRAINING_RETURNS remain after the warm-up of each asset.
        """
        returns = np.concatenate([r[WARMUP:] for r in training_returns])
        if len(returns) < MIN_TRAINING_RETURNS:
            raise BadInput(
                f"{len(returns)} training returns are left after {WARMUP} of warm-up per asset, at least "
                f"{MIN_TRAINING_RETURNS} are needed; give a longer history or a later --train_end"
            )
        return cls.fit_rows(returns, np.concatenate([filter_returns(r).volatility[WARMUP:] for r in training_returns]))

    @classmethod
    def fit_rows(cls, returns: np.ndarray, volatility: np.ndarray) -> Self:
        """Fit on returns and the volatility known before each, both (N,)."""
        if np.ptp(returns) == 0:
            raise BadInput("the price never moves in the training dates; there is nothing to learn from it")
        mean, scale = cls._location_and_scale(returns, volatility)
        return cls(Bins.fit((returns - mean) / scale, cls.levels), mean, float(np.median(volatility)))

    @staticmethod
    def _location_and_scale(returns: np.ndarray, volatility: np.ndarray) -> tuple[float, np.ndarray]:
        raise NotImplementedError

    def scale_of(self, volatility: Any) -> Any:
        """The divisor of a return, given the volatility known before it."""
        raise NotImplementedError

    @property
    def vocab_size(self) -> int:
        return len(self.bins.values)

    @property
    def bin_values(self) -> np.ndarray:
        """Mean z of each bin in units of z's training standard deviation, shape (K,): what an ordinal model reads."""
        values, masses = self.bins.values, self.bins.masses
        mean = values @ masses
        return (values - mean) / np.sqrt((values - mean) ** 2 @ masses)

    def filter(self, returns: np.ndarray) -> Filtered:
        """Volatility, inputs and last state over one asset's log returns, shape (T,)."""
        return filter_returns(returns, self.typical_volatility)

    def standardize(self, returns: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        """z of log returns, given the volatility known before each; shapes broadcast."""
        return (returns - self.mean) / self.scale_of(volatility)

    def encode(self, returns: np.ndarray, volatility: np.ndarray | None = None) -> np.ndarray:
        """Tokens of one asset's log returns, shape (T,); the token at t depends on returns up to t only."""
        volatility = self.filter(returns).volatility if volatility is None else volatility
        return self.bins.assign(self.standardize(returns, volatility))

    def decode(self, tokens: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        """The representative log return of each token, given the volatility known before it."""
        return self.mean + self.scale_of(volatility) * self.bins.values[tokens]

    def return_edges(self, volatility: np.ndarray) -> np.ndarray:
        """Edges of the bins in log returns at each step, shape (T, K−1) for volatilities of shape (T,)."""
        return self.mean + np.asarray(self.scale_of(volatility))[..., None] * self.bins.edges

    def step(self, state: VolatilityState, z: Any) -> tuple[VolatilityState, Any, Any]:
        """Let a standardised return z happen: the state after it, the model inputs after it, its log return.

        Plain arithmetic on NumPy or JAX arrays, so that it runs inside a jitted loop.
        """
        log_return = self.mean + self.scale_of(next_volatility(state)) * z
        state = advance(state, log_return)
        return state, inputs_from(state, self.typical_volatility), log_return

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "mean": self.mean,
            "typical_volatility": self.typical_volatility,
            "bins": self.bins.to_json(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        return cls(Bins.from_json(fields["bins"]), float(fields["mean"]), float(fields["typical_volatility"]))
