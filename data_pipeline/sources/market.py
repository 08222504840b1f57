"""A prior over markets: assets whose parameters are drawn too, as wide as those of real markets lie.

A model trained on many of them has learned what volatility does before it sees the first real return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.special import gammaln

from data_pipeline.sources.processes import Gjr, require

GARCH_SHARE = 0.25  # of the assets
LEVERAGE_SHARE = 0.65  # of the others; the rest are like currencies and commodities
HALF_LIVES = ((1, 6), (8, 50), (60, 800))  # bars: between which that of each component of volatility lies
SPREADS = ((0.0, 0.3), (0.05, 0.4), (0.1, 0.5))  # and its standard deviation, in logs
_Z_LIMIT = 6.0  # volatility answers no further


@dataclass(frozen=True)
class Market:
    """Each asset its own parameters: GJR-GARCH-t, or three components of log volatility with leverage.

    r_t = mean + φ (r_{t−1} − mean) + s exp(h_t) z_t, h_t the sum of three AR(1) processes with half-lives of days,
    weeks and a year; each shock is partly z_{t−1} (leverage, ρ < 0), partly |z_{t−1}| (as in GARCH), partly noise.
    z_t is a skewed Student t. `volatility` is the median over assets of the standard deviation of a return.
    """

    volatility: float = 0.012

    def __post_init__(self) -> None:
        require(0 < self.volatility < math.inf, f"volatility={self.volatility:g} must be positive and finite")

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rng_law, rng_z = rng.spawn(2)
        volatility = self.volatility * float(np.exp(rng_law.normal(0, 0.45)))
        nu = float(np.exp(rng_law.uniform(np.log(4.5), np.log(30))))
        mean = volatility * float(rng_law.normal(0.03, 0.03))
        if rng_law.random() < GARCH_SHARE:
            return _any_gjr(volatility, nu, mean, rng_law).simulate(n, rng_z)
        z = _skewed(n, nu, float(rng_law.normal(-0.04, 0.05)), rng_z)
        log_scale = np.zeros(n)
        leverage = rng_law.uniform(-0.9, -0.2) if rng_law.random() < LEVERAGE_SHARE else rng_law.uniform(-0.15, 0.1)
        for half_lives, spreads in zip(HALF_LIVES, SPREADS, strict=True):
            decay = 0.5 ** float(np.exp(-rng_law.uniform(*np.log(half_lives))))
            spread, answer = rng_law.uniform(*spreads), leverage * rng_law.uniform(0.3, 1)
            shock = _shocks(z, answer, rng_law.uniform(0, 0.6), *rng_z.spawn(1))
            log_scale += spread * _stationary(shock, decay, rng_law.normal()) - spread**2
        moves = volatility * np.exp(np.clip(log_scale, -3, 3)) * z
        return mean + np.asarray(lfilter([1.0], [1.0, -rng_law.normal(0, 0.03)], moves))


def _any_gjr(volatility: float, nu: float, mean: float, rng: np.random.Generator) -> Gjr:
    """Half-lives of a variance shock from 8 bars to more than a year."""
    persistence = 1 - float(np.exp(rng.uniform(np.log(0.002), np.log(0.08))))
    reaction = float(np.exp(rng.uniform(np.log(0.02), np.log(0.2))))
    to_losses = float(rng.uniform(0, 1)) if rng.random() < LEVERAGE_SHARE else 0.0
    alpha, gamma = reaction * (1 - to_losses), 2 * reaction * to_losses
    return Gjr(volatility, alpha, gamma, persistence - reaction, nu, mean)


def _shocks(z: np.ndarray, answer: float, to_size: float, rng: np.random.Generator) -> np.ndarray:
    """What drives a component after each of T returns: correlated with z by `answer`; the rest is partly its size."""
    z = np.clip(z, -_Z_LIMIT, _Z_LIMIT)
    size = (np.abs(z) - np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 / np.pi)  # standardised, were z Gaussian
    rest = to_size * size + np.sqrt(1 - to_size**2) * rng.standard_normal(len(z))
    return answer * z + np.sqrt(1 - answer**2) * rest


def _stationary(shock: np.ndarray, decay: float, first: float) -> np.ndarray:
    """x_0 = first, x_t = decay x_{t−1} + √(1 − decay²) shock_{t−1}: variance one."""
    driven = np.concatenate([[first], np.sqrt(1 - decay**2) * shock[:-1]])
    return np.asarray(lfilter([1.0], [1.0, -decay], driven))


def _skewed(n: int, nu: float, log_skew: float, rng: np.random.Generator) -> np.ndarray:
    """A Student t whose halves are stretched by g and 1/g, standardised: Fernandez and Steel (1998)."""
    rng_t, rng_side = rng.spawn(2)
    size = np.abs(rng_t.standard_t(nu, n)) * np.sqrt((nu - 2) / nu)
    g = np.exp(log_skew)
    x = np.where(rng_side.random(n) < g**2 / (1 + g**2), g * size, -size / g)
    mean_size = np.sqrt((nu - 2) / np.pi) * np.exp(gammaln((nu - 1) / 2) - gammaln(nu / 2))
    mean = mean_size * (g - 1 / g)
    variance = (1 - mean_size**2) * (g**2 + 1 / g**2) + 2 * mean_size**2 - 1
    return (x - mean) / np.sqrt(variance)
