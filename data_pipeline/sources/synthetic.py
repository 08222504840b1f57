"""Prices simulated from processes with known parameters: for tests, benchmarks and questions with known answers."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput
from data_pipeline.sources.market import Market
from data_pipeline.sources.processes import Garch, Gjr, Hmm, Iid, Markov, Process, Sv, require

PREFIX = "synthetic:"
FIRST_BAR = np.datetime64("2000-01-01", "ns")  # a Saturday: synthetic markets never close (calendar 24/7)
LAST_BAR = np.datetime64("2262-01-01", "ns")  # nanosecond times end soon after
FIRST_CLOSE = 100.0
MOST_SYMBOLS, MOST_BARS = 100_000, 10_000_000
MARKET = {"symbols": "n_symbols", "bars": "n_bars", "seed": "seed", "interval": "interval"}  # as typed: the field
UNITS = {"s": "s", "min": "m", "h": "h", "d": "D"}  # how a user writes an interval: how NumPy does


PROCESSES: dict[str, type[Process]] = {
    kind.__name__.lower(): kind for kind in (Market, Garch, Gjr, Sv, Hmm, Markov, Iid)
}


@dataclass(frozen=True)
class Synthetic:
    """A market of independent assets of one process; asset i depends on (seed, i) and on nothing else."""

    process: Process
    n_symbols: int = 10
    n_bars: int = 2_500  # per asset; one less return
    seed: int = 0
    interval: str = "1d"

    def __post_init__(self) -> None:
        require(1 <= self.n_symbols <= MOST_SYMBOLS, f"symbols={self.n_symbols} must be from 1 to {MOST_SYMBOLS}")
        require(2 <= self.n_bars <= MOST_BARS, f"bars={self.n_bars} must be from 2 to {MOST_BARS}")
        require(0 <= self.seed < 2**32, f"seed={self.seed} must be from 0 to {2**32 - 1}")
        most = int((LAST_BAR - FIRST_BAR) // self._step) + 1
        require(
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
