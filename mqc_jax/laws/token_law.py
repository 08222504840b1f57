"""What a row of token probabilities says of the next return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.laws import distribution
from mqc_jax.laws.law import Rows


@dataclass(frozen=True, eq=False)
class TokenLaw:
    """Laws of N log returns whose z has the given masses over the tokenizer's bins; Pareto beyond the outer edges.

    Axis letters: N rows  M points  K bins.
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
