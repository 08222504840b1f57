"""Prices simulated from processes with known parameters: for tests, benchmarks and questions with known answers.

z_t is always a standardised Student t (mean 0, variance 1) with `nu` degrees of freedom; nu = inf is the Gaussian.
`volatility` is always the unconditional standard deviation of a log return, whatever the other parameters are, so that
changing one of them does not change the scale. Every process starts in its stationary law: drawn from it, or after a
burn-in of more than ten times its memory.
"""

from __future__ import annotations

import difflib
import math
import re
from bisect import bisect
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from data_pipeline.errors import BadInput

PREFIX = "synthetic:"
FIRST_BAR = np.datetime64("2000-01-01", "ns")  # a Saturday: synthetic markets never close (calendar 24/7)
LAST_BAR = np.datetime64("2262-01-01", "ns")  # nanosecond times end soon after
FIRST_CLOSE = 100.0
MOST_SYMBOLS, MOST_BARS = 100_000, 10_000_000
MARKET = {"symbols": "n_symbols", "bars": "n_bars", "seed": "seed", "interval": "interval"}  # as typed: the field
UNITS = {"s": "s", "min": "m", "h": "h", "d": "D"}  # how a user writes an interval: how NumPy does


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
        return self.mean + self.volatility * _innovations(n, self.nu, rng)


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
        _require(
            self.alpha >= 0 and self.alpha + self.gamma >= 0 and self.beta >= 0,
            f"alpha={self.alpha:g}, alpha + gamma={self.alpha + self.gamma:g}, beta={self.beta:g} must not be negative",
        )
        _require(
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
        z = _innovations(burn_in + n, self.nu, rng)
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
        _require(abs(self.phi) < 1, f"phi={self.phi:g} must lie between -1 and 1 for a stationary log-variance")
        _require(0 <= self.eta < math.inf, f"eta={self.eta:g} must be finite and not negative")

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rng_h, rng_z = rng.spawn(2)
        spread = self.eta / math.sqrt(1 - self.phi**2)
        shocks = self.eta * rng_h.standard_normal(n)
        shocks[:1] *= spread / self.eta if self.eta else 1.0  # h_0 is drawn from the stationary law
        h = np.asarray(lfilter([1.0], [1.0, -self.phi], shocks))
        return self.mean + self.volatility * np.exp((h - spread**2 / 2) / 2) * _innovations(n, self.nu, rng_z)


@dataclass(frozen=True)
class Hmm:
    """A hidden Markov chain of regimes s_t: r_t = mean[s_t] + volatility[s_t] · z_t. Row i of `transition` leaves i."""

    volatility: tuple[float, ...] = (0.006, 0.012, 0.03)
    mean: tuple[float, ...] = (0.0006, 0.0, -0.001)
    transition: tuple[tuple[float, ...], ...] = ((0.985, 0.015, 0.0), (0.015, 0.975, 0.01), (0.0, 0.04, 0.96))
    nu: float = math.inf

    def __post_init__(self) -> None:
        _require(len(self.volatility) == len(self.mean), "volatility and mean need one value per regime each")
        for volatility, mean in zip(self.volatility, self.mean, strict=True):
            _check_scale(volatility, self.nu, mean)
        _check_transition(self.transition, len(self.mean))

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rng_s, rng_z = rng.spawn(2)
        regime = _markov_states(self.transition, n, rng_s)
        return np.array(self.mean)[regime] + np.array(self.volatility)[regime] * _innovations(n, self.nu, rng_z)


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
        _require(all(map(math.isfinite, self.levels)), "levels must be finite numbers")
        _check_transition(self.transition, len(self.levels))

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.array(self.levels)[_markov_states(self.transition, n, rng)]


PROCESSES: dict[str, type[Process]] = {kind.__name__.lower(): kind for kind in (Garch, Gjr, Sv, Hmm, Markov, Iid)}


@dataclass(frozen=True)
class Synthetic:
    """A market of independent assets of one process; asset i depends on (seed, i) and on nothing else."""

    process: Process
    n_symbols: int = 10
    n_bars: int = 2_500  # per asset; one less return
    seed: int = 0
    interval: str = "1d"

    def __post_init__(self) -> None:
        _require(1 <= self.n_symbols <= MOST_SYMBOLS, f"symbols={self.n_symbols} must be from 1 to {MOST_SYMBOLS}")
        _require(2 <= self.n_bars <= MOST_BARS, f"bars={self.n_bars} must be from 2 to {MOST_BARS}")
        _require(0 <= self.seed < 2**32, f"seed={self.seed} must be from 0 to {2**32 - 1}")
        most = int((LAST_BAR - FIRST_BAR) // self._step) + 1
        _require(
            self.n_bars <= most,
            f"bars={self.n_bars} at interval={self.interval} would end after {LAST_BAR:.10}; at most {most} fit",
        )

    @property
    def kind(self) -> str:
        """The name of the process, a key of PROCESSES."""
        return type(self.process).__name__.lower()

    @property
    def symbols(self) -> list[str]:
        return [f"{self.kind.upper()}-{i:04d}" for i in range(self.n_symbols)]

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that decides the prices, as JSON; an infinite nu is the word "inf"."""
        market = {"process": self.kind, "symbols": self.n_symbols, "bars": self.n_bars, "seed": self.seed}
        law = {name: "inf" if value == math.inf else value for name, value in asdict(self.process).items()}
        return market | {"interval": self.interval} | law

    @property
    def _step(self) -> np.timedelta64:
        match = re.fullmatch(r"([1-9][0-9]{0,4})(s|min|h|d)", self.interval)
        if match is None:
            raise BadInput(f"synthetic: interval={self.interval} is none; write it like 30s, 1min, 4h or 1d")
        return np.timedelta64(int(match[1]), UNITS[match[2]]).astype("timedelta64[ns]")

    def log_returns(self, symbol: str) -> np.ndarray:
        """Log returns of one asset as simulated, shape (n_bars − 1,). Raises BadInput for an unknown asset."""
        match = re.fullmatch(rf"{self.kind.upper()}-([0-9]{{4,6}})", symbol)
        index = int(match[1]) if match else self.n_symbols
        if index >= self.n_symbols or symbol != f"{self.kind.upper()}-{index:04d}":
            raise BadInput(f"synthetic: no asset {symbol}; they run from {self.symbols[0]} to {self.symbols[-1]}")
        return self.process.simulate(self.n_bars - 1, np.random.default_rng([self.seed, index]))

    def bars(self, symbol: str) -> pd.DataFrame:
        """Canonical bars of one asset: `unique_id, ds, close`, from 2000-01-01 on, without a pause.

        Raises BadInput for an unknown asset, and where the price would leave the floating-point numbers.
        """
        log_price = np.concatenate([[0.0], np.cumsum(self.log_returns(symbol))])
        with np.errstate(over="ignore"):
            close = FIRST_CLOSE * np.exp(log_price)
        if not (np.isfinite(close) & (close > 0)).all():
            raise BadInput(f"synthetic: the price of {symbol} leaves the floats; try fewer bars or less volatility")
        times = FIRST_BAR + np.arange(self.n_bars) * self._step
        return pd.DataFrame({"unique_id": symbol, "ds": times, "close": close})


def parse(source: str) -> Synthetic:
    """A market from what a user types: `synthetic:garch`, `synthetic:gjr?symbols=20&bars=5000&seed=3&alpha=0.08&nu=6`.

    After the question mark come `symbols`, `bars`, `seed`, `interval` and the parameters of the process. Commas
    separate values, slashes the rows of a matrix: `levels=-0.01,0.01&transition=0.6,0.4/0.4,0.6`.

    Raises BadInput for unknown names, naming the nearest, and for values that are none or break a rule.
    """
    kind, _, query = source.removeprefix(PREFIX).partition("?")
    if kind not in PROCESSES:
        raise BadInput(f"{source}: no process {kind!r}; {_nearest(kind, PROCESSES)}")
    process = PROCESSES[kind]
    law, market = ({f.name: f.default for f in fields(owner)} for owner in (process, Synthetic))
    defaults = {name: market[field] for name, field in MARKET.items()} | law
    given: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name not in defaults:
            raise BadInput(f"{source}: no parameter {name!r}; {_nearest(name, defaults)}")
        if name in given:
            raise BadInput(f"{source}: {name} is given twice; keep one of them")
        given[name] = _value(text, defaults[name], f"{source}: {name}={text}")
    return Synthetic(
        process(**{name: value for name, value in given.items() if name in law}),
        **{field: given[name] for name, field in MARKET.items() if name in given},
    )


def _value(text: str, like: Any, where: str) -> Any:
    """`text` as a value of the type of `like`."""
    try:
        if isinstance(like, tuple) and isinstance(like[0], tuple):
            return tuple(tuple(map(float, row.split(","))) for row in text.split("/"))
        return tuple(map(float, text.split(","))) if isinstance(like, tuple) else type(like)(text)
    except ValueError:
        example = (
            like if not isinstance(like, tuple) else "0.6,0.4/0.4,0.6" if isinstance(like[0], tuple) else "0.1,0.2"
        )
        raise BadInput(f"{where} must be written like {example}") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"


def _innovations(n: int, nu: float, rng: np.random.Generator) -> np.ndarray:
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
    _require(0 < volatility < math.inf, f"volatility={volatility:g} must be positive and finite")
    _require(nu > 2, f"nu={nu:g} must be above 2 for a finite variance; inf is the Gaussian")
    _require(math.isfinite(mean), f"mean={mean:g} must be finite")


def _check_transition(transition: tuple[tuple[float, ...], ...], size: int) -> None:
    _require(
        len(transition) == size > 0 and {len(row) for row in transition} == {size},
        f"transition must have {size} rows of {size} values, one for each regime or level",
    )
    matrix = np.array(transition)
    for number, row in enumerate(matrix, start=1):
        _require(
            bool((row >= 0).all()) and abs(row.sum() - 1) < 1e-9,
            f"row {number} of transition must hold probabilities that sum to 1, not to {row.sum():g}",
        )
    _require(
        int(np.linalg.matrix_rank(matrix - np.eye(size), 1e-9)) == size - 1,
        "transition falls apart into sets of states that never meet; connect them",
    )


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise BadInput(f"synthetic: {rule}")
