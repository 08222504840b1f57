"""Averages of per-return scores, with the standard error that dependent days allow."""

from __future__ import annotations

import numpy as np

NATS_PER_BIT = float(np.log(2))
LEAST_MASS = 1e-300  # a law that calls what happened impossible is charged 690 nats, not infinitely many


def mean_by_date(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean over the assets of each date, in time order: assets move together, so a date is one observation."""
    _, date, count = np.unique(times, return_inverse=True, return_counts=True)
    return np.bincount(date, values) / count


def hac_standard_error(series: np.ndarray) -> float:
    """Newey-West standard error of the mean of a time series, Bartlett kernel, ⌊4 (T/100)^(2/9)⌋ lags.

    Newey and West (1987), with the lag rule of Newey and West (1994).
    """
    n = len(series)
    centred = series - series.mean()
    lags = int(4 * (n / 100) ** (2 / 9))
    variance = centred @ centred / n
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / n
    return float(np.sqrt(max(variance, 0.0) / n))
