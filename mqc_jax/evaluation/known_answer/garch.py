"""S2, S3, S8 and S9: GARCH recursions that read tokens, so that the tokens decide the state and the law is exact.

    r_t = μ_t + d_t σ_t z_t,  token x_t the bin of r_t, v_t the value it stands for,  u_t = v_t / d_t
    σ²_{t+1} = ω + (α + γ 1{u_t < 0}) u²_t + β σ²_t,  μ_{t+1} = c + φ v_t

d is a seasonal factor that the clock tells in advance. Axis letters: C histories  T time  N = C · T rows  K tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from data_pipeline.errors import BadInput
from data_pipeline.sources.processes import Gjr
from data_pipeline.tokenizers.bins import Bins
from mqc_jax.evaluation.known_answer.student import bin_masses
from mqc_jax.evaluation.known_answer.task import Simulated, Task, innovations

PLAIN = Gjr(alpha=0.08, gamma=0.0, beta=0.9)


def draw_returns(
    laws: Sequence[Gjr], length: int, seed: int, bins: Bins | None, ar: float, season_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns of one history per law and the volatility each was drawn with, (C, T) both.

    The recursion reads the value of each return's bin, or the return itself without bins. It starts at the stationary
    variance of a law without AR.
    """
    z_TC = np.ascontiguousarray(innovations([law.nu for law in laws], length, seed).T)
    mean, omega, alpha, gamma, beta, volatility = _columns(laws)
    returns_TC, volatility_TC = np.empty_like(z_TC), np.empty_like(z_TC)
    variance, location = volatility**2, mean
    for t, season in enumerate(season_T):
        volatility_TC[t] = season * np.sqrt(variance)
        returns_TC[t] = location + volatility_TC[t] * z_TC[t]
        read = returns_TC[t] if bins is None else bins.values[bins.assign(returns_TC[t])]
        shock = read / season
        variance = omega + (alpha + gamma * (shock < 0)) * shock**2 + beta * variance
        location = mean + ar * read
    return returns_TC.T, volatility_TC.T


def moments(
    laws: Sequence[Gjr], values_CT: np.ndarray, ar: float, season_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Location and volatility of each return, given the values before it, (C, T) both."""
    mean, omega, alpha, gamma, _, _ = (column[:, None] for column in _columns(laws))
    shock_CT = values_CT / season_T
    push_CT = omega + (alpha + gamma * (shock_CT < 0)) * shock_CT**2
    push_CT = np.concatenate([[[law.volatility**2] for law in laws], push_CT[:, :-1]], axis=1)
    variance_CT = np.stack([lfilter([1.0], [1.0, -law.beta], push) for law, push in zip(laws, push_CT, strict=True)])
    location_CT = mean + ar * np.concatenate([0 * mean, values_CT[:, :-1]], axis=1)
    return location_CT, season_T * np.sqrt(variance_CT)


def _columns(laws: Sequence[Gjr]) -> np.ndarray:
    return np.array([(w.mean, w.omega, w.alpha, w.gamma, w.beta, w.volatility) for w in laws]).T


@dataclass(frozen=True)
class TokenGarch(Task):
    """One law for all histories. S2 is plain, S3 has leverage and an AR mean, S8 a season."""

    law: Gjr = PLAIN
    ar: float = 0.0  # φ; c is the mean of the law
    season: tuple[float, ...] = (1.0,)  # d of each bar of a day

    @property
    def day(self) -> int:
        return len(self.season)

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, np.ndarray]:
        return draw_returns(self._laws(n_histories, seed), length, seed, bins, self.ar, self.seasons(length))

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        location, volatility = (moment[rows] for moment in self.moments(simulated))
        return bin_masses(self.bins.edges, location, volatility, self.law.nu)

    def moments(self, simulated: Simulated) -> tuple[np.ndarray, np.ndarray]:
        """Location and volatility of each return given the tokens before it, (N,) each."""
        laws = self._laws_of(simulated)
        location_CT, volatility_CT = moments(laws, simulated.values_CT, self.ar, self.seasons(self.length))
        return location_CT.ravel(), volatility_CT.ravel()

    def _laws(self, n_histories: int, seed: int) -> tuple[Gjr, ...]:
        return (self.law,) * n_histories

    def _laws_of(self, simulated: Simulated) -> tuple[Gjr, ...]:
        return self._laws(len(simulated.tokens_CT), 0)

    def seasons(self, length: int) -> np.ndarray:
        """The factor d of each bar of a history, (T,)."""
        return np.resize(self.season, length)


@dataclass(frozen=True)
class Panel(TokenGarch):
    """S9: every history is an asset with parameters of its own, which nobody tells the model.

    Its floor is the loss of one who knows them: a bound that a model comes near only where a history is long.
    """

    def _laws(self, n_histories: int, seed: int) -> tuple[Gjr, ...]:
        return tuple(random_law(np.random.default_rng([seed, c, 1])) for c in range(n_histories))

    def simulate(self, n_tokens: int, seed: int) -> Simulated:
        return super().simulate(n_tokens, seed)._replace(laws=self._laws(self._n_histories(n_tokens), seed))

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        location, volatility = (moment[rows] for moment in self.moments(simulated))
        nu = np.repeat([law.nu for law in self._laws_of(simulated)], self.length)
        return bin_masses(self.bins.edges, location, volatility, nu[rows])

    def _laws_of(self, simulated: Simulated) -> tuple[Gjr, ...]:
        if simulated.laws is None:
            raise BadInput(f"{self.name}: the parameters of the histories are missing; take what `simulate` returns")
        return simulated.laws


def gjr(
    volatility: float, persistence: float, reaction: float, leverage: float = 0.0, nu: float = 6.0, mean: float = 0.0
) -> Gjr:
    """GJR parameters in coordinates of which each has a meaning of its own, and any combination is a law.

    persistence = α + γ/2 + β in (0, 1), reaction = α + γ/2 in [0, persistence], leverage = γ / (2 α + γ) in [−1, 1].
    """
    alpha, gamma = reaction * (1 - leverage), 2 * reaction * leverage
    return Gjr(volatility, alpha, gamma, persistence - reaction, nu, mean)


def random_law(rng: np.random.Generator) -> Gjr:
    """Parameters as assets have them: long memory, some leverage, tails from fat to nearly Gaussian."""
    volatility = 0.01 * np.exp(0.4 * rng.standard_normal())
    persistence, reaction, leverage = rng.uniform(0.9, 0.995), rng.uniform(0.04, 0.12), rng.uniform(0, 0.8)
    return gjr(float(volatility), persistence, reaction, leverage, float(np.exp(rng.uniform(np.log(4), np.log(20)))))


def daily_season(bars: int, strength: float) -> tuple[float, ...]:
    """Factors of a day that begins and ends lively: ln d is a cosine, the mean of d² one."""
    factor = np.exp(strength * np.cos(2 * np.pi * np.arange(bars) / bars))
    return tuple((factor / np.sqrt(np.mean(factor**2))).tolist())
