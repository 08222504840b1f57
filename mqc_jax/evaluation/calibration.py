"""Do outcomes fall where the forecast laws say they do?

Everything but direction starts from the probability integral transform (PIT) u_t = F_t(y_t) of one asset, in time
order. It is independent and uniform if and only if the laws are right (Rosenblatt 1952, Diebold, Gunther and Tay 1998).

Axis letters: T rows  K bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, ndtri

from mqc_jax.evaluation.comparison import Z95, Estimate, block_bootstrap_interval
from mqc_jax.evaluation.scores import mean_by_date

COVERAGE_LEVELS = (50, 80, 90, 95, 99)  # percent
SMALLEST_TAIL = 1e-12  # a PIT of 0 or 1 is seven standard deviations out, not infinitely many


class ChiSquared(NamedTuple):
    """A statistic that is χ² with so many degrees of freedom if the forecasts are right; NaN: too little to test."""

    statistic: float
    degrees: int
    p_value: float

    @classmethod
    def of(cls, statistic: float, degrees: int) -> ChiSquared:
        statistic = max(float(statistic), 0.0)  # rounding
        return cls(statistic, degrees, float(chdtrc(degrees, statistic)))

    @classmethod
    def undefined(cls, degrees: int) -> ChiSquared:
        return cls(np.nan, degrees, np.nan)


class Berkowitz(NamedTuple):
    """The likelihood-ratio test, and how the normal quantiles Φ⁻¹(u) differ from mean 0, deviation 1, no memory."""

    test: ChiSquared
    mean: float
    standard_deviation: float  # above 1: the laws are too narrow
    autoregression: float


class Deciles(NamedTuple):
    """How many PIT values fall in each tenth, (10,), and the share furthest from a tenth, in percentage points."""

    counts: np.ndarray
    largest_error_points: float


class Direction(NamedTuple):
    """Share of rightly forecast signs, its Wilson interval, and the share of the commoner sign in the same rows."""

    correct: Estimate
    majority: float
    n: int

    @property
    def beats_majority(self) -> bool:
        """Whether the interval lies above what always naming the commoner sign would have got."""
        return self.correct.low > self.majority


def berkowitz(pit: np.ndarray) -> Berkowitz:
    """LR₃ of Berkowitz (2001): x = Φ⁻¹(u) against a Gaussian AR(1) of any mean and variance, given the first value.

    The figures are NaN for T < 5 or a constant PIT.
    """
    x = ndtri(np.clip(pit, SMALLEST_TAIL, 1 - SMALLEST_TAIL))
    if len(x) < 5 or not np.ptp(x[:-1]):
        return Berkowitz(ChiSquared.undefined(3), np.nan, np.nan, np.nan)
    before, now = x[:-1] - x[:-1].mean(), x[1:]
    slope = before @ now / (before @ before)
    variance = np.mean((now - now.mean() - slope * before) ** 2)
    test = ChiSquared.undefined(3)
    if variance > 0:
        test = ChiSquared.of(now @ now - len(now) * (1 + np.log(variance)), 3)
    return Berkowitz(test, float(x.mean()), float(x.std()), float(slope))


def ljung_box(series: np.ndarray, lags: int = 10) -> ChiSquared:
    """Q of Ljung and Box (1978) on the first `lags` autocorrelations; of u it sees the mean, of (u − ½)² volatility.

    NaN for T ≤ `lags` + 1 or a constant series.
    """
    n = len(series)
    if n <= lags + 1 or not np.ptp(series):
        return ChiSquared.undefined(lags)
    centred = series - series.mean()
    lag = np.arange(1, lags + 1)
    correlation = np.array([centred[k:] @ centred[:-k] for k in lag]) / (centred @ centred)
    return ChiSquared.of(n * (n + 2) * np.sum(correlation**2 / (n - lag)), lags)


def deciles(pit: np.ndarray) -> Deciles:
    """Counts of the PIT by tenths; the error is NaN without values."""
    counts = np.bincount(np.clip((10 * pit).astype(int), 0, 9), minlength=10)
    error = 100 * np.abs(counts / len(pit) - 0.1).max() if len(pit) else np.nan
    return Deciles(counts, float(error))


def coverage(pit: np.ndarray, times: np.ndarray | None = None, *, seed: int = 0) -> dict[int, Estimate]:
    """Share of outcomes inside each central interval, by its level in percent, with a block-bootstrap interval.

    Several assets: give the `times` of the rows, and each date counts once.
    """
    shares = {}
    for level in COVERAGE_LEVELS:
        inside = (np.abs(pit - 0.5) <= level / 200).astype(float)
        shares[level] = block_bootstrap_interval(inside if times is None else mean_by_date(inside, times), seed=seed)
    return shares


def sharpness(lower: np.ndarray, upper: np.ndarray) -> float:
    """Mean width of the intervals between two quantile forecasts (T,), in their units; NaN without rows.

    Narrower is better only among laws whose coverage is right (Gneiting, Balabdaoui and Raftery 2007).
    """
    return float(np.mean(upper - lower)) if len(lower) else np.nan


def direction(forecasts: np.ndarray, returns: np.ndarray) -> Direction:
    """Signs of forecasts (T,) against those of one asset's returns; rows that did not move are left out.

    A forecast of zero is a miss. NaN without rows that moved.
    """
    moved = returns != 0
    n = int(moved.sum())
    up = returns[moved] > 0
    right = int((np.sign(forecasts[moved]) == np.sign(returns[moved])).sum())
    majority = max(up.mean(), 1 - up.mean()) if n else np.nan
    return Direction(wilson_interval(right, n), float(majority), n)


def wilson_interval(successes: int, n: int) -> Estimate:
    """A share and its 95 % score interval (Wilson 1927); NaN for n = 0."""
    if not n:
        return Estimate(np.nan, np.nan, np.nan)
    share, z2 = successes / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return Estimate(share, max(float(middle - half), 0.0), min(float(middle + half), 1.0))
