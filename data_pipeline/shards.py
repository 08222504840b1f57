"""One asset at a time: prices to a shard of returns. A pure function of the source and the options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from data_pipeline.bars import ReturnSeries, canonical, price_column, returns_of
from data_pipeline.calendars import DAY, HOLE, Calendar, bar_interval, completed, infer, named, no_calendar
from data_pipeline.checks import Finding, inspect
from data_pipeline.config import DataConfig
from data_pipeline.errors import BadInput
from data_pipeline.resample import interval_name, parse_interval, resample
from data_pipeline.sources import Source
from data_pipeline.splits import DayCounts

LOOK_AHEAD = 30 * DAY  # no market pauses longer


@dataclass(frozen=True)
class Shard:
    """The returns of one asset at one timeframe."""

    series: ReturnSeries | Path  # in memory, or the file it was written to
    about: dict[str, Any]  # the asset's entry in the manifest

    def load(self, patch: int = 1) -> ReturnSeries:
        """The series, `patch` returns taken together."""
        if isinstance(self.series, ReturnSeries):
            return self.series.patched(patch)
        with np.load(self.series, allow_pickle=False) as arrays:
            return ReturnSeries(self.about["unique_id"], **arrays).patched(patch)


class Reading(NamedTuple):
    """A shard, and what the others and the user have to know of it."""

    shard: Shard
    size: int  # returns, or patches of them
    dated: DayCounts
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, series: ReturnSeries, about: dict[str, Any] | None = None, notes: Sequence[str] = ()) -> Reading:
        first_last = {"first": str(series.times[0]), "last": str(series.times[-1])} if len(series) else {}
        shard = Shard(series, {"unique_id": series.unique_id} | first_last | (about or {}))
        return cls(shard, len(series), DayCounts.of(series.times), notes)

    def stored(self, path: Path, patch: int) -> Reading:
        """The same with its returns in a file, and its size in patches."""
        series = self.shard.load()
        arrays = {f.name: getattr(series, f.name) for f in fields(series) if f.name != "unique_id"}
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return self._replace(shard=Shard(path, self.shard.about), size=len(series.patched(patch)))


def read_part(source: Source, part: Any, config: DataConfig) -> list[Reading]:
    """Read, check and cut up the bars of one part of a source; a shard per asset and timeframe.

    Raises BadInput for what nobody but the user can settle.
    """
    frame, notes = source.read(part)
    config = replace(config, calendar=config.calendar or source.calendar)
    readings = []
    for _, bars in canonical(frame, str(part)).groupby("unique_id", sort=False):
        readings += read_asset(bars, config, notes)
        notes = []
    return readings


def read_asset(bars: pd.DataFrame, config: DataConfig, notes: Sequence[str] = ()) -> list[Reading]:
    """Check one asset's raw bars and form their returns, at each timeframe."""
    unique_id, times = str(bars["unique_id"].iloc[0]), priced_times(bars)
    if len(times) < 2:
        return [_unusable(unique_id, bars, notes)]
    interval = bar_interval(times)
    calendar, reason = calendar_of(unique_id, times, config.calendar)
    cleaned = inspect(bars, calendar)
    notes = [*notes, reason, *_summary(unique_id, cleaned.findings)]
    about = {
        "calendar": calendar.name,
        "price": price_column(bars),
        "bars": len(bars),
        "findings": dict(sorted(Counter(finding.kind for finding in cleaned.findings).items())),
    }
    timeframes = [None] if config.timeframes is None else [text.strip() for text in config.timeframes.split(",")]
    if any(timeframe is not None and parse_interval(timeframe) > interval for timeframe in timeframes):
        notes += _left_out(unique_id, cleaned.bars, interval, calendar)
    readings = []
    for timeframe in timeframes:
        frame, breaks, spacing = cleaned.bars, cleaned.breaks, interval
        if timeframe is not None:
            frame, breaks = _resampled(frame, breaks, timeframe, calendar, interval)
            spacing = parse_interval(timeframe)
        if len(frame) < 2:
            readings.append(_unusable(unique_id, bars, notes))
            continue
        series = _with_clock(returns_of(frame, breaks, config.signal), frame, calendar, spacing, config.clock)
        stamps = None if spacing == DAY else series.times
        series = replace(series, times=completed(series.times, spacing, calendar), stamps=stamps)
        entry = about | {"interval": interval_name(spacing)}
        if len(timeframes) > 1:
            entry["unique_id"] = f"{unique_id}@{timeframe}"
        readings.append(Reading.of(series, entry, notes))
        notes = []
    return readings


def priced_times(bars: pd.DataFrame) -> np.ndarray:
    """When there was a price, oldest first: rows without one are often days without trade."""
    return np.sort(bars.loc[bars["close"].notna(), "ds"].to_numpy())


def complete_before(bars: pd.DataFrame, instant: np.datetime64, calendar: str | None = None) -> pd.DataFrame:
    """The raw bars of one asset that are complete before `instant`: no check of them looks behind it."""
    bars = bars.loc[bars["ds"].to_numpy() < instant]
    times = np.unique(priced_times(bars))
    if len(times) < 2:
        return bars
    found, _ = calendar_of(str(bars["unique_id"].iloc[0]), times, calendar)
    known = times[completed(times, bar_interval(times), found) < instant]
    return bars.loc[bars["ds"].to_numpy() <= known[-1]] if len(known) else bars.iloc[:0]


def _unusable(unique_id: str, bars: pd.DataFrame, notes: Sequence[str]) -> Reading:
    nothing = np.empty(0)
    series = ReturnSeries(unique_id, nothing.astype("datetime64[ns]"), nothing, nothing)
    return Reading.of(series, notes=[*notes, f"{unique_id}: fewer than two usable bars of {len(bars)}"])


def calendar_of(unique_id: str, times: np.ndarray, name: str | None) -> tuple[Calendar, str]:
    """The calendar asked for, or the one inferred, and a line that says which."""
    if len(times) < 2:
        return no_calendar(unique_id), f"{unique_id}: too few bars to judge a calendar by"
    if name is not None:
        found, reason = named(name).fit(times)[0], f"{unique_id}: calendar {name}"
    else:
        found, reason = infer(unique_id, times)
    if found is None or found.name == "none":
        return no_calendar(unique_id), f"{reason}; without one, a gap is a hole of more than {HOLE}"
    return found, reason


def _summary(unique_id: str, findings: Sequence[Finding]) -> list[str]:
    kinds = Counter(finding.kind for finding in findings)
    return [f"{unique_id}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())] if kinds else []


def _left_out(unique_id: str, bars: pd.DataFrame, spacing: np.timedelta64, calendar: Calendar) -> list[str]:
    """How many bars no coarser bar can hold."""
    outside = np.count_nonzero(np.isnat(calendar.bar_ends(bars["ds"].to_numpy(), spacing)))
    if not outside:
        return []
    return [f"{unique_id}: {outside:,} of {len(bars):,} bars, outside the sessions of {calendar.name}, are left out"]


def _resampled(
    bars: pd.DataFrame, breaks: np.ndarray, timeframe: str, calendar: Calendar, spacing: np.timedelta64
) -> tuple[pd.DataFrame, np.ndarray]:
    """Coarser bars, piece by piece, so that none is made across a break."""
    grouped = bars.groupby(np.cumsum(breaks), sort=False)
    pieces = [resample(piece, timeframe, calendar, spacing) for _, piece in grouped]
    starts = np.concatenate([np.arange(len(piece)) == 0 for piece in pieces])
    starts[:1] = False
    return pd.concat(pieces, ignore_index=True), starts


def _with_clock(
    series: ReturnSeries, bars: pd.DataFrame, calendar: Calendar, interval: np.timedelta64, clock: bool
) -> ReturnSeries:
    """Add what the calendar knows of the time between bars."""
    times = bars["ds"].to_numpy()
    kept = np.searchsorted(times, series.times)
    opens = calendar.opens(times, interval)[kept] & (interval < DAY)
    gaps = calendar.gap_bars(times, interval)[kept].astype(np.int32)
    series = replace(series, gaps=gaps, opens=opens)
    if not clock:
        return series
    missing = np.log1p(gaps, dtype=np.float32)
    return replace(series, clock=np.column_stack([missing, clock_ahead(series.times, interval, calendar)]))


def clock_ahead(times: np.ndarray, interval: np.timedelta64, calendar: Calendar) -> np.ndarray:
    """Of the bar after each of T, by the calendar: ln(1 + bars of pause before it), whether it opens a session, (T, 2).

    Zeros where no calendar is known, or none so far ahead.
    """
    grid = calendar.bars_between(times[0], times[-1] + LOOK_AHEAD + 2 * interval, interval)
    if calendar.name == "none" or not len(grid) or grid[-1] <= times[-1]:
        return np.zeros((len(times), 2), np.float32)
    following = np.searchsorted(grid, times, side="right")
    pause = (grid[following] - times) / interval - 1
    opens = calendar.opens(grid, interval)[following] & (interval < DAY)
    return np.stack([np.log1p(np.maximum(pause, 0)), opens], axis=1).astype(np.float32)


def check_timeframes(config: DataConfig) -> None:
    """Raise BadInput for a timeframe that is none or that is there twice, before anything is read."""
    if config.timeframes is None:
        return
    parsed = [parse_interval(text.strip()) for text in config.timeframes.split(",")]
    if len(set(parsed)) < len(parsed):
        raise BadInput(f"--timeframes {config.timeframes}: one of them is there twice; leave it out")
