"""S7: long memory. Volatility is driven by averages of |v| over 1, 5 and 22 bars, each token's value v.

    ln σ_t = ln(ω + Σ_m b_m mean(|v_{t−1}|, …, |v_{t−m}|) / E|z|),  ω = volatility · (1 − Σ b)

The cascade is that of Corsi (2009), Journal of Financial Econometrics 7, 174-196. Σ b < 1 makes E σ = volatility.
Axis letters: C histories  T time  W = 22 bars before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import gamma

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.bins import Bins
from mqc_jax.evaluation.known_answer.student import bin_masses
from mqc_jax.evaluation.known_answer.task import Simulated, Task, innovations

HORIZONS = (1, 5, 22)  # bars: a day, a week, a month


@dataclass(frozen=True)
class TokenHar(Task):
    """`weights` are b, one for each horizon. Before its first token a history is taken to have been calm."""

    volatility: float = 0.01
    weights: tuple[float, float, float] = (0.1, 0.3, 0.5)
    nu: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.weights) < 0 or sum(self.weights) >= 1:
            raise BadInput(f"{self.name}: weights={self.weights} must not be negative and sum to less than 1")

    @property
    def mean_abs_z(self) -> float:
        """E|z| of a Student t of variance one."""
        nu = self.nu
        return float(2 * np.sqrt((nu - 2) / np.pi) * gamma((nu + 1) / 2) / (gamma(nu / 2) * (nu - 1)))

    @property
    def lag_weights(self) -> np.ndarray:
        """What |v| of 1, 2, … 22 bars ago adds to σ, (W,)."""
        shares = [b / m * (np.arange(HORIZONS[-1]) < m) for b, m in zip(self.weights, HORIZONS, strict=True)]
        return np.sum(shares, axis=0) / self.mean_abs_z

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        before = np.full((len(simulated.tokens_CT), HORIZONS[-1]), self._calm)
        read_CT = np.concatenate([before, np.abs(simulated.values_CT[:, :-1])], axis=1)
        pushed_CT = np.asarray(lfilter(self.lag_weights, [1.0], read_CT))[:, HORIZONS[-1] - 1 :]
        return bin_masses(self.bins.edges, 0.0, (self._omega + pushed_CT).ravel()[rows], self.nu)

    @property
    def _omega(self) -> float:
        return self.volatility * (1 - sum(self.weights))

    @property
    def _calm(self) -> float:
        return self.volatility * self.mean_abs_z

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, np.ndarray]:
        z_TC = np.ascontiguousarray(innovations([self.nu] * n_histories, length, seed).T)
        returns_TC, volatility_TC = np.empty_like(z_TC), np.empty_like(z_TC)
        window_WC = np.full((HORIZONS[-1], n_histories), self._calm)  # |v| by bar modulo 22
        for t in range(length):
            averages = [window_WC[np.arange(t - m, t) % HORIZONS[-1]].mean(axis=0) for m in HORIZONS]
            pushed = sum(b * a for b, a in zip(self.weights, averages, strict=True)) / self.mean_abs_z
            volatility_TC[t] = self._omega + pushed
            returns_TC[t] = volatility_TC[t] * z_TC[t]
            read = returns_TC[t] if bins is None else bins.values[bins.assign(returns_TC[t])]
            window_WC[t % HORIZONS[-1]] = np.abs(read)
        return returns_TC.T, volatility_TC.T
