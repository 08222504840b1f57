"""Paths to hold generated ones against: the real series resampled, a classic simulated, and returns without memory.

Axis letters: P paths  T time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from arch import arch_model
from scipy.special import beta as beta_function

from mqc_jax.evaluation.classics.garch import (
    LOG_VARIANCE_LIMIT,
    MEAN_ABS_NORMAL,
    STILL,
    GarchParameters,
    Kind,
    fit_garch,
)

BURN_IN = 1000  # bars, after which the variance a path starts with is forgotten
MEAN_BLOCK = 250  # bars: shorter blocks would cut the memory of |r| that the band is meant to show
_IID: dict[str, Any] = {"vol": "Constant", "dist": "t"}


def reference_paths(real_T: np.ndarray, past_T: np.ndarray, n_paths: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """`bootstrap`, `gjr_skew_t` and `iid_t` paths of real_T's length, (P, T) each.

    The bootstrap resamples the real returns themselves, in blocks of 250 bars on average or a fifth of a shorter
    series; its |r| remembers less than the real one, by the factor 1 − 1 / block per lag. The two laws are fitted to
    `past_T`.
    """
    resample, garch, iid = np.random.default_rng(seed).spawn(3)
    mean_block = max(min(MEAN_BLOCK, len(real_T) / 5), 1)
    return {
        "bootstrap": stationary_bootstrap(real_T, n_paths, mean_block, resample),
        "gjr_skew_t": simulate_garch(fit_garch(past_T, "gjr_skew_t"), "gjr_skew_t", n_paths, len(real_T), garch),
        "iid_t": simulate_iid_t(past_T, n_paths, len(real_T), iid),
    }


def simulate_garch(
    parameters: GarchParameters, kind: Kind, n_paths: int, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Log returns drawn from a fitted member of the family, (P, T), from its stationary law."""
    p = parameters
    step = _log_linear_step if kind == "egarch_t" else _linear_step
    shock_PT = np.empty((n_paths, length))
    variance_P = np.full(n_paths, p.initial_variance)
    for t in range(-BURN_IN, length):
        z_P = skewed_t(p.nu, p.skewness, n_paths, rng)
        shock_P = np.sqrt(variance_P) * z_P
        if t >= 0:
            shock_PT[:, t] = shock_P
        variance_P = np.minimum(step(variance_P, shock_P, z_P, p), math.exp(LOG_VARIANCE_LIMIT))
    return p.unit * (p.mean + shock_PT)


def simulate_iid_t(past_T: np.ndarray, n_paths: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Independent draws of the Student's t fitted to `past_T` by maximum likelihood, (P, T).

    Returns that never move get the constant, narrow law of `fit_garch`.
    """
    unit = float(past_T.std())
    if unit < STILL:
        return simulate_garch(fit_garch(past_T, "garch_t"), "garch_t", n_paths, length, rng)
    model = arch_model(past_T / unit, mean="Constant", rescale=False, **_IID)
    mean, variance, nu = np.asarray(model.fit(disp="off", update_freq=0, show_warning=False).params, np.float64)
    return unit * (mean + np.sqrt(variance) * skewed_t(nu, 0.0, (n_paths, length), rng))


def skewed_t(nu: float, skewness: float, size: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws of Hansen's (1994) skewed t with mean 0 and variance 1; `skewness` 0 is Student's t.

    A side of the mode is drawn with probability (1 ± λ) / 2, and |t| stretched by 1 ± λ on it.
    """
    t = np.abs(rng.standard_t(nu, size)) * math.sqrt((nu - 2) / nu)
    two_pieced = np.where(rng.random(size) < (1 + skewness) / 2, (1 + skewness) * t, (skewness - 1) * t)
    mean_abs_t = 2 * math.sqrt(nu - 2) / ((nu - 1) * beta_function(nu / 2, 0.5))
    mean = 2 * skewness * mean_abs_t
    return (two_pieced - mean) / math.sqrt(1 + 3 * skewness**2 - mean**2)


def stationary_bootstrap(series_T: np.ndarray, n_paths: int, mean_block: float, rng: np.random.Generator) -> np.ndarray:
    """Resampled paths (P, T) of blocks with geometric lengths, the end joined to the beginning.

    Politis and Romano (1994).
    """
    n = len(series_T)
    t_T = np.arange(n)
    starts_PT = rng.random((n_paths, n)) < 1 / mean_block
    starts_PT[:, 0] = True
    block_PT = np.maximum.accumulate(np.where(starts_PT, t_T, 0), axis=1)  # when the current block began
    origin_PT = np.take_along_axis(rng.integers(n, size=(n_paths, n)), block_PT, axis=1)
    return series_T[(origin_PT + t_T - block_PT) % n]


def _linear_step(variance_P: np.ndarray, shock_P: np.ndarray, z_P: np.ndarray, p: GarchParameters) -> np.ndarray:
    return p.omega + (p.alpha + p.gamma * (shock_P < 0)) * shock_P**2 + p.beta * variance_P


def _log_linear_step(variance_P: np.ndarray, shock_P: np.ndarray, z_P: np.ndarray, p: GarchParameters) -> np.ndarray:
    news_P = p.alpha * (np.abs(z_P) - MEAN_ABS_NORMAL) + p.gamma * z_P
    log_variance_P = p.omega + news_P + p.beta * np.log(variance_P)
    return np.exp(np.clip(log_variance_P, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))
