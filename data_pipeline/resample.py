"""Coarser bars from finer ones: 1min → 5min → 1h → 1d → 1w → 1mo, none of them knowing more than its own time."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from data_pipeline.calendars import DAY, MONTH, Calendar, bar_interval
from data_pipeline.errors import BadInput

_UNITS = {
    "s": np.timedelta64(1, "s"),
    "min": np.timedelta64(1, "m"),
    "h": np.timedelta64(1, "h"),
    "d": DAY,
    "w": 7 * DAY,
    "mo": MONTH,
}
_SPELLED = {"m": "min", "H": "h", "D": "d", "W": "w", "wk": "w"}
_NEVER = np.datetime64("NaT", "ns")


def _first(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return values[first]


def _last(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return values[np.append(first[1:], len(values)) - 1] if len(first) else values


def _split(ratios: np.ndarray, first: np.ndarray) -> np.ndarray:
    splits = np.add.reduceat(ratios != 0, first, dtype=np.int64)
    return np.where(splits == 0, 0.0, np.multiply.reduceat(np.where(ratios == 0, 1.0, ratios), first))


# column: its figure for the runs of bars that begin at the rows `first`
_SUMMARY = {
    "open": _first,
    "high": np.maximum.reduceat,
    "low": np.minimum.reduceat,
    "close": _last,
    "volume": np.add.reduceat,
    "adj_close": _last,
    "dividend": np.add.reduceat,
    "split": _split,
}


def parse_interval(text: str) -> np.timedelta64:
    """The spacing in ns that "1min", "5m", "1h", "1d", "1w" or "1mo" stands for.

    As with Yahoo, "m" is a minute, and a month, "mo", counts as 30 days. Raises BadInput for anything else; "1M" too,
    which is a month to some and a minute to others.
    """
    match = re.fullmatch(r"(\d{0,4})([A-Za-z]+)", text.strip())
    number, word = (int(match[1] or 1), match[2]) if match else (0, "")
    unit = _UNITS.get(_SPELLED.get(word, word))
    if unit is None or number == 0:
        raise BadInput(f"interval {text!r} is none; write 1min, 5min, 1h, 4h, 1d, 1w or 1mo (m is a minute)")
    return (number * unit).astype("timedelta64[ns]")


def interval_name(interval: np.timedelta64) -> str:
    """The shortest text that `parse_interval` reads as `interval`."""
    name = next((name for name, unit in reversed(_UNITS.items()) if not interval % unit), None)
    return str(interval) if name is None else f"{interval // _UNITS[name]}{name}"


def resample(
    bars: pd.DataFrame, interval: str, calendar: Calendar, spacing: np.timedelta64 | None = None
) -> pd.DataFrame:
    """Bars of one asset at a coarser `interval`, stamped as the calendar stamps them, in the columns that `bars` has.

    open is the first, close and adj_close the last, high and low the extremes, volume and dividend the sum, split the
    product of those that are not 0. A figure is missing where that of any of its bars is. Bars without a close and bars
    outside the calendar's sessions are left out, and where none is left there is no coarse bar. Intraday bars do not
    straddle lunch or the night. A coarse bar holds the bars that end within it; the last one is left out unless its
    last bar ends with it, for nobody knows that it is complete.

    Raises BadInput where times do not rise, or `interval` is not a multiple of the `spacing` of `bars` (by default the
    commonest).
    """
    times = bars["ds"].to_numpy("datetime64[ns]")
    if (np.diff(times) <= np.timedelta64(0, "ns")).any():
        raise BadInput("times do not rise from bar to bar; sort them and remove what is there twice")
    fine, coarse = bar_interval(times) if spacing is None else spacing, parse_interval(interval)
    nested = coarse % fine == np.timedelta64(0, "ns") or (fine < DAY and coarse % DAY == np.timedelta64(0, "ns"))
    if coarse < fine or not nested:
        raise BadInput(f"{interval} bars cannot be made of {interval_name(fine)} bars; choose a multiple of that")
    if coarse == fine:
        return bars
    labels, complete = calendar.coarser(times, fine, coarse)
    used = ~np.isnat(labels) & bars["close"].notna().to_numpy()
    rows, labels, complete = bars.loc[used], labels[used], complete[used]
    finished = calendar.bar_ends(times[used][-1:], fine) >= complete[-1:]
    first = np.flatnonzero(np.diff(labels, prepend=_NEVER) != np.timedelta64(0, "ns"))
    columns = {"unique_id": rows["unique_id"].to_numpy()[first], "ds": labels[first]}
    columns |= {name: _SUMMARY[name](rows[name].to_numpy(np.float64), first) for name in bars if name in _SUMMARY}
    coarse_bars = pd.DataFrame(columns)
    return coarse_bars if finished.all() else coarse_bars.iloc[:-1]
