"""The canonical frame of bars, its checks, and the log returns in it.

One row per bar: `unique_id, ds, close`, and `open, high, low, volume, adj_close` where the source has them.
`ds` is date-only or time-zone aware and strictly increasing within a `unique_id`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput


@dataclass(frozen=True)
class ReturnSeries:
    """Log returns of one asset: `log_returns[t]` is earned from the bar before to the bar that ends at `times[t]`."""

    unique_id: str
    times: np.ndarray  # (T,) datetime64[ns]
    closes: np.ndarray  # (T,)
    log_returns: np.ndarray  # (T,)


def check_bars(bars: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return canonical `bars`, their times without a zone (UTC where they had one), nothing else changed.

    Raises BadInput naming the first offending row: a missing column, no rows, an asset without a name, a date or price
    that is missing, a price that is not finite or not positive, or dates of an asset that do not strictly increase.
    """
    for column in ("unique_id", "ds", "close"):
        if column not in bars:
            raise BadInput(f"{where}: no {column!r} column among {list(bars.columns)}; rename the one you mean")
    if bars.empty:
        raise BadInput(f"{where}: no rows; give a file with at least two bars")
    if getattr(bars["ds"].dtype, "tz", None) is not None:
        bars = bars.assign(ds=bars["ds"].dt.tz_convert("UTC").dt.tz_localize(None))
    _refuse_first(bars["ds"].isna().to_numpy(), bars, where, "the date is missing; remove the row or mend the date")
    unnamed = bars["unique_id"].isna() | (bars["unique_id"].astype(str).str.strip() == "")
    _refuse_first(unnamed.to_numpy(), bars, where, "the asset has no name; fill its unique_id or symbol in")
    close = bars["close"].to_numpy(np.float64)
    _refuse_first(~np.isfinite(close), bars, where, "close is missing or not finite; remove the row or mend the price")
    _refuse_first(close <= 0, bars, where, "close is not positive, so it has no log return; remove the row or mend it")
    step = bars.groupby("unique_id", sort=False)["ds"].diff().to_numpy()  # NaT at an asset's first bar
    zero = np.timedelta64(0, "ns")
    repeated, backward = step == zero, step < zero
    _refuse_first(repeated, bars, where, "the date appears twice for this asset; keep one of the rows")
    _refuse_first(backward, bars, where, "the date is before the one above it; sort the rows by date, oldest first")
    return bars


def _refuse_first(bad: np.ndarray, bars: pd.DataFrame, where: str, message: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        unique_id, ds, close = (bars[name].iloc[row] for name in ("unique_id", "ds", "close"))
        raise BadInput(f"{where}: row {row + 1} ({unique_id}, {ds}, close {close}): {message}")


def return_series(bars: pd.DataFrame) -> list[ReturnSeries]:
    """Log returns ln(close_t / close_{t-1}) of every asset, in the order the assets first appear."""
    series = []
    for unique_id, rows in bars.groupby("unique_id", sort=False):
        close = rows["close"].to_numpy(np.float64)
        times = rows["ds"].to_numpy().astype("datetime64[ns]")
        series.append(ReturnSeries(str(unique_id), times[1:], close[1:], np.diff(np.log(close))))
    return series
