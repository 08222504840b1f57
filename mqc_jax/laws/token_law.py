"""What a row of token probabilities says of the next return.

Axis letters: N rows  M points or levels  K bins  J nodes of a quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.laws import distribution
from mqc_jax.laws.law import Rows

BLOCK = 64  # rows integrated at a time


def _nodes(count: int, crowding: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on (0, 1) that crowd at 0 as v ** `crowding` does."""
    v, weight = np.polynomial.legendre.leggauss(count)
    v = (v + 1) / 2
    return v**crowding, weight / 2 * crowding * v ** (crowding - 1)


NODES_J, WEIGHTS_J = _nodes(48, 8)  # crowded where a Pareto tail runs to infinity and a price to nothing


@dataclass(frozen=True, eq=False)
class TokenLaw:
    """Laws of N log returns whose z has the given masses over the tokenizer's bins; Pareto beyond the outer edges.

    Quantiles are exact. So are means where log returns are linear in z; for `pct_oc` and `delta`, signals that log
    returns bend, they are integrals over each bin by Gauss-Legendre quadrature.
    """

    tokenizer: ReturnTokenizer
    known_N: np.ndarray  # what the bins of each row depend on, as `ReturnTokenizer.known_before` gives it
    masses_NK: np.ndarray

    def __len__(self) -> int:
        return len(self.known_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        z_NM = self.tokenizer.standardize(points_NM, self.known_N[:, None])
        return np.minimum(distribution.cdf(z_NM, self.tokenizer.bins, self.masses_NK), 1)  # but for rounding

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        z_N = self.tokenizer.standardize(returns_N, self.known_N)
        log_z_N = distribution.log_density(z_N, self.tokenizer.bins, self.masses_NK)
        return log_z_N + self.tokenizer.log_slope(returns_N, self.known_N)

    def take(self, rows: Rows) -> TokenLaw:
        return TokenLaw(self.tokenizer, self.known_N[rows], self.masses_NK[rows])

    def quantile(self, levels_M: np.ndarray) -> np.ndarray:
        """The least log return that is not exceeded with each probability, (N, M). Raises BadInput outside (0, 1)."""
        return self._returns(distribution.quantile(levels_M, self.tokenizer.bins, self.masses_NK))

    def expected_shortfall(self, levels_M: np.ndarray) -> np.ndarray:
        """Mean of the log returns below each quantile, (N, M); negative for small levels, the mean of all for 1."""
        if self.tokenizer.scaling.linear:
            return self._returns(distribution.mean_below(levels_M, self.tokenizer.bins, self.masses_NK))
        k_NM, share_NM = distribution.find(levels_M, self.masses_NK)
        sums_NK = np.pad(np.cumsum(self.masses_NK * self._moments(1), axis=1), ((0, 0), (1, 0)))
        mass_NM = np.take_along_axis(self.masses_NK, k_NM, axis=1)
        within_NM = mass_NM * self._integral(k_NM, share_NM, 1)
        return (np.take_along_axis(sums_NK, k_NM, axis=1) + within_NM) / levels_M

    def mean(self) -> np.ndarray:
        """Mean log return, (N,)."""
        if self.tokenizer.scaling.linear:
            return self._returns(distribution.mean(self.tokenizer.bins, self.masses_NK)[:, None])[:, 0]
        return np.einsum("nk,nk->n", self.masses_NK, self._moments(1))

    def standard_deviation(self) -> np.ndarray:
        """Of the log return, (N,)."""
        if not self.tokenizer.scaling.linear:
            return np.sqrt(np.einsum("nk,nk->n", self.masses_NK, self._moments(2)) - self.mean() ** 2)
        z_N = distribution.standard_deviation(self.tokenizer.bins, self.masses_NK)
        zero_N, one_N = self._returns(np.tile([0.0, 1.0], (len(self), 1))).T
        return z_N * (one_N - zero_N)

    def _returns(self, z_NM: np.ndarray) -> np.ndarray:
        return self.tokenizer.scaling.returns(z_NM, self.known_N[:, None])

    def _moments(self, power: int) -> np.ndarray:
        """E[log return ** power] within each bin, (N, K)."""
        k_NK = np.broadcast_to(np.arange(self.tokenizer.vocab_size), self.masses_NK.shape)
        return self._integral(k_NK, np.ones(k_NK.shape), power)

    def _integral(self, k_NM: np.ndarray, share_NM: np.ndarray, power: int) -> np.ndarray:
        """Integral of log return ** power over the lowest `share` of bin k, (N, M).

        A price cannot lose more than itself: the part of the lowest bin that says so sits on one return, `ruin`. The
        nodes crowd where the rest of it begins, and at the upper end of other bins.
        """
        bins, scaling = self.tokenizer.bins, self.tokenizer.scaling
        ruin_N = scaling.returns(np.float64(-np.inf), self.known_N)
        excess_N = np.maximum(bins.edges[0] - scaling.z(ruin_N, self.known_N), 0)
        ruined_N = np.exp(bins.left.log_survival(excess_N))
        integral_NM = np.empty(k_NM.shape)
        for start in range(0, len(k_NM), BLOCK):
            n = slice(start, start + BLOCK)
            known_N11, k_NM1, share_NM1 = self.known_N[n, None, None], k_NM[n, :, None], share_NM[n, :, None]
            low_NM1 = np.where(k_NM1 == 0, np.minimum(ruined_N[n, None, None], share_NM1), 0)
            width_NM1 = share_NM1 - low_NM1
            at_NMJ = np.where(k_NM1 == 0, low_NM1 + width_NM1 * NODES_J, share_NM1 - width_NM1 * NODES_J)
            values_NMJ = scaling.returns(bins.place(k_NM1, at_NMJ), known_N11) ** power
            beyond_NM = low_NM1[..., 0] * ruin_N[n, None] ** power
            integral_NM[n] = beyond_NM + width_NM1[..., 0] * np.einsum("nmj,j->nm", values_NMJ, WEIGHTS_J)
        return integral_NM
