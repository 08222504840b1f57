"""Which column of a file is what: by the names vendors use, and by what a column holds where no name is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from data_pipeline.sources.number_text import are_numbers
from data_pipeline.sources.table import Table
from data_pipeline.sources.time_formats import are_clocks, are_dates, are_days

# what it is: the header names it goes by (lower case, joined by "_"), best first
UNIQUE_ID = ("unique_id", "item_id", "symbol", "ticker", "tic", "instrument", "ts_code", "asset", "name")
TIME = (
    *("ds", "datetime", "date_time", "timestamp", "timestamps", "open_time", "date", "trade_date", "trading_day"),
    *("observation_date", "day", "datum", "time", "gmt_time", "local_time", "window_start", "t", "unix"),
)
CLOCK = ("time", "time_of_day", "timestamp")  # of a time of day beside a date
FIELDS = {
    "close": (
        *("close", "y", "target", "close_last", "close_price", "price", "last", "last_price", "px_last", "settle"),
        *("schluss", "schlusskurs", "c", "adj_close", "adjclose", "adjusted_close"),
    ),
    "open": ("open", "open_price", "px_open", "erster", "o"),
    "high": ("high", "high_price", "px_high", "hoch", "h"),
    "low": ("low", "low_price", "px_low", "tief", "l"),
    "volume": ("volume", "vol", "px_volume", "volumen", "tickvol", "tick_volume", "v"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close"),
    "dividend": ("dividend", "dividends", "dividend_amount", "divcash"),
    "split": ("split", "splits", "stock_splits", "split_ratio", "split_factor", "splitfactor", "split_coefficient"),
}
_KNOWN = {*UNIQUE_ID, *TIME, *(name for names in FIELDS.values() for name in names), *CLOCK}


@dataclass(frozen=True)
class Layout:
    """Positions of the columns that are read."""

    date: int
    clock: int | None  # the time of day, where it has a column of its own
    unique_id: int | None
    fields: dict[str, dict[str, int]]  # asset ("" unless columns are an asset's) → what it is → position
    notes: list[str]


def count_known(names: Iterable[str]) -> int:
    """How many of the names are known here."""
    return sum(_plain(name) in _KNOWN for name in names)


def find_columns(table: Table, options: FileOptions) -> Layout:
    """What each column is. Raises BadInput naming the flag that settles it where that is not clear."""
    shared = [p for p in range(len(table.names)) if table.assets is None or not table.assets[p]]
    unique_id = _named(table, shared, options.id_col, "--id_col", UNIQUE_ID)
    date, clock = _times(table, shared, unique_id, options)
    notes = []
    groups: dict[str, list[int]] = {}
    for position in range(len(table.names)):
        if position not in (unique_id, date, clock) and (table.assets is None or table.assets[position]):
            groups.setdefault(table.assets[position] if table.assets else "", []).append(position)
    if not groups:
        raise BadInput(f"{table.path}: no column beside the time {table.names[date]!r}; a price is needed")
    fields = {}
    for asset, positions in groups.items():
        fields[asset], inferred = _fields(table, positions, options)
        notes += inferred
    said = [f"time from {table.names[date]!r}" + (f" and {table.names[clock]!r}" if clock is not None else "")]
    renamed = {what: p for what, p in next(iter(fields.values())).items() if _plain(table.names[p]) != what}
    notes.append(", ".join(said + [f"{what} from {table.names[p]!r}" for what, p in renamed.items()]))
    return Layout(date, clock, unique_id, fields, list(dict.fromkeys(notes)))


def _plain(name: str) -> str:
    """`Adj Close**` → adj_close, `<VOL>` → vol, `Vol.` → vol, `Close/Last` → close_last."""
    return re.sub(r"[^\w%]+", "_", name.lower()).strip("_")


def _named(table: Table, positions: Sequence[int], wanted: str | None, flag: str, known: tuple[str, ...]) -> int | None:
    """The column that the user named, or else the best known one. Raises BadInput when two have that name."""
    if wanted is not None:
        exact = [p for p in positions if table.names[p].strip() == wanted.strip()]
        found = exact or [p for p in positions if _plain(table.names[p]) == _plain(wanted)]
        if not found:
            raise BadInput(f"{flag} {wanted}: {table.path} has no such column; it has {_list(table, positions)}")
    else:
        by_name = {name: [p for p in positions if _plain(table.names[p]) == name] for name in known}
        found = next((columns for columns in by_name.values() if columns), [])
    if len(found) > 1:
        raise BadInput(f"{table.path}: {len(found)} columns are called {table.names[found[0]]!r}; rename all but one")
    return found[0] if found else None


def _times(table: Table, shared: Sequence[int], unique_id: int | None, options: FileOptions) -> tuple[int, int | None]:
    """Positions of the date and, where it has its own column, of the time of day."""
    free = [p for p in shared if p != unique_id]
    cells = {p: [row[p] for row in table.sample] for p in free}
    clocks = [p for p in free if _plain(table.names[p]) in CLOCK and are_clocks(cells[p])]
    dates = [p for p in free if p not in clocks]
    date = _named(table, free if options.time_col else dates, options.time_col, "--time_col", TIME)
    if date is None:
        candidates = [p for p in dates if are_dates(cells[p])]
        if len(candidates) != 1:
            what = "no column of dates" if not candidates else "no known time column, and several hold dates,"
            which = _list(table, candidates or free)
            raise BadInput(f"{table.path}: {what} among {which}; name it with --time_col")
        date = candidates[0]
    return date, clocks[0] if clocks and are_days(cells[date]) else None


def _fields(table: Table, positions: Sequence[int], options: FileOptions) -> tuple[dict[str, int], list[str]]:
    """Positions of close and of whatever else there is of an asset."""
    fields, notes = {}, []
    close = _named(table, positions, options.target_col, "--target_col", FIELDS["close"])
    if close is None:
        close = _only_price(table, positions)
        notes.append(f"{table.names[close]!r} is the price: the only column of numbers that could be")
    fields["close"] = close
    for what, known in FIELDS.items():
        if what == "close" or (what == "adj_close" and options.target_col is not None):
            continue
        position = _named(table, positions, None, "", known)
        if position is not None:
            fields[what] = position
    return fields, notes


def _only_price(table: Table, positions: Sequence[int]) -> int:
    numeric = [p for p in positions if are_numbers([row[p] for row in table.sample])]
    candidates = [p for p in numeric if _plain(table.names[p]) not in {"", "index", "unnamed_0"} | _KNOWN]
    if len(candidates) != 1:
        what = "no close column" if not candidates else "no known price column, and several that could be it,"
        raise BadInput(f"{table.path}: {what} among {_list(table, candidates or positions)}; name it with --target_col")
    return candidates[0]


def _list(table: Table, positions: Sequence[int]) -> str:
    """Names of columns, not more than fit a line."""
    names = [table.names[p] for p in positions[:12]]
    return str(names) + (f" and {len(positions) - 12} more" if len(positions) > 12 else "")
