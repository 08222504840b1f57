"""What a return is divided by before it is put into a bin: nothing, its volatility, or a rolling standard deviation.

Each scaling says what has to be *known* before a return to turn it into z and back. That, and nothing later, is what a
bin's edges in return space depend on. The methods named `known_*` give it, z and its inverse take it. All but the one
over a whole history are plain arithmetic on NumPy or JAX arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data_pipeline.config import Signal
from data_pipeline.volatility import WARMUP, VolatilityState, next_volatility, volatility_of

WITHIN_BAR = ("log_oc", "pct_oc")  # signals of the move from a bar's open to its close
_FLOOR = 0.1  # of the EWMA volatility: a window of equal prices must not make the next move infinite


class Scaling(Protocol):
    """Returns to z and back; `known` is an array with one entry (or row) per return."""

    @property
    def linear(self) -> bool:
        """Whether log returns are linear in z."""
        ...

    def known_before(self, returns: np.ndarray, volatility: np.ndarray | None) -> np.ndarray:
        """Of T returns; the volatility before each need not be given where it is not at hand."""
        ...

    def known_next(self, state: VolatilityState) -> Any:
        """Of the return after `state`."""
        ...

    def start(self, returns: np.ndarray, state: VolatilityState) -> VolatilityState:
        """Complete the state after `returns` by what this scaling needs."""
        ...

    def slide(self, state: VolatilityState, log_return: Any) -> VolatilityState:
        """Advance what `start` has added."""
        ...

    def z(self, returns: Any, known: Any) -> Any: ...

    def returns(self, z: Any, known: Any) -> Any: ...

    def log_slope(self, returns: Any, known: Any) -> Any:
        """ln dz/dr at these log returns."""
        ...


@dataclass(frozen=True)
class Raw:
    """z is the return itself; nothing need be known."""

    @property
    def linear(self) -> bool:
        return True

    def known_before(self, returns: np.ndarray, volatility: np.ndarray | None) -> np.ndarray:
        return np.zeros(len(returns)) if volatility is None else volatility

    def known_next(self, state: VolatilityState) -> Any:
        return next_volatility(state)

    def start(self, returns: np.ndarray, state: VolatilityState) -> VolatilityState:
        return state

    def slide(self, state: VolatilityState, log_return: Any) -> VolatilityState:
        return state

    def z(self, returns: Any, known: Any) -> Any:
        return returns

    def returns(self, z: Any, known: Any) -> Any:
        return z + 0 * known  # an entry for each that is known

    def log_slope(self, returns: Any, known: Any) -> Any:
        return 0 * known


@dataclass(frozen=True)
class ByVolatility(Raw):
    """z = r / σ̂, the EWMA volatility known before r."""

    def known_before(self, returns: np.ndarray, volatility: np.ndarray | None) -> np.ndarray:
        return volatility_of(returns) if volatility is None else volatility

    def z(self, returns: Any, known: Any) -> Any:
        return returns / known

    def returns(self, z: Any, known: Any) -> Any:
        return z * known

    def log_slope(self, returns: Any, known: Any) -> Any:
        return -np.log(known)


@dataclass(frozen=True)
class Rolling:
    """z = (s − mean) / standard deviation of the `window` signals before it, as the original's `--rolling-z`.

    The signal s is the log return, `log_oc` the same from open to close, `pct_oc` the simple return from open to
    close, `delta` the change in price. The last two are kept in units of the price before the return.
    """

    window: int = WARMUP
    signal: Signal = "log_return"

    @property
    def linear(self) -> bool:
        return self.signal in ("log_return", "log_oc")

    def known_before(self, returns: np.ndarray, volatility: np.ndarray | None) -> np.ndarray:
        """Mean and standard deviation of the window before each return, (T, 2); EWMA volatility until it is full."""
        volatility = volatility_of(returns) if volatility is None else volatility
        before = np.concatenate([[0.0], np.cumsum(returns[:-1])])  # not cumsum − return: its rounding knows the return
        price = np.exp(before) if self.signal == "delta" else np.ones(len(returns))
        signal = self._signal(returns) * price
        sums = [np.concatenate([[0.0], np.cumsum(power)]) for power in (signal, signal**2)]
        mean, square = ((total[self.window :] - total[: -self.window])[:-1] / self.window for total in sums)
        known = np.stack([np.zeros(len(returns)), volatility], axis=1)
        known[self.window :, 0] = mean / price[self.window :]
        known[self.window :, 1] = np.sqrt(np.maximum(square - mean**2, 0)) / price[self.window :]
        known[:, 1] = np.maximum(known[:, 1], _FLOOR * volatility)
        return known

    def known_next(self, state: VolatilityState) -> Any:
        xp = state.window.__array_namespace__()
        floor = _FLOOR * next_volatility(state)
        return xp.stack([state.window.mean(-1), xp.maximum(state.window.std(-1), floor)], axis=-1)

    def start(self, returns: np.ndarray, state: VolatilityState) -> VolatilityState:
        """Fill the window of a state with the last of the returns that led to it; `window` of them at least."""
        last = returns[-self.window :]
        price = np.exp(np.cumsum(last) - last - last.sum()) if self.signal == "delta" else 1.0
        return state._replace(window=self._signal(last) * price)

    def slide(self, state: VolatilityState, log_return: Any) -> VolatilityState:
        xp = state.window.__array_namespace__()
        window = xp.concat([state.window[..., 1:], self._signal(log_return)[..., None]], axis=-1)
        return state._replace(window=window / xp.exp(log_return)[..., None] if self.signal == "delta" else window)

    def z(self, returns: Any, known: Any) -> Any:
        return (self._signal(returns) - known[..., 0]) / known[..., 1]

    def returns(self, z: Any, known: Any) -> Any:
        signal = known[..., 0] + known[..., 1] * z
        if self.linear:
            return signal
        xp = signal.__array_namespace__()
        return xp.log1p(xp.maximum(signal, -1 + 1e-6))  # a price cannot lose more than itself; 1e-6 is in float32 too

    def log_slope(self, returns: Any, known: Any) -> Any:
        simple = 0 if self.linear else returns
        return simple - np.log(known[..., 1])

    def _signal(self, returns: Any) -> Any:
        if self.linear:
            return returns
        return returns.__array_namespace__().expm1(returns)
