"""The usable bars of one asset as arrays, with the scale its returns are judged by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

COLUMNS = ("open", "high", "low", "close", "volume", "adj_close", "dividend", "split")
WINDOW = 50  # moves before, and moves after, whose median size is the scale of a return
LEAST = 10  # moves on one side without which that side says nothing
DAY = np.timedelta64(1, "D")


class History(NamedTuple):
    """Bars oldest first, every price positive. T bars."""

    times: np.ndarray  # (T,) datetime64[ns]
    columns: dict[str, np.ndarray]  # (T,) float64 each
    log_returns: np.ndarray  # (T,) into each bar, of adj_close where there is one; 0 at the first
    sigma: np.ndarray  # (T,) usual size of the return into each bar; infinite where it cannot be told
    days: np.ndarray  # (T,) days since the bar before; 0 at the first

    @classmethod
    def of(cls, bars: pd.DataFrame, missing_before: np.ndarray, interval: np.timedelta64) -> History:
        """`missing_before`: (T,) bars that the calendar expected since the bar before. `interval`: usual spacing."""
        times = bars["ds"].to_numpy().astype("datetime64[ns]")
        columns = {name: bars[name].to_numpy(np.float64) for name in COLUMNS if name in bars}
        log_returns = _log_returns(columns.get("adj_close", columns["close"]))
        days = np.diff(times, prepend=times[:1]) / DAY
        intraday = interval < DAY
        bars_spanned = np.maximum(days / (interval / DAY), 1) if intraday else 1 + missing_before
        sigma = usual_size(log_returns) * np.sqrt(bars_spanned)
        return cls(times, columns, log_returns, sigma, days)


def _log_returns(price: np.ndarray) -> np.ndarray:
    log_price = np.log(price)
    return np.diff(log_price, prepend=log_price[:1])


def usual_size(log_returns: np.ndarray) -> np.ndarray:
    """Scale of each return, shape (T,), as a standard deviation: 1.4826 × the median of |r|.

    The larger of the medians over `WINDOW` moves before and after, neither with the return itself: a crash is judged by
    the days that followed it, and one bad price moves no median. Bars that did not move say nothing of the size of a
    move and are left out, so the scale is never below one tick. Infinite where the bar did not move or too few did.
    """
    moved = np.flatnonzero(log_returns)
    if len(moved) < 2 * LEAST:
        return np.full(len(log_returns), np.inf)
    size = pd.Series(np.abs(log_returns[moved]))
    before = size.rolling(WINDOW, min_periods=LEAST).median().shift(1).to_numpy()
    after = size.iloc[::-1].rolling(WINDOW, min_periods=LEAST).median().shift(1).to_numpy()[::-1]
    sigma = np.full(len(log_returns), np.inf)
    sigma[moved] = 1.4826 * np.nan_to_num(np.fmax(before, after), nan=np.inf)
    return sigma
