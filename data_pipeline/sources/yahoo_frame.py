"""What yfinance returns, as raw bars: pure functions, no network."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput

COLUMNS = {  # without the "Capital Gains" of funds, which Yahoo may have counted among the dividends
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
    "dividend": "Dividends",
    "split": "Stock Splits",
}
GRACE = np.timedelta64(4, "D")  # from the last bar to the last trade; Sunday's trade in futures is in Monday's bar


def normalize(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """A raw bars frame from a frame of yfinance, with flat columns or with (field, ticker) ones in either order.

    Daily bars carry the exchange's date, intraday ones their UTC time. Intraday, yfinance repeats the close under the
    name of the adjusted close; that is left out.

    Raises BadInput when the frame has nothing on `symbol`, or intraday times without a zone.
    """
    if frame.columns.nlevels == 2:
        level = next((level for level in (0, 1) if symbol in frame.columns.get_level_values(level)), None)
        if level is None:
            raise BadInput(f"{symbol}: not among the columns of this frame")
        frame = frame.xs(symbol, axis=1, level=level)
    intraday = frame.index.name == "Datetime"
    times = pd.DatetimeIndex(frame.index)
    if intraday and times.tz is None:
        raise BadInput(f"{symbol}: intraday times without a zone; download with ignore_tz=False")
    times = times.tz_convert("UTC").tz_localize(None) if intraday else times.tz_localize(None).normalize()
    bars = pd.DataFrame({"unique_id": symbol, "ds": times.as_unit("ns")})
    for name, theirs in COLUMNS.items():
        if theirs in frame and not (intraday and name == "adj_close"):
            bars[name] = frame[theirs].to_numpy(np.float64)
    return bars


def with_adj_close(bars: pd.DataFrame) -> pd.DataFrame:
    """`bars` with Yahoo's adjusted close or, where Yahoo gave none, our own total-return close.

    Where Yahoo gave none yfinance repeats the close, which a dividend gives away.
    """
    if "adj_close" not in bars:
        return bars
    close, dividend = bars["close"].to_numpy(), bars["dividend"].to_numpy()
    given = not np.array_equal(bars["adj_close"].to_numpy(), close, equal_nan=True)
    return bars if given else bars.assign(adj_close=total_return_close(close, dividend))


def total_return_close(close: np.ndarray, dividend: np.ndarray) -> np.ndarray:
    """Closes (T,) whose log returns include the dividends (T,) paid per share, each reinvested at the close before it.

    adj_t = close_t · Π_{s>t} (1 − dividend_s / close_{s−1}), the CRSP convention that Yahoo follows; both inputs are
    adjusted for splits already. A missing close stays missing, and the last one before it counts.

    Raises BadInput for a dividend that is as large as the close before it.
    """
    before = pd.Series(close).ffill().shift().to_numpy()
    factor = 1 - np.nan_to_num(np.nan_to_num(dividend) / before)
    if (factor <= 0).any():
        t = int(np.argmax(factor <= 0))
        raise BadInput(f"bar {t + 1}: a dividend of {dividend[t]:g} after a close of {before[t]:g} cannot be right")
    later = np.append(np.cumprod(factor[::-1])[::-1][1:], 1.0)
    return close * later


def shortfall(bars: pd.DataFrame, interval: str, last_trade: pd.Timestamp | None, end: date | None) -> str:
    """What is missing at the end of `bars` although trade went on after it, or ''.

    A last bar without a price is nothing unusual on a holiday or while it runs.
    """
    if last_trade is None:
        return ""
    zone = None if interval == "1d" else "UTC"
    traded = np.datetime64((last_trade.tz_convert(zone) if zone else last_trade).tz_localize(None))
    times = bars["ds"].to_numpy()
    last = times[np.isfinite(bars["close"].to_numpy())][-1]
    length = pd.to_timedelta([interval.replace("d", "D")]).to_numpy()  # (1,)
    n_blank = int(np.sum((times > last) & (times + length <= traded)))
    if n_blank:
        return f"the last {n_blank} bars have no price yet"
    if end is None and traded - last > GRACE:
        days = (np.datetime_as_string(time, "D") for time in (last, traded))
        return "bars end on {} though Yahoo saw trade on {}".format(*days)
    return ""
