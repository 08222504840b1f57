"""Were value at risk and expected shortfall right?

Both are returns, so negative: `var` is the quantile of the forecast law at `level`, `es` the mean of the law below it.
An exceedance is a return below `var`; a right forecast has them independently with probability `level`. Rows are those
of one asset, in time order. The χ² laws are those of many exceedances: at `level` 1 % and a few years of days, DQ
rejects right forecasts more often than it says and the independence test less often.

Axis letters: T rows  S simulations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, xlogy

from data_pipeline.errors import BadInput
from mqc_jax.evaluation.calibration import ChiSquared
from mqc_jax.laws.distribution import check_levels


class Christoffersen(NamedTuple):
    """Do exceedances follow one another, and is that or their number wrong?"""

    independence: ChiSquared
    conditional_coverage: ChiSquared


class AcerbiSzekely(NamedTuple):
    """About zero if expected shortfall is right, negative if the risk is underestimated; p-values are one-sided."""

    z1: float
    z1_p_value: float
    z2: float
    z2_p_value: float


def exceedances(returns: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Whether each return fell below its value at risk, (T,)."""
    return returns < var


def kupiec(hits: np.ndarray, level: float) -> ChiSquared:
    """Likelihood ratio of the number of exceedances against T · `level` (Kupiec 1995); NaN without rows."""
    check_levels(level)
    if not len(hits):
        return ChiSquared.undefined(1)
    return ChiSquared.of(float(_count_ratio(_count(hits), len(hits), level)), 1)


def kupiec_range(n: int, level: float) -> tuple[int, int]:
    """Fewest and most exceedances in `n` rows that Kupiec's test does not reject at 5 %."""
    check_levels(level)
    accepted = np.flatnonzero(_count_ratio(np.arange(n + 1), n, level) <= chdtri(1, 0.05))
    return int(accepted[0]), int(accepted[-1])


def christoffersen(hits: np.ndarray, level: float) -> Christoffersen:
    """Likelihood ratio of a first-order Markov chain against independence, and its sum with Kupiec's.

    Christoffersen (1998). Without exceedances, or with nothing else, nothing speaks against
    independence: statistic 0, p-value 1. NaN for T < 2.
    """
    frequency = kupiec(hits, level)
    if len(hits) < 2:
        return Christoffersen(ChiSquared.undefined(1), ChiSquared.undefined(2))
    before, now = np.asarray(hits[:-1], bool), np.asarray(hits[1:], bool)
    chain = sum(_log_likelihood(now[state]) for state in (before, ~before))
    independence = ChiSquared.of(2 * (chain - _log_likelihood(now)), 1)
    return Christoffersen(independence, ChiSquared.of(frequency.statistic + independence.statistic, 2))


def dynamic_quantile(hits: np.ndarray, var: np.ndarray, level: float, lags: int = 4) -> ChiSquared:
    """DQ of Engle and Manganelli (2004): can a constant, the last `lags` exceedances and `var` predict the next?

    The degrees of freedom are the rank of the regressors: a constant `var` or no exceedance takes some away.
    NaN for fewer than 2 (`lags` + 2) rows behind the first `lags`.
    """
    check_levels(level)
    columns = lags + 2
    n = len(hits) - lags
    if n < 2 * columns:
        return ChiSquared.undefined(columns)
    excess = np.asarray(hits, float) - level
    regressors = np.column_stack(
        [np.ones(n), var[lags:] / (np.abs(var).max() or 1.0)] + [excess[lags - k : -k] for k in range(1, lags + 1)]
    )
    slopes, _, rank, _ = np.linalg.lstsq(regressors, excess[lags:])
    fitted = regressors @ slopes
    return ChiSquared.of(float(fitted @ fitted) / (level * (1 - level)), int(rank))


class Breaches(NamedTuple):
    """The exceedances of S histories."""

    depth_S: np.ndarray  # sum of return / es over them
    count_S: np.ndarray


def breaches(returns_ST: np.ndarray, var_T: np.ndarray, es_T: np.ndarray) -> Breaches:
    """Those of S histories of the same T returns."""
    hits_ST = exceedances(returns_ST, var_T)
    return Breaches(np.einsum("st,st,t->s", returns_ST, hits_ST, 1 / es_T), hits_ST.sum(axis=1))


def expected_shortfall_test(
    returns_T: np.ndarray, var_T: np.ndarray, es_T: np.ndarray, level: float, null: Breaches
) -> AcerbiSzekely:
    """Z₁ and Z₂ of Acerbi and Székely (2014), and how often the model itself does as badly.

    `null` are S draws of all T returns from the forecast laws. Z₁ looks at how deep the exceedances are, and is NaN
    when there are none; Z₂ also at how many, and is then 1. p-values count the observed as one more draw, so they are
    at least 1 / (S + 1). Raises BadInput for an `es` that is not negative.
    """
    check_levels(level)
    _check_negative("es", es_T)
    expected = level * len(returns_T)
    (z1,), (z2,) = _z1_and_z2(breaches(returns_T[None], var_T, es_T), expected)
    null1, null2 = _z1_and_z2(null, expected)
    return AcerbiSzekely(float(z1), _share_below(null1, z1), float(z2), _share_below(null2, z2))


def fz0(returns: np.ndarray, var: np.ndarray, es: np.ndarray, level: float) -> np.ndarray:
    """Loss of each joint forecast of value at risk and expected shortfall, (T,); without units up to a constant.

    FZ0 of Patton, Ziegel and Chen (2019), the scale-free member of the class of Fissler and Ziegel (2016):
    lowest on average for the true pair. Raises BadInput for a `var` or `es` that is not negative.
    """
    check_levels(level)
    _check_negative("var", var)
    _check_negative("es", es)
    return -np.maximum(var - returns, 0) / (level * es) + var / es + np.log(-es) - 1


def _count(hits: np.ndarray) -> int:
    return int(np.count_nonzero(hits))


def _log_likelihood(hits: np.ndarray) -> float:
    """Of independent hits, at the probability that fits them best."""
    yes, no = _count(hits), len(hits) - _count(hits)
    return float(xlogy(yes, yes / max(len(hits), 1)) + xlogy(no, no / max(len(hits), 1)))


def _count_ratio(count: np.ndarray | int, n: int, level: float) -> np.ndarray:
    share = np.asarray(count) / max(n, 1)
    return 2 * (xlogy(count, share / level) + xlogy(n - count, (1 - share) / (1 - level)))


def _z1_and_z2(found: Breaches, expected: float) -> tuple[np.ndarray, np.ndarray]:
    z1_S = np.where(found.count_S > 0, 1 - found.depth_S / np.maximum(found.count_S, 1), np.nan)
    return z1_S, 1 - found.depth_S / expected


def _share_below(null_S: np.ndarray, observed: float) -> float:
    if np.isnan(observed):
        return np.nan
    return float((1 + np.count_nonzero(null_S <= observed)) / (1 + np.count_nonzero(~np.isnan(null_S))))


def _check_negative(name: str, values: np.ndarray) -> None:
    wrong = np.flatnonzero(~(np.asarray(values) < 0))
    if len(wrong):
        raise BadInput(f"{name} at row {wrong[0]} is {values[wrong[0]]}; give it as a return below zero, not as a loss")
