"""GARCH(1,1) and its asymmetric relatives, fitted by maximum likelihood and filtered one step ahead.

Student's t innovations in GARCH (Bollerslev 1987) and EGARCH (Nelson 1991), Hansen's skewed t (1994) in GJR-GARCH
(Glosten, Jagannathan and Runkle 1993). `arch` fits them. The recursions that filter are those it maximizes over, from
the initial variance it found in the training returns, so that no later return can reach back.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from arch import arch_model
from scipy.signal import lfilter

from mqc_jax.evaluation.classics.panel import Asset
from mqc_jax.laws.law import Law, SkewStudent, Student

Kind = Literal["garch_t", "gjr_skew_t", "egarch_t"]
MODELS: dict[Kind, dict[str, Any]] = {
    "garch_t": {"vol": "GARCH", "dist": "t"},
    "gjr_skew_t": {"vol": "GARCH", "o": 1, "dist": "skewt"},
    "egarch_t": {"vol": "EGARCH", "o": 1, "dist": "t"},
}
PLAIN_START: dict[Kind, tuple[float, ...]] = {  # where a fit that did not converge starts again
    "garch_t": (0.0, 0.02, 0.07, 0.9, 6.0),
    "gjr_skew_t": (0.0, 0.02, 0.03, 0.08, 0.9, 6.0, 0.0),
    "egarch_t": (0.0, 0.0, 0.15, -0.05, 0.97, 6.0),
}
STILL = 1e-6  # standard deviation, in log return, below which a history has no volatility to model
_CALM_NU = 4.0
_QUIETLY: dict[str, Any] = {"disp": "off", "update_freq": 0, "show_warning": False}
LOG_VARIANCE_LIMIT = math.log(1e8)  # of the training variance, either way: EGARCH's exponential must not run away
MEAN_ABS_NORMAL = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class GarchParameters:
    """One asset's fit. Mean and variances are those of returns divided by `unit`."""

    unit: float  # standard deviation of the training returns
    mean: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    nu: float
    skewness: float
    initial_variance: float  # what the recursion takes for the variance and the squared shock before the first return
    converged: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> GarchParameters:
        return cls(**fields)


@dataclass(frozen=True)
class Garch:
    """One member of the family."""

    kind: Kind
    parameters: ClassVar[type[Any]] = GarchParameters

    def fit(self, past: Asset) -> GarchParameters:
        return fit_garch(past.returns, self.kind)

    def law(self, parameters: GarchParameters, asset: Asset, rows: np.ndarray) -> Law:
        volatility = garch_volatility(asset.returns[: rows[-1]], self.kind, parameters)[rows]
        mean = np.full(len(rows), parameters.unit * parameters.mean)
        if self.kind == "gjr_skew_t":
            return SkewStudent(mean, volatility, parameters.nu, parameters.skewness)
        return Student(mean, volatility, parameters.nu)


def fit_garch(returns: np.ndarray, kind: Kind) -> GarchParameters:
    """Maximum-likelihood parameters of one asset's log returns, (T,), with a constant mean.

    Where `arch` does not converge from its own start, it tries a plain one, and the likelier end counts. Returns that
    never move get a constant, narrow law.
    """
    unit = float(returns.std())
    if unit < STILL:
        return GarchParameters(STILL, 0.0, 1.0, 0.0, 0.0, 0.0, _CALM_NU, 0.0, 1.0, converged=True)
    model = arch_model(returns / unit, mean="Constant", rescale=False, **MODELS[kind])
    best = model.fit(**_QUIETLY)
    if best.convergence_flag:
        again = model.fit(starting_values=np.array(PLAIN_START[kind]), **_QUIETLY)
        best = max(best, again, key=lambda result: result.loglikelihood)
    named = best.params.to_dict()
    initial = float(model.volatility.backcast((returns - returns.mean()) / unit))
    return GarchParameters(
        unit,
        named["mu"],
        named["omega"],
        named["alpha[1]"],
        named.get("gamma[1]", 0.0),
        named["beta[1]"],
        named["nu"] if "nu" in named else named["eta"],
        named.get("lambda", 0.0),
        math.exp(initial) if kind == "egarch_t" else initial,
        converged=best.convergence_flag == 0,
    )


def garch_volatility(returns: np.ndarray, kind: Kind, parameters: GarchParameters) -> np.ndarray:
    """Volatility before each of one asset's T log returns and of the one that comes next, (T + 1,), in log return."""
    shocks = returns / parameters.unit - parameters.mean
    recursion = _log_linear if kind == "egarch_t" else _linear
    return parameters.unit * np.sqrt(recursion(shocks, parameters))


def _linear(shocks: np.ndarray, p: GarchParameters) -> np.ndarray:
    """σ_t² = ω + (α + γ [ε_{t−1} < 0]) ε_{t−1}² + β σ_{t−1}²."""
    first = p.omega + (p.alpha + p.gamma / 2 + p.beta) * p.initial_variance
    news = p.omega + (p.alpha + p.gamma * (shocks < 0)) * shocks**2
    return np.append(first, lfilter([1.0], [1.0, -p.beta], news, zi=[p.beta * first])[0])


def _log_linear(shocks: np.ndarray, p: GarchParameters) -> np.ndarray:
    """ln σ_t² = ω + α (|z_{t−1}| − √(2/π)) + γ z_{t−1} + β ln σ_{t−1}², with z = ε / σ."""
    log_variance = p.omega + p.beta * math.log(p.initial_variance)
    log_variances = [log_variance]
    for shock in shocks.tolist():
        z = shock * math.exp(-log_variance / 2)
        log_variance = p.omega + p.alpha * (abs(z) - MEAN_ABS_NORMAL) + p.gamma * z + p.beta * log_variance
        log_variance = min(max(log_variance, -LOG_VARIANCE_LIMIT), LOG_VARIANCE_LIMIT)
        log_variances.append(log_variance)
    return np.exp(log_variances)
