"""The canonical frame of bars, and the log returns in it.

One row per bar: `unique_id, ds, close`, and `open, high, low, volume, adj_close, dividend, split` where the source has
them. `ds` is date-only, or UTC without a zone. The price that returns are formed from is `adj_close` where there is
one, so that they carry neither splits nor dividends, or else `close`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.scaling import WITHIN_BAR, Signal


@dataclass(frozen=True, eq=False)
class ReturnSeries:
    """Log returns of one asset: `log_returns[t]` is earned from the bar before to the bar that ends at `times[t]`.

    Returns of the within-bar signals are earned from the bar's own open to its close.
    """

    unique_id: str
    times: np.ndarray  # (T,) datetime64[ns]
    closes: np.ndarray  # (T,)
    log_returns: np.ndarray  # (T,)
    starts: np.ndarray | None = None  # (T,) bool, where an uninterrupted piece begins; None: at the first row only
    gaps: np.ndarray | None = None  # (T,) bars missing before each bar; None: none
    opens: np.ndarray | None = None  # (T,) bool, first bars of intraday sessions; None: none
    clock: np.ndarray | None = None  # (T, 3) float32, how bars lie in time (`rows.CLOCK_NAMES`); None: regularly
    fine_returns: np.ndarray | None = None  # (T · patch,) the log returns that were taken together, if any were
    log_range: np.ndarray | None = None  # (T,) ln ln (high / low) of the bar, NaN where it has none; None: nowhere
    stamps: np.ndarray | None = None  # (T,) datetime64[ns], the source's own; None: `times`

    def __len__(self) -> int:
        return len(self.times)

    @property
    def piece_starts(self) -> np.ndarray:
        """Where uninterrupted pieces begin, (T,) bool."""
        return self.starts if self.starts is not None else np.arange(len(self.times)) == 0

    def patched(self, patch: int) -> ReturnSeries:
        """`patch` returns at a time taken together, within pieces; what is left over at a piece's end is left out."""
        if patch == 1:
            return self
        first = np.flatnonzero(self.piece_starts)
        sizes = np.diff(first, append=len(self))
        place = np.arange(len(self)) - np.repeat(first, sizes)
        index = np.flatnonzero(place < np.repeat(sizes // patch * patch, sizes)).reshape(-1, patch)
        low, high = index[:, 0], index[:, -1]
        return ReturnSeries(
            self.unique_id,
            self.times[high],
            self.closes[high],
            self.log_returns[index].sum(axis=1),
            self.piece_starts[low],
            None if self.gaps is None else self.gaps[index].max(axis=1, initial=0),
            None if self.opens is None else self.opens[low],
            None if self.clock is None else self.clock[high],
            self.log_returns[index.ravel()],
            stamps=None if self.stamps is None else self.stamps[high],
        )


def canonical(bars: pd.DataFrame, where: str) -> pd.DataFrame:
    """The columns every later step relies on, checked; no row is moved, dropped or mended.

    Raises BadInput for a missing column, no rows, an asset without a name or a bar without a date.
    """
    for column in ("unique_id", "ds", "close"):
        if column not in bars:
            raise BadInput(f"{where}: no {column!r} column among {list(bars.columns)}; rename the one you mean")
    if bars.empty:
        raise BadInput(f"{where}: no rows; give a file with at least two bars")
    if getattr(bars["ds"].dtype, "tz", None) is not None:
        bars = bars.assign(ds=bars["ds"].dt.tz_convert("UTC").dt.tz_localize(None))
    _refuse_first(bars["ds"].isna().to_numpy(), bars, where, "the date is missing; remove the bar or mend the date")
    unnamed = bars["unique_id"].isna() | (bars["unique_id"].astype(str).str.strip() == "")
    _refuse_first(unnamed.to_numpy(), bars, where, "the asset has no name; fill its unique_id or symbol in")
    return bars.assign(ds=bars["ds"].to_numpy().astype("datetime64[ns]"), unique_id=bars["unique_id"].astype(str))


def _refuse_first(bad: np.ndarray, bars: pd.DataFrame, where: str, message: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        unique_id, ds, close = (bars[name].iloc[row] for name in ("unique_id", "ds", "close"))
        raise BadInput(f"{where}: bar {row + 1} of {len(bars)} ({unique_id}, {ds}, close {close}): {message}")


def price_column(bars: pd.DataFrame) -> str:
    """Name of the column that the returns of one asset are formed from."""
    adjusted = "adj_close" in bars and not np.isnan(bars["adj_close"].to_numpy(np.float64)).all()
    return "adj_close" if adjusted else "close"


def return_series(bars: pd.DataFrame) -> list[ReturnSeries]:
    """Log returns of every asset of bars known to be clean, in the order the assets first appear."""
    return [returns_of(rows, np.zeros(len(rows), bool)) for _, rows in bars.groupby("unique_id", sort=False)]


def returns_of(bars: pd.DataFrame, breaks: np.ndarray, signal: Signal = "log_return") -> ReturnSeries:
    """Log returns of one asset's clean bars; none is formed into a bar where `breaks`, (len(bars),) bool, is true.

    Raises BadInput when the signal needs opening prices and there are none.
    """
    unique_id = str(bars["unique_id"].iloc[0])
    price, times = bars[price_column(bars)].to_numpy(np.float64), bars["ds"].to_numpy().astype("datetime64[ns]")
    if signal in WITHIN_BAR:
        if "open" not in bars or not (bars["open"].to_numpy() > 0).all():
            raise BadInput(f"{unique_id}: --signal {signal} needs an opening price in every bar; use log_return")
        log_returns = np.log(bars["close"].to_numpy(np.float64) / bars["open"].to_numpy(np.float64))
        kept, starts = np.arange(len(bars)), breaks | (np.arange(len(bars)) == 0)
    else:
        kept = np.flatnonzero(~breaks[1:]) + 1
        log_returns = np.diff(np.log(price))[kept - 1]
        starts = np.diff(kept, prepend=-1) != 1
        starts[:1] = True
    return ReturnSeries(unique_id, times[kept], price[kept], log_returns, starts, log_range=_log_range(bars, kept))


def _log_range(bars: pd.DataFrame, kept: np.ndarray) -> np.ndarray | None:
    if not {"high", "low"} <= set(bars):
        return None
    return log_range(*(bars[name].to_numpy(np.float64)[kept] for name in ("high", "low")))


def log_range(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """ln ln (high / low), NaN where a bar has no range."""
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.log(high / low)
        return np.where((height > 0) & np.isfinite(height), np.log(height), np.nan)
