"""Bring one stored series up to date with Yahoo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from data_pipeline.errors import MqcError, OutOfResources
from data_pipeline.sources import yahoo
from data_pipeline.sources.request import ALL, Wanted
from data_pipeline.store import HistoryRestated, Store, StoredSeries, Update

OVERLAP = timedelta(days=14)  # of stored bars is asked for again: they show whether the history was restated


@dataclass(frozen=True)
class Outcome:
    """How it went with one ticker: `status` is ok (a new series), updated, restated or unchanged, or else partial,
    empty or failed.

    `bars`, `first` and `last` are those of the store afterwards. `exit_code` is 0 when all went well.
    """

    symbol: str
    status: str
    bars: int
    bars_added: int
    first: str | None
    last: str | None
    reason: str
    exit_code: int


def update(store: Store, symbol: str, wanted: Wanted, retries: int) -> Outcome:
    """Fetch what is missing and store it; whatever goes wrong with this ticker is told by the outcome."""
    result, reason, exit_code = Update("failed", 0), "", 0
    try:
        result, reason = _bring(store, symbol, wanted, retries)
    except yahoo.NotDelivered as error:
        result, reason, exit_code = Update("empty" if error.empty else "failed", 0), str(error), error.exit_code
    except MqcError as error:
        reason, exit_code = str(error), error.exit_code
    if result.kind == "partial":
        exit_code = OutOfResources.exit_code
    status = "ok" if result.kind == "new" else result.kind
    known = _known(store, symbol, wanted.interval)
    bars, first, last = (known.bars, known.first, known.last) if known else (0, None, None)
    return Outcome(symbol, status, bars, result.bars_added, first, last, reason, exit_code)


def _known(store: Store, symbol: str, interval: str) -> StoredSeries | None:
    try:
        return store.series(symbol, interval)
    except MqcError:
        return None  # the outcome's reason says so already


def _bring(store: Store, symbol: str, wanted: Wanted, retries: int) -> tuple[Update, str]:
    """The update, "partial" where the delivery stops short, and the reason for anything unusual."""
    known = store.series(symbol, wanted.interval)
    days = days_to_ask(known, wanted)
    if days is None:
        return Update("unchanged", 0), "all of this is stored"
    start, end = days
    try:
        return _fetch_and_merge(store, symbol, wanted.interval, start, end, retries)
    except HistoryRestated:
        if known is not None:
            start = min(start, date.fromisoformat(known.fetched_from))
        start = max(start, wanted.first_day_kept)
        return _fetch_and_merge(store, symbol, wanted.interval, start, end, retries)


def _fetch_and_merge(
    store: Store, symbol: str, interval: str, start: date, end: date | None, retries: int
) -> tuple[Update, str]:
    after = end and end + timedelta(days=1)
    delivery = yahoo.fetch(symbol, interval, start, after, retries)
    merged = store.merge(
        symbol,
        interval,
        delivery.bars,
        source="yahoo",
        fetched_from=start.isoformat(),
        currency=delivery.currency,
        timezone=delivery.timezone,
    )
    if delivery.missing:
        return Update("partial", merged.bars_added), delivery.missing
    return merged, "Yahoo restated the history (split or dividend); replaced" if merged.kind == "restated" else ""


def days_to_ask(known: StoredSeries | None, wanted: Wanted) -> tuple[date, date | None] | None:
    """First and last day to ask Yahoo for, so that stored days never have a hole; None when all is stored.

    After stored bars it begins OVERLAP before the last of them, unless days before the stored ones are wanted.
    """
    kept = wanted.first_day_kept
    if known is None:
        return max(wanted.start or ALL, kept), wanted.end
    fetched_from, last = date.fromisoformat(known.fetched_from), date.fromisoformat(known.last[:10])
    end = wanted.end and max(wanted.end, last)
    if wanted.start and max(wanted.start, kept) < fetched_from:
        return max(wanted.start, kept), end
    if wanted.end and wanted.end < last:
        return None
    return max(last - OVERLAP, fetched_from, kept), end
