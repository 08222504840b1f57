"""Processes with known parameters.

z_t is always a standardised Student t (mean 0, variance 1) with `nu` degrees of freedom; nu = inf is the Gaussian.
`volatility` is always the unconditional standard deviation of a log return, whatever the other parameters are, so that
changing one of them does not change the scale. Every process starts in its stationary law: drawn from it, or after a
burn-in of more than ten times its memory.
"""

from __future__ import annotations

import math
from bisect import bisect
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from scipy.signal import lfilter

from data_pipeline.errors import BadInput


class Process(Protocol):
    """A stationary law of log returns; its dataclass fields are its parameters, checked when it is built."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The first n log returns per bar, shape (n,); a larger n continues the same history."""
        ...


@dataclass(frozen=True)
class Iid:
    """r_t = mean + volatility · z_t."""

    volatility: float = 0.01
    nu: float = 6.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        _check_scale(self.volatility, self.nu, self.mean)

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.mean + self.volatility * innovations(n, self.nu, rng)


@dataclass(frozen=True)
class Gjr:
    """GJR-GARCH(1,1)-t: ε_t = σ_t z_t, σ²_t = ω + (α + γ 1{ε_{t−1} < 0}) ε²_{t−1} + β σ²_{t−1}, r_t = mean + ε_t.

    Source: Glosten, Jagannathan and Runkle (1993), Journal of Finance 48, 1779-1801.
    """

    volatility: float = 0.01
    alpha: float = 0.02
    gamma: float = 0.1
    beta: float = 0.91
    nu: float = 6.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        _check_scale(self.volatility, self.nu, self.mean)
        require(
            self.alpha >= 0 and self.alpha + self.gamma >= 0 and self.beta >= 0,
            f"alpha={self.alpha:g}, alpha + gamma={self.alpha + self.gamma:g}, beta={self.beta:g} must not be negative",
        )
        require(
            self.persistence <= 0.9999,
            f"alpha + gamma/2 + beta = {self.persistence:g} must be at most 0.9999 for a stationary variance",
        )

    @property
    def persistence(self) -> float:
        """How much of a variance shock is left one bar later."""
        return self.alpha + self.gamma / 2 + self.beta

    @property
    def omega(self) -> float:
        """The constant of the variance recursion."""
        return self.volatility**2 * (1 - self.persistence)

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        burn_in = 500 + int(10 / (1 - self.persistence))
        z = innovations(burn_in + n, self.nu, rng)
        growth = (
            self.alpha + self.gamma * (z < 0)
        ) * z**2 + self.beta  # ε² = σ² z², so that σ²_t = ω + growth σ²_{t−1}
        omega, variance, variances = self.omega, self.volatility**2, []
        for factor in growth.tolist():
            variances.append(variance)
            variance = omega + factor * variance
        return self.mean + np.sqrt(variances[burn_in:]) * z[burn_in:]


@dataclass(frozen=True)
class Garch:
    """GARCH(1,1)-t: `Gjr` with γ = 0.

    Source: Bollerslev (1987), Review of Economics and Statistics 69, 542-547.
    """

    volatility: float = 0.01
    alpha: float = 0.08
    beta: float = 0.9
    nu: float = 6.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        self._as_gjr()

    def _as_gjr(self) -> Gjr:
        return Gjr(self.volatility, self.alpha, 0.0, self.beta, self.nu, self.mean)

    @property
    def omega(self) -> float:
        """The constant of the variance recursion."""
        return self._as_gjr().omega

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self._as_gjr().simulate(n, rng)


@dataclass(frozen=True)
class Sv:
    """Log-AR(1) stochastic volatility: h_t = φ h_{t−1} + η w_t, r_t = mean + volatility · exp((h_t − s²/2) / 2) · z_t.

    w is Gaussian, s² = η² / (1 − φ²) the variance of h. Source: Taylor (1986), Modelling Financial Time Series.
    """

    volatility: float = 0.01
    phi: float = 0.97
    eta: float = 0.15
    nu: float = math.inf
    mean: float = 0.0

    def __post_init__(self) -> None:
        _check_scale(self.volatility, self.nu, self.mean)
        require(abs(self.phi) < 1, f"phi={self.phi:g} must lie between -1 and 1 for a stationary log-variance")
        require(0 <= self.eta < math.inf, f"eta={self.eta:g} must be finite and not negative")

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rng_h, rng_z = rng.spawn(2)
        spread = self.eta / math.sqrt(1 - self.phi**2)
        shocks = self.eta * rng_h.standard_normal(n)
        shocks[:1] *= spread / self.eta if self.eta else 1.0  # h_0 is drawn from the stationary law
        h = np.asarray(lfilter([1.0], [1.0, -self.phi], shocks))
        return self.mean + self.volatility * np.exp((h - spread**2 / 2) / 2) * innovations(n, self.nu, rng_z)


@dataclass(frozen=True)
class Hmm:
    """A hidden Markov chain of regimes s_t: r_t = mean[s_t] + volatility[s_t] · z_t. Row i of `transition` leaves i."""

    volatility: tuple[float, ...] = (0.006, 0.012, 0.03)
    mean: tuple[float, ...] = (0.0006, 0.0, -0.001)
    transition: tuple[tuple[float, ...], ...] = ((0.985, 0.015, 0.0), (0.015, 0.975, 0.01), (0.0, 0.04, 0.96))
    nu: float = math.inf

    def __post_init__(self) -> None:
        require(len(self.volatility) == len(self.mean), "volatility and mean need one value per regime each")
        for volatility, mean in zip(self.volatility, self.mean, strict=True):
            _check_scale(volatility, self.nu, mean)
        _check_transition(self.transition, len(self.mean))

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rng_s, rng_z = rng.spawn(2)
        regime = _markov_states(self.transition, n, rng_s)
        return np.array(self.mean)[regime] + np.array(self.volatility)[regime] * innovations(n, self.nu, rng_z)


@dataclass(frozen=True)
class Markov:
    """r_t is one of K levels, and depends on the level before it only. Row i of `transition` leaves level i."""

    levels: tuple[float, ...] = (-0.02, -0.006, 0.0, 0.006, 0.02)
    transition: tuple[tuple[float, ...], ...] = (
        (0.3, 0.15, 0.05, 0.2, 0.3),
        (0.1, 0.25, 0.25, 0.3, 0.1),
        (0.05, 0.2, 0.5, 0.2, 0.05),
        (0.05, 0.25, 0.35, 0.3, 0.05),
        (0.25, 0.2, 0.1, 0.2, 0.25),
    )

    def __post_init__(self) -> None:
        require(all(map(math.isfinite, self.levels)), "levels must be finite numbers")
        _check_transition(self.transition, len(self.levels))

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.array(self.levels)[_markov_states(self.transition, n, rng)]


def innovations(n: int, nu: float, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n) if nu == math.inf else rng.standard_t(nu, n) * math.sqrt((nu - 2) / nu)


def _markov_states(transition: tuple[tuple[float, ...], ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """States of the chain, the first drawn from its stationary law, shape (n,)."""
    borders = np.cumsum(transition, axis=1)[:, :-1].tolist()
    row, states = np.cumsum(stationary_law(transition))[:-1].tolist(), []
    for u in rng.random(n).tolist():
        state = bisect(row, u)
        states.append(state)
        row = borders[state]
    return np.array(states, np.int64)


def stationary_law(transition: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """The share of time an irreducible chain spends in each state, shape (K,): π with πP = π."""
    matrix = np.array(transition)
    equations = np.vstack([matrix.T - np.eye(len(matrix)), np.ones(len(matrix))])
    return np.linalg.lstsq(equations, np.eye(len(matrix) + 1)[-1])[0]


def _check_scale(volatility: float, nu: float, mean: float) -> None:
    require(0 < volatility < math.inf, f"volatility={volatility:g} must be positive and finite")
    require(nu > 2, f"nu={nu:g} must be above 2 for a finite variance; inf is the Gaussian")
    require(math.isfinite(mean), f"mean={mean:g} must be finite")


def _check_transition(transition: tuple[tuple[float, ...], ...], size: int) -> None:
    require(
        len(transition) == size > 0 and {len(row) for row in transition} == {size},
        f"transition must have {size} rows of {size} values, one for each regime or level",
    )
    matrix = np.array(transition)
    for number, row in enumerate(matrix, start=1):
        require(
            bool((row >= 0).all()) and abs(row.sum() - 1) < 1e-9,
            f"row {number} of transition must hold probabilities that sum to 1, not to {row.sum():g}",
        )
    require(
        int(np.linalg.matrix_rank(matrix - np.eye(size), 1e-9)) == size - 1,
        "transition falls apart into sets of states that never meet; connect them",
    )


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise BadInput(f"synthetic: {rule}")
