"""Generalized Pareto tails: what a bin that reaches to infinity looks like inside.

Beyond a high threshold, excesses of almost any law are nearly generalized Pareto (Pickands 1975, Balkema and de Haan
1974), P(X > e + x | X > e) = (1 + ξ x / β)^(−1/ξ), with the same shape ξ beyond any higher threshold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

PRIOR_SHAPE, PRIOR_COUNT = 0.25, 160  # daily returns of liquid assets; as good as this many excesses
LEAST_SHAPE, LARGEST_SHAPE = 0.02, 0.5  # no end point, finite variance


class Tail(NamedTuple):
    """The law of the excess over an outer edge."""

    shape: float  # ξ
    scale: float  # β, in the units of the values

    @classmethod
    def fit(cls, excesses: np.ndarray, counts: np.ndarray, beyond: float, spread: float) -> Tail:
        """Fit to sorted excesses over a threshold, `counts` of each, and move up to the edge `beyond` above it.

        Probability-weighted moments (Hosking and Wallis 1987, equation 3), the shape shrunk to what daily returns
        have, the scale then from the mean excess. Without excesses: the prior shape, on the scale `spread`.
        """
        n = float(counts.sum())
        if not n or not excesses @ counts:
            return cls(PRIOR_SHAPE, spread)
        mean = excesses @ counts / n
        above = 1 - (np.cumsum(counts) - counts / 2) / n  # share of the excesses above each
        weighted = (excesses * above) @ counts / n
        shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else LARGEST_SHAPE
        shape = (n * np.clip(shape, LEAST_SHAPE, LARGEST_SHAPE) + PRIOR_COUNT * PRIOR_SHAPE) / (n + PRIOR_COUNT)
        return cls(float(shape), float(mean * (1 - shape) + shape * beyond))

    def log_survival(self, excess: np.ndarray) -> np.ndarray:
        """ln P(X > edge + excess | X > edge) for excess ≥ 0."""
        return -np.log1p(self.shape * excess / self.scale) / self.shape

    def excess(self, log_survival: Any) -> Any:
        """The excess that is survived with this log probability ≤ 0: undoes `log_survival`, on NumPy or JAX arrays."""
        return self.scale * log_survival.__array_namespace__().expm1(-self.shape * log_survival) / self.shape

    def mean_above(self, excess: Any) -> Any:
        """Mean of the excesses above this one; finite for a shape below 1."""
        return excess + (self.scale + self.shape * excess) / (1 - self.shape)

    @property
    def variance(self) -> float:
        """Of the excess; infinite for a shape of 1/2 or more."""
        if self.shape >= 0.5:
            return float("inf")
        return self.scale**2 / (1 - self.shape) ** 2 / (1 - 2 * self.shape)

    def log_density(self, excess: np.ndarray) -> np.ndarray:
        """Log density of the excess, given that there is one."""
        return self.log_survival(excess) - np.log(self.scale + self.shape * excess)
