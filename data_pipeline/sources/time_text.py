"""Times as people write them: ISO, `01/02/2020 9:30 AM`, `2019-10-17 09-AM`, `20200102`, seconds since 1970.

Every time ends as datetime64[ns] without a zone: UTC for intraday bars, midnight for bars that have a date only.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from data_pipeline.sources.table import Table, refuse_first
from data_pipeline.sources.time_formats import COMPACT_DATE, ZONE, ZONE_WORDS, clock_format, stamp_formats

_ZONED = rf":\d\d(?:\.\d+)? ?{ZONE}$"
_MIDNIGHT = rf"[T ]+00:00(?::00(?:\.0+)?)? ?{ZONE}$"
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_ALL_MIDNIGHT = "every time is midnight in its zone: taken as dates"
Times = tuple[np.ndarray, list[str]]  # (n,) datetime64[ns], and what was inferred


def parse_times(date: pd.Series, clock: pd.Series | None, column: int, options: FileOptions, table: Table) -> Times:
    """Times of the bars from a column of dates and, where there is one, a column of times of day.

    Raises BadInput naming the first cell that is no time, --date_format where day and month could change places, or
    the first local time that the clocks of --timezone show twice or never.
    """
    if clock is None and pd.api.types.is_datetime64_any_dtype(date.dtype):
        refuse_first(date.isna().to_numpy(), date, table, column, "is not a date; mend or remove the row")
        return _to_utc(date, column, options, table) if date.dt.tz is None else _of_zoned(date)
    text = _as_text(date)
    if clock is not None:
        text = text + " " + _clock_text(clock)
    elif _is_epoch(str(text.iloc[0]), options):
        return _since_1970(text, column, table)
    if re.search("UTC|GMT", str(text.iloc[0])):
        for words, sign in ZONE_WORDS:
            text = text.str.replace(words, sign, regex=True)
    zoned = text.str.contains(_ZONED, regex=True).to_numpy(bool)
    if not zoned.any():
        stamps, notes = _parse(text, column, options, table)
        times, more = _to_utc(stamps, column, options, table)
        return times, notes + more
    refuse_first(~zoned, text, table, column, "has no time zone, other rows do; write them all alike")
    days = bool(text.str.contains(_MIDNIGHT, regex=True).all())
    stamps, notes = _parse(text.str.replace(_MIDNIGHT, "", regex=True) if days else text, column, options, table)
    return _nanoseconds(stamps), notes + [_ALL_MIDNIGHT] * days


def _as_text(cells: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(cells.dtype) and not (cells % 1 != 0).any():  # NaN is not whole either
        cells = cells.astype(np.int64)
    return cells.astype(str).str.strip()


def _clock_text(clock: pd.Series) -> pd.Series:
    """Times of day, with the zeros that numbers lose: 93000 is 09:30."""
    text = _as_text(clock)
    if text.str.fullmatch(r"\d{1,6}").all():
        return text.str.zfill(4 if text.str.len().max() <= 4 else 6)
    return text


def _parse(text: pd.Series, column: int, options: FileOptions, table: Table) -> tuple[pd.Series, list[str]]:
    """Stamps without a zone: in UTC where the text has one, as they stand where it has none."""
    formats = _formats(str(text.iloc[0]), options.date_format)
    message = "is not a date in a format known here; mend or remove the row, or say --date_format like '%d.%m.%Y'"
    refuse_first(np.full(len(text), not formats), text, table, column, message)
    try:
        if len(formats) > 1:  # mostly settled by the first rows
            formats = [f for f in formats if _read(text.iloc[:1000], f).notna().all()] or formats
        stamps = {f: _read(text, f) for f in formats}
    except ValueError as error:
        raise BadInput(f"{table.path}: --date_format {formats[0]}: {error}") from None
    bad = {f: stamps[f].isna().to_numpy() for f in formats}
    fitting = [f for f in formats if not bad[f].any()]
    if not fitting:
        furthest = max(formats, key=lambda f: int(np.argmax(bad[f])))
        like = "like 2024-01-31" if furthest == "ISO8601" else f"written as {furthest}"
        refuse_first(bad[furthest], text, table, column, f"is not a date {like}; mend or remove the row")
    if len(fitting) == 2 and not stamps[fitting[0]].equals(stamps[fitting[1]]):
        raise BadInput(
            f"{table.path}: column {table.names[column]!r}: {text.iloc[0]!r} could begin with the day or the month, "
            "and no row has a day above 12; say --date_format dayfirst or --date_format monthfirst"
        )
    chosen = stamps[fitting[0]]
    beyond = ((chosen.dt.year < 1678) | (chosen.dt.year > 2261)).to_numpy()
    refuse_first(beyond, text, table, column, "is not within the years 1678 to 2261; mend or remove the row")
    return chosen, [] if fitting[0] == "ISO8601" else [f"dates read as {fitting[0]}"]


def _read(text: pd.Series, format: str) -> pd.Series:
    return pd.to_datetime(text, format=format, errors="coerce", utc=True).dt.tz_localize(None)


def _formats(first: str, wanted: str | None) -> list[str]:
    """What the first stamp, and what the user says of it, leaves possible."""
    if wanted is not None and "%" in wanted:
        _, _, clock = first.partition(" ")
        has_clock = re.search(r"%[HIXcT]", wanted) or " " in wanted or not clock_format(clock)
        return [wanted if has_clock else f"{wanted} {clock_format(clock)}"]
    if not pd.isna(pd.to_datetime(first, format="ISO8601", errors="coerce", utc=True)):
        return ["ISO8601"]
    formats = stamp_formats(first)
    if wanted is not None and len(formats) == 2 and "%m" in formats[0]:
        return formats[:1] if wanted == "dayfirst" else formats[1:]
    return formats


def _is_epoch(first: str, options: FileOptions) -> bool:
    """Whether a stamp counts from 1970; 12 or 14 digits are likelier a date with its time of day."""
    if options.date_format is not None and "%" in options.date_format:
        return False
    as_date = re.fullmatch(rf"{COMPACT_DATE}(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?", first)
    return as_date is None and re.fullmatch(r"\d{9,19}(?:\.\d+)?", first) is not None


def _since_1970(text: pd.Series, column: int, table: Table) -> Times:
    numbers = pd.Series(pd.to_numeric(text, errors="coerce"))
    bad = numbers.isna().to_numpy()
    refuse_first(bad, text, table, column, "is not a number like the stamps above it; mend or remove the row")
    unit = np.searchsorted([1e11, 1e14, 1e17], np.abs(numbers.to_numpy(np.float64)))
    message = f"is not in {_UNITS[unit[0]]} since 1970 like the first stamp; write them all alike"
    refuse_first(unit != unit[0], text, table, column, message)
    if pd.api.types.is_integer_dtype(numbers.dtype):
        stamps = numbers.to_numpy(np.int64) * 1000 ** (3 - int(unit[0]))
    else:  # to the microsecond, all that a float64 can hold
        stamps = np.round(numbers.to_numpy(np.float64) * 1000.0 ** (2 - int(unit[0]))).astype(np.int64) * 1000
    return stamps.astype("datetime64[ns]"), [f"times are {_UNITS[unit[0]]} since 1970 (UTC)"]


def _of_zoned(date: pd.Series) -> Times:
    local = date.dt.tz_localize(None)
    if (local == local.dt.normalize()).all():
        return _nanoseconds(local), [_ALL_MIDNIGHT]
    return _nanoseconds(date.dt.tz_convert("UTC").dt.tz_localize(None)), []


def _to_utc(local: pd.Series, column: int, options: FileOptions, table: Table) -> Times:
    """Dates stay as they are; times of day are those of --timezone."""
    if (local == local.dt.normalize()).all():
        return _nanoseconds(local), []
    if options.timezone is None:
        return _nanoseconds(local), ["times have no zone: taken as UTC (--timezone)"]
    stamps = local.dt.tz_localize(options.timezone, ambiguous="NaT", nonexistent="NaT")
    message = f"is shown twice or never by the clocks of {options.timezone}, which change then; write times in UTC"
    refuse_first(stamps.isna().to_numpy(), local, table, column, message)
    return _nanoseconds(stamps.dt.tz_convert("UTC").dt.tz_localize(None)), []


def _nanoseconds(stamps: pd.Series) -> np.ndarray:
    return stamps.to_numpy("datetime64[ns]")
