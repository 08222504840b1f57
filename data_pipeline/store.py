"""The local store of raw bars: one Parquet file per interval and symbol, each replaced as a whole or not at all.

    data/store/store.json          the format of the store
    data/store/1d/BRK-B.parquet    daily bars of BRK-B; what is known of them is in the file's schema metadata

A reader holds either the old file or the new one, whoever writes at the same time, and whenever that writer dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.storage import read_json, write_json
from data_pipeline.store_file import FORMAT, StoredSeries, read_bars, read_series, write_bars

PRICES, EVENTS = ("close", "adj_close"), ("dividend", "split")
SAME = 1e-5  # relative; Yahoo's prices are single precision, and a dividend moves them by 1e-4 or more


@dataclass(frozen=True)
class Update:
    """What a merge did: `kind` is "new", "updated", "unchanged" or "restated"."""

    kind: str
    bars_added: int


class HistoryRestated(BadInput):
    """New bars contradict the stored ones, as after a split or dividend, and do not reach back far enough to replace
    them. Nothing was written."""


class Store:
    """Bars by symbol and interval in the folder `path`, which is made by the first merge; reading never writes.

    Raises BadInput when `path` is something else, DamagedData when it is a store that this version cannot read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if is_store(self.path):
            _check_format(self.path / "store.json")
        elif self.path.exists() and not _is_empty(self.path):
            raise BadInput(f"{self.path} is there and is not a store; choose another folder with --store")

    def symbols(self) -> list[tuple[str, str]]:
        """(symbol, interval) of every series, sorted."""
        return sorted((unquote(file.stem), unquote(file.parent.name)) for file in self.path.glob("*/*.parquet"))

    def series(self, symbol: str, interval: str) -> StoredSeries | None:
        """What is known of a series without reading its bars; None when it is not stored. Raises DamagedData."""
        file = self.file(symbol, interval)
        return read_series(file, symbol, interval) if file.exists() else None

    def read(self, symbol: str, interval: str) -> pd.DataFrame:
        """Raw bars, oldest first. Raises BadInput when they are not stored, DamagedData when the file is broken."""
        file = self.file(symbol, interval)
        if not file.exists():
            raise BadInput(f"{self.path}: no {interval} bars of {symbol}; 'mqc data fetch {symbol}' brings them")
        return read_bars(file, symbol, interval)

    def merge(
        self,
        symbol: str,
        interval: str,
        new: pd.DataFrame,
        *,
        source: str,
        fetched_from: str,
        currency: str | None = None,
        timezone: str | None = None,
    ) -> Update:
        """Bring bars in: stored ones stay, later (and earlier) ones are added, a restated history is replaced.

        `fetched_from` is the date that the source was asked from, which may lie before the first bar. Bars at the end
        without a close are left for another time.

        Raises BadInput when `new` has no bars in order, HistoryRestated, or DamagedData; the store is then as it was.
        """
        new = _without_blank_end(new, symbol)
        file = self.file(symbol, interval)
        if known := self.series(symbol, interval):
            old = read_bars(file, symbol, interval)
            kind, bars = reconcile(old, new, str(file))
            update = Update(kind, max(0, len(bars) - len(old)))
            fetched_from = min(fetched_from, known.fetched_from)
        else:
            bars, update = new, Update("new", len(new))
        if update.kind != "unchanged":
            self._create()
            about = {"symbol": symbol, "interval": interval, "source": source, "fetched_from": fetched_from}
            write_bars(file, bars, about | {"currency": currency, "timezone": timezone})
        return update

    def file(self, symbol: str, interval: str) -> Path:
        """Where a series is stored; any symbol makes a file name, and two symbols never the same."""
        return self.path / quote(interval, safe="") / f"{quote(symbol, safe='^=&')}.parquet"

    def _create(self) -> None:
        if not is_store(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / "store.json", {"format": FORMAT})


def is_store(path: Path) -> bool:
    """Whether a store is at `path`."""
    return (path / "store.json").is_file()


def _is_empty(path: Path) -> bool:
    """Whether `path` is a folder with nothing in it but what an interrupted write left."""
    return path.is_dir() and all(entry.suffix == ".tmp" for entry in path.iterdir())


def _check_format(file: Path) -> None:
    known = read_json(file)
    found = known.get("format") if isinstance(known, dict) else None
    if not isinstance(found, int):
        raise DamagedData(f'{file}: no format number; write {{"format": {FORMAT}}} into it, or choose another --store')
    if found > FORMAT:
        raise DamagedData(f"{file}: store format {found}, and this mqc-jax reads up to {FORMAT}; upgrade mqc-jax")


def _without_blank_end(new: pd.DataFrame, symbol: str) -> pd.DataFrame:
    priced = np.flatnonzero(new["close"].notna())
    if not len(priced):
        raise BadInput(f"{symbol}: no bar with a close, so nothing to store")
    if not (np.diff(new["ds"].to_numpy()) > np.timedelta64(0, "ns")).all():
        raise BadInput(f"{symbol}: dates do not strictly increase; sort the bars, oldest first, each date once")
    return new.iloc[: priced[-1] + 1].reset_index(drop=True)


def reconcile(old: pd.DataFrame, new: pd.DataFrame, where: str) -> tuple[str, pd.DataFrame]:
    """The kind of the update and the bars after it, from stored and new bars.

    The last stored bar may have been fetched while it still ran, so the new one takes its place. The bars before it
    stay, as long as the new ones agree with them. Raises HistoryRestated when they do not and cannot replace them.
    """
    old_t, new_t = old.set_index("ds"), new.set_index("ds")
    settled = old_t.iloc[:-1].dropna(subset="close")
    if is_restated(settled, new_t) or list(old) != list(new):
        _check_covers(old, new, where)
        return "restated", new
    best_first = pd.concat([settled, new_t.dropna(subset="close"), old_t, new_t])
    merged = pd.DataFrame(best_first[~best_first.index.duplicated()]).sort_index().reset_index()[list(old)]
    return ("unchanged" if merged.equals(old) else "updated"), pd.DataFrame(merged)


def is_restated(settled: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Whether `new` is on another price basis than the stored bars `settled` (both indexed by time).

    A split or dividend rescales every bar before it, so the earliest two bars in common tell; one odd bar is a mended
    price, not a restated history. Bars in common are required: without any, nothing is known of the basis.
    """
    common = settled.index.intersection(new.dropna(subset="close").index)
    if common.empty:
        return len(settled) > 0
    moved, other_event = (
        ~np.isclose(settled.loc[common, names], new.loc[common, names], rtol=SAME, atol=0, equal_nan=True)
        for names in ([name for name in group if name in settled and name in new] for group in (PRICES, EVENTS))
    )
    return bool(moved[:2].any(axis=1).all() or other_event.any())


def _check_covers(old: pd.DataFrame, new: pd.DataFrame, where: str) -> None:
    (first, last), (new_first, new_last) = ((ds.iloc[0], ds.iloc[-1]) for ds in (old["ds"], new["ds"]))
    n_old = old["close"].notna().to_numpy().sum()
    n_new = (new["close"].notna() & (new["ds"] <= last)).to_numpy().sum()
    if new_first > first or new_last < last or n_new < n_old:
        raise HistoryRestated(
            f"{where}: the {len(new)} bars from {new_first} are on another price basis than the {len(old)} stored from "
            f"{first} and cannot replace them all; to start afresh, move the file away and fetch again"
        )
