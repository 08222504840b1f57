"""The mass that a Student t with a location and a scale puts on each bin of a line.

Axis letters: N rows  M edges  K = M + 1 bins.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

Real = float | np.ndarray
MOST_TERMS = 15
FARTHEST = -1e100  # its square is finite


def unit_scale(nu: Real) -> Real:
    """What a t variable with `nu` degrees of freedom is multiplied by to have variance one; nu = inf is Gaussian."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(nu), 1.0, np.sqrt((nu - 2) / nu))


def lower_tail(x: Real, nu: Real) -> np.ndarray:
    """P(X ≤ x) of the standard t for x ≤ 0.

    Even degrees of freedom up to MOST_TERMS · 2 have a finite sum (Abramowitz and Stegun 26.7.4), several times as fast
    as the incomplete beta function; its error is absolute, 1e-16.
    """
    if np.isinf(nu).all():
        return ndtr(x)
    if np.size(nu) > 1 or np.max(nu) % 2 or np.max(nu) > 2 * MOST_TERMS:
        return stdtr(nu, x)
    x = np.maximum(x, FARTHEST)
    square = np.square(x)
    square += nu
    cosine2 = nu / square
    sine = np.abs(x) / np.sqrt(square, out=square)
    return 0.5 - 0.5 * sine * np.polyval(_coefficients(int(np.max(nu)) // 2), cosine2)


def _coefficients(n: int) -> np.ndarray:
    """Of the first n powers of the Taylor series of (1 − w)^(−1/2), the highest first."""
    j = np.arange(1, n)
    return np.concatenate([[1.0], np.cumprod((2 * j - 1) / (2 * j))])[::-1]


def quantile(p: np.ndarray, nu: float) -> np.ndarray:
    """The x below which the standard t has mass p."""
    return np.asarray(stdtrit(nu, p))  # nu = inf is the Gaussian here as well


def bin_masses(edges_M: np.ndarray, location_N: Real, volatility_N: Real, nu: Real = np.inf) -> np.ndarray:
    """Masses of the bins between increasing edges under location + volatility · z, z a t of variance one, (N, K).

    `nu` is one number or one per row. Tails are computed from their own side, so that none is lost to rounding.
    """
    nu_N1, location_N1, volatility_N1 = (np.asarray(x, np.float64)[..., None] for x in (nu, location_N, volatility_N))
    x_NM = (edges_M - location_N1) / (volatility_N1 * unit_scale(nu_N1))
    tail_NM = lower_tail(-np.abs(x_NM), nu_N1)
    zero_N1 = np.zeros((*tail_NM.shape[:-1], 1))
    below_NM = np.concatenate([zero_N1, np.where(x_NM > 0, 1 - tail_NM, tail_NM), 1 + zero_N1], axis=-1)
    masses_NK = np.diff(below_NM, axis=-1)
    beyond_NM = np.concatenate([tail_NM, zero_N1], axis=-1)
    right_NM = x_NM > 0
    masses_NK[..., 1:][right_NM] = (beyond_NM[..., :-1] - beyond_NM[..., 1:])[right_NM]
    return masses_NK


def interval_mass(low_N: np.ndarray, high_N: np.ndarray, nu: Real) -> np.ndarray:
    """Mass of the standard t between two points, (N,)."""
    tail_N, other_N = (lower_tail(-np.abs(x), nu) for x in (low_N, high_N))
    apart_N = (low_N <= 0) & (high_N > 0)
    return np.where(apart_N, 1 - tail_N - other_N, np.abs(tail_N - other_N))
