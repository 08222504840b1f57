"""Log-linear volatility regression: the log of the next volatility is linear in what is known before the return.

r_t = μ + s_t ε_t and ln s_t = ln σ̂_t + b_0 + x_tᵀb, where σ̂ is the exponentially weighted volatility and ε has
Hansen's skewed t law (1994) with mean 0 and variance 1. All parameters are fitted together by maximum likelihood. Like
Corsi's HAR (2009), x has the volatility over several horizons; to these come leverage and, where it is known, the
daily range (Parkinson 1980; Alizadeh, Brandt and Diebold 2002). Without any x, and without skewness, it is EWMA-t.

Axis letters: N rows  F regressors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.signal import lfilter

from data_pipeline.volatility import INPUT_NAMES, MEAN_LOG_RANGE, WARMUP, filter_returns
from mqc_jax.evaluation.classics.panel import Asset
from mqc_jax.laws.law import Law, SkewStudent

Reads = Literal["nothing", "closes", "ranges"]
RANGE_HALF_LIVES = (3, 11, 40)  # bars; those of the volatilities
_HORIZONS = [INPUT_NAMES.index(f"log_volatility_{half_life}") for half_life in (3, 40, 160)]
_NEWS = [INPUT_NAMES.index(name) for name in ("z", "abs_z", "mean_z_3", "mean_z_20")]
_X_LIMIT = 10.0  # standard deviations: further out a regressor says no more
_INTERCEPT_LIMIT, _SLOPE_LIMIT, _MEAN_LIMIT = 5.0, 3.0, 1.0  # or zeros without end would drive the fit to infinity
_NU_LIMITS, _SKEWNESS_LIMIT = (2.05, 300.0), 0.95
_STEP = 1e-5
_ARRAYS = "centre", "spread", "slopes"


@dataclass(frozen=True, eq=False)
class RegressionParameters:
    """One asset's fit."""

    centre: np.ndarray  # (F,) training mean of each regressor
    spread: np.ndarray  # (F,) training standard deviation
    slopes: np.ndarray  # (1 + F,) of a one and of the standardised regressors
    mean: float  # log return
    nu: float
    skewness: float
    converged: bool

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {name: getattr(self, name).tolist() for name in _ARRAYS}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RegressionParameters:
        arrays: dict[str, Any] = {name: np.asarray(fields[name], np.float64) for name in _ARRAYS}
        return cls(**fields | arrays)

    def design(self, x_NF: np.ndarray) -> np.ndarray:
        """A one and the standardised regressors, (N, 1 + F)."""
        x_NF = np.clip((x_NF - self.centre) / self.spread, -_X_LIMIT, _X_LIMIT)
        return np.concatenate([np.ones((len(x_NF), 1)), x_NF], axis=1)


@dataclass(frozen=True)
class VolatilityRegression:
    """What x holds, and whether ε may be skewed. An asset without ranges is read as if only closes were asked for."""

    reads: Reads
    skewed: bool = True
    parameters: ClassVar[type[Any]] = RegressionParameters

    def fit(self, past: Asset) -> RegressionParameters:
        x_NF = self._regressors(past)[WARMUP:]
        centre, spread = x_NF.mean(axis=0), x_NF.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        start = RegressionParameters(centre, spread, np.zeros(1 + len(centre)), 0.0, 8.0, 0.0, converged=False)
        design_NF = start.design(x_NF)
        return _maximize(past.returns[WARMUP:], np.log(past.volatility[WARMUP:]), design_NF, start, self.skewed)

    def law(self, parameters: RegressionParameters, asset: Asset, rows: np.ndarray) -> Law:
        x_NF = self._regressors(asset.until(rows[-1] + 1))[rows]
        volatility = asset.volatility[rows] * np.exp(parameters.design(x_NF) @ parameters.slopes)
        return SkewStudent(np.full(len(rows), parameters.mean), volatility, parameters.nu, parameters.skewness)

    def _regressors(self, asset: Asset) -> np.ndarray:
        """x of each row, (T, F), known before its return."""
        if self.reads == "nothing":
            return np.empty((len(asset.returns), 0))
        inputs = _lagged(filter_returns(asset.returns).inputs.astype(np.float64))
        log_volatility = np.log(asset.volatility)[:, None]
        columns = [inputs[:, _HORIZONS] - log_volatility, inputs[:, _NEWS]]
        if self.reads == "ranges" and asset.log_range is not None:
            columns.append(_lagged(_log_ranges(asset.log_range, log_volatility[:, 0])) - log_volatility)
        return np.concatenate(columns, axis=1)


def _lagged(known_after: np.ndarray) -> np.ndarray:
    return np.concatenate([known_after[:1] * 0, known_after[:-1]])


def _log_ranges(log_range: np.ndarray, log_volatility: np.ndarray) -> np.ndarray:
    """Each bar's log range and its averages, (T, 4); a missing one is what the volatility makes it on average."""
    seen = np.where(np.isfinite(log_range), log_range, log_volatility + MEAN_LOG_RANGE)
    decays = [0.5 ** (1 / half_life) for half_life in RANGE_HALF_LIVES]
    averages = [lfilter([1 - decay], [1, -decay], seen, zi=decay * seen[:1])[0] for decay in decays]
    return np.stack([seen, *averages], axis=1)


def _maximize(
    returns_N: np.ndarray, log_scale_N: np.ndarray, design_NF: np.ndarray, start: RegressionParameters, skewed: bool
) -> RegressionParameters:
    """The likeliest parameters, by L-BFGS-B on the mean log density."""
    unit, n_slopes = float(np.exp(log_scale_N.mean())), design_NF.shape[1]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, (mean, log_nu, skewness) = theta[:n_slopes], theta[n_slopes:]
        log_s_N = log_scale_N + design_NF @ slopes
        z_N = (returns_N - unit * mean) * np.exp(-log_s_N)
        by_z_N = _derivative(lambda step: _log_density(z_N + step, log_nu, skewness))
        gradient = [
            *(design_NF.T @ (-1 - by_z_N * z_N) / len(z_N)),
            -unit * (by_z_N * np.exp(-log_s_N)).mean(),
            _derivative(lambda step: _log_density(z_N, log_nu + step, skewness)).mean(),
            _derivative(lambda step: _log_density(z_N, log_nu, skewness + step)).mean(),
        ]
        return float((log_s_N - _log_density(z_N, log_nu, skewness)).mean()), -np.array(gradient)

    limits = np.array([_INTERCEPT_LIMIT, *[_SLOPE_LIMIT] * (n_slopes - 1), _MEAN_LIMIT])
    shape_limits = [tuple(np.log(_NU_LIMITS)), (-_SKEWNESS_LIMIT * skewed, _SKEWNESS_LIMIT * skewed)]
    theta = np.array([*start.slopes, start.mean, np.log(start.nu), start.skewness])
    found = minimize(
        loss,
        theta,
        jac=True,
        method="L-BFGS-B",
        bounds=[*zip(-limits, limits, strict=True), *shape_limits],
        options={"ftol": 1e-13, "gtol": 1e-6, "maxiter": 1000},
    )
    mean, log_nu, skewness = (float(value) for value in found.x[n_slopes:])
    return replace(
        start,
        slopes=found.x[:n_slopes],
        mean=unit * mean,
        nu=float(np.exp(log_nu)),
        skewness=skewness,
        converged=bool(found.success),
    )


def _log_density(z_N: np.ndarray, log_nu: float, skewness: float) -> np.ndarray:
    return SkewStudent(np.zeros(len(z_N)), np.ones(len(z_N)), float(np.exp(log_nu)), skewness).log_density(z_N)


def _derivative(function: Callable[[float], np.ndarray]) -> np.ndarray:
    """At zero, by a central difference."""
    return (function(_STEP) - function(-_STEP)) / (2 * _STEP)
