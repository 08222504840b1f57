"""Causal exponentially weighted volatility, and the float inputs made from it.

The recursion exists twice, and a test holds the two together: `filter_returns` runs over a whole history with NumPy,
`advance` takes one step in plain arithmetic on whatever arrays it is given, so that a jitted decoder can go on from
where the history ended with the returns it has drawn itself.

Variances are normalised weighted means of squared returns, so nothing has to be fitted and any asset, of any
frequency, is on its own scale after the warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import lfilter

WARMUP = 60  # returns of every asset that only warm the filters up: neither trained on nor scored
LAMBDA = 0.94  # RiskMetrics' daily decay, a half-life of 11 bars: the scale of the volatility tokenizer
INPUT_NAMES = (
    "log_volatility_3",
    "log_volatility_11",
    "log_volatility_40",
    "log_volatility_160",
    "z",
    "abs_z",
    "mean_z_3",
    "mean_z_20",
)
RANGE_NAMES = ("has_range", "log_range", "log_range_3", "log_range_11", "log_range_40")
MEAN_LOG_RANGE = 0.43  # of a Brownian motion of volatility one (Alizadeh, Brandt and Diebold 2002)

_SCALE, _LONG = 1, 4  # which of the variance decays is LAMBDA, and which sets the floor
_DECAY_V = np.array([0.5 ** (1 / 3), LAMBDA, 0.5 ** (1 / 40), 0.5 ** (1 / 160), 0.5 ** (1 / 1000)])
_DECAY_M = np.array([0.5 ** (1 / 3), 0.5 ** (1 / 20)])
_FLOOR = 0.1  # of the volatility of the last 1000 bars: a stale price must not make the next move infinite
_TINY = 1e-12
_PRIOR_WEIGHT, _PRIOR_VOLATILITY = 1e-6, 0.01  # gives the very first bar a scale; gone long before the warm-up ends
_Z_LIMIT = 6.0  # inputs only: tokens and returns are never clipped
_RANGE_LIMIT = 3.0  # the same


class VolatilityState(NamedTuple):
    """Everything later bars need to know of earlier ones; leading axes are free, so a batch of paths is one state."""

    variance: Any  # (..., 5) unnormalised weighted sums of squared returns
    weight: Any  # (..., 5) sums of the weights
    mean_z: Any  # (..., 2) weighted means of standardised returns
    z: Any  # (...) the last standardised return
    window: Any = None  # (..., W) the last W signals, for a tokenizer that scales by a rolling window


class Filtered(NamedTuple):
    """`filter_returns` over T returns."""

    volatility: np.ndarray  # (T,) known *before* each return
    inputs: np.ndarray  # (T, 8) float32, known *after* each return, columns INPUT_NAMES
    state: VolatilityState  # after the last return


def volatility_of(returns: np.ndarray) -> np.ndarray:
    """Volatility known before each of one asset's log returns, (T,)."""
    variance, weight = _variances(returns, [_SCALE, _LONG])
    return _floored(np.sqrt(variance[:, :-1] / weight[:, :-1]))[0]


def filter_returns(returns: np.ndarray, typical_volatility: float = 1.0) -> Filtered:
    """Run the filters over one asset's log returns, shape (T,).

    `typical_volatility` only centres the log-volatility inputs.
    """
    variance, weight = _variances(returns, range(len(_DECAY_V)))
    volatility = _floored(np.sqrt(variance / weight))[_SCALE]
    z = returns / volatility[:-1]
    mean_z = np.stack([_weighted_sum(np.concatenate([[0.0], z]), decay) for decay in _DECAY_M])
    states = variance.T, weight.T, mean_z.T, np.concatenate([[0.0], z])
    after, last = (VolatilityState(*(x[part] for x in states)) for part in (slice(1, None), -1))
    return Filtered(volatility[:-1], inputs_from(after, typical_volatility).astype(np.float32), last)


def _variances(returns: np.ndarray, which: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of squared returns and their weights before each return and after the last, (D, T + 1) each."""
    square = np.concatenate([[_PRIOR_WEIGHT * _PRIOR_VOLATILITY**2], returns**2])
    one = np.concatenate([[_PRIOR_WEIGHT], np.ones(len(returns))])
    sums = [[_weighted_sum(values, _DECAY_V[d]) for d in which] for values in (square, one)]
    return np.array(sums[0]), np.array(sums[1])


def _floored(volatility: np.ndarray) -> np.ndarray:
    """Volatilities (D, T), the last row the long one that sets the floor."""
    return np.maximum(volatility, _FLOOR * volatility[-1] + _TINY)


def _weighted_sum(values: np.ndarray, decay: float) -> np.ndarray:
    """s_0 = values_0, s_t = decay s_{t-1} + (1 - decay) values_t."""
    start = np.array([decay * values[0]])
    return np.concatenate([values[:1], lfilter([1 - decay], [1, -decay], values[1:], zi=start)[0]])


def range_inputs(log_range: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """The float inputs made from ln ln (high / low) of the bars of T returns, (T, 5) float32, columns RANGE_NAMES.

    Ranges say what volatility was, better than returns do: the inputs are how much more than the returns say, in logs,
    of the last bar and on average; 0 where there is no range.
    """
    variance, weight = _variances(returns, [_SCALE, _LONG])
    expected = np.log(_floored(np.sqrt(variance[:, 1:] / weight[:, 1:]))[0]) + MEAN_LOG_RANGE
    there = np.isfinite(log_range)
    more = np.where(there, np.clip(log_range - expected, -_RANGE_LIMIT, _RANGE_LIMIT), 0.0)
    averages = [_weighted_sum(more, 0.5 ** (1 / half_life)) for half_life in (3, 11, 40)]
    return np.stack([there, more, *averages], axis=1).astype(np.float32)


def steady_state(volatility: float) -> VolatilityState:
    """The state after a long calm at `volatility`: where paths start that have no history."""
    return VolatilityState(
        np.full(len(_DECAY_V), volatility**2), np.ones(len(_DECAY_V)), np.zeros(len(_DECAY_M)), np.zeros(())
    )


def advance(state: VolatilityState, log_return: Any) -> VolatilityState:
    """The state one bar later; NumPy or JAX arrays alike."""
    square = log_return**2
    z = log_return / next_volatility(state)
    return state._replace(
        variance=_DECAY_V * state.variance + (1 - _DECAY_V) * square[..., None],
        weight=_DECAY_V * state.weight + (1 - _DECAY_V),
        mean_z=_DECAY_M * state.mean_z + (1 - _DECAY_M) * z[..., None],
        z=z,
    )


def next_volatility(state: VolatilityState) -> Any:
    """Volatility of the next return, shape (...), from a state of the returns before it."""
    return _volatilities(state)[..., _SCALE]


def inputs_from(state: VolatilityState, typical_volatility: float) -> Any:
    """The float inputs a model reads after the bar that led to `state`, shape (..., 8)."""
    xp = state.variance.__array_namespace__()
    log_volatility = xp.log(_volatilities(state)[..., :4] / typical_volatility)
    z = xp.clip(state.z, -_Z_LIMIT, _Z_LIMIT)[..., None]
    return xp.concat([log_volatility, z, xp.abs(z), state.mean_z], axis=-1)


def _volatilities(state: VolatilityState) -> Any:
    xp = state.variance.__array_namespace__()
    volatility = (state.variance / state.weight) ** 0.5
    return xp.maximum(volatility, _FLOOR * volatility[..., -1:] + _TINY)
