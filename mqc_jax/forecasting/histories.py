"""Series up to their cut-off, as training would have seen them: of the run's own data, or of prices a user brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from data_pipeline import BadInput, TokenDataset, build_dataset
from data_pipeline.bars import canonical
from data_pipeline.calendars import DAY, Calendar, named, no_calendar
from data_pipeline.config import DataConfig
from data_pipeline.resample import parse_interval
from data_pipeline.rows import CLOCK_NAMES
from data_pipeline.shards import Reading, clock_ahead, complete_before, read_asset
from data_pipeline.sources import Source
from data_pipeline.splits import parse_day
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.volatility import WARMUP
from mqc_jax.forecasting.history import History
from mqc_jax.run import Run

Day = str | date | np.datetime64
TICK = np.timedelta64(1, "ns")


@dataclass(frozen=True, eq=False)
class Past:
    """What is known of one series of T bars at its cut-off, the last of them."""

    unique_id: str
    history: History
    times: np.ndarray  # (T,) datetime64[ns] when each bar is complete
    prices: np.ndarray  # (T,)
    price: str  # the column they are of
    interval: np.timedelta64
    calendar: Calendar  # its label says what `stamp` means
    stamp: np.datetime64  # of the last bar, as its source writes it
    notes: Sequence[str] = ()  # what was inferred and found

    @property
    def cutoff(self) -> np.datetime64:
        return self.times[-1]

    def shortened(self, bars: int) -> Past:
        """The same with at most so many bars for the model to read; volatility still knows them all."""
        history = self.history
        inputs = None if history.inputs is None else history.inputs[-bars:]
        return replace(self, history=history._replace(tokens=history.tokens[-bars:], inputs=inputs))

    def bars_ahead(self, h: int) -> np.ndarray:
        """Stamps of the next `h` bars, (h,) datetime64[ns], as the source writes them.

        Raises BadInput where no calendar is known, or none so far ahead.
        """
        return self.calendar.next_bars(self.stamp, h, self.interval)

    def clock_ahead(self, stamps: np.ndarray) -> np.ndarray:
        """How the bars of these stamps, which follow the last one, lie in time, (h, 3): `rows.CLOCK_NAMES`."""
        ahead = clock_ahead(stamps, self.interval, self.calendar)
        return np.pad(ahead, ((0, 0), (1, 0)))  # no bar to come is missing


def reads_clock(run: Run) -> bool:
    """Whether the model's last inputs say how bars lie in time."""
    return run.manifest["inputs"][-len(CLOCK_NAMES) :] == list(CLOCK_NAMES)


def first_unknown(as_of: Day | None) -> np.datetime64 | None:
    """The first instant that a forecast as of then must know nothing of, datetime64[ns].

    A date stands for its whole day, a time of day for itself. Raises BadInput for a text that is no date.
    """
    if as_of is None:
        return None
    if isinstance(as_of, str):
        return (parse_day(as_of, "--as_of") + DAY).astype("datetime64[ns]")
    stamp = pd.to_datetime([as_of], utc=True).tz_localize(None).to_numpy("datetime64[ns]")[0]
    return stamp + (DAY if stamp == stamp.astype("datetime64[D]") else TICK)


def of_dataset(
    dataset: TokenDataset, context: int, assets: Sequence[str] | None, as_of: Day | None, calendar: str | None
) -> list[Past]:
    """Series of a run's own data: all, or those named. Bars are stamped by when they are complete.

    Raises BadInput for an asset that is not there, and where too little is known of one by then.
    """
    check_assets(assets, dataset.assets, "in this run")
    names = dataset.assets if assets is None else assets
    return [_of_rows(dataset, dataset.assets.index(name), context, as_of, calendar) for name in names]


def of_source(
    run: Run,
    tokenizer: ReturnTokenizer,
    source: Source,
    assets: Sequence[str] | None,
    as_of: Day | None,
    calendar: str | None,
    path: str,
) -> list[Past]:
    """Series of prices that a source delivers: read, checked, cut up and turned into tokens as training does.

    Raises BadInput for what cannot be read, another timeframe than the run's, an asset that is not there, and too
    short a history. `path` is what errors call the run.
    """
    config = replace(run.config.data, **run.manifest["options"], **run.manifest["splits"], data=path)
    found: dict[str, Reading] = {}
    for reading in _readings(run, source, config, as_of, calendar):
        unique_id = reading.shard.about["unique_id"]
        if unique_id in found:
            raise BadInput(f"{unique_id} is in more than one file; put its bars into one")
        found[unique_id] = reading
    check_assets(assets, list(found), "in these prices")
    chosen = list(found.values()) if assets is None else [found[name] for name in assets]
    for reading in chosen:
        _check(reading, run, as_of, path)
    series = [reading.shard.load() for reading in chosen]
    dataset = build_dataset(series, config, tokenizer=tokenizer)
    context = run.config.model.sequence_len
    return [_of_reading(reading, dataset, k, context) for k, reading in enumerate(chosen)]


def check_assets(wanted: Sequence[str] | None, there: Sequence[str], where: str) -> None:
    """Raise BadInput for the first asset that is not there."""
    for name in wanted or ():
        if name not in there:
            shown = ", ".join(there[:20]) + f" and {len(there) - 20:,} more" * (len(there) > 20)
            raise BadInput(f"--asset {name}: not {where}; choose one of {shown}")


def _of_rows(dataset: TokenDataset, asset: int, context: int, as_of: Day | None, calendar: str | None) -> Past:
    assert dataset.market is not None
    name, about, bound = dataset.assets[asset], dataset.manifest["assets"][asset], first_unknown(as_of)
    rows = dataset.asset_rows(asset)
    times = np.asarray(dataset.market.times[rows])
    n = len(rows) if bound is None else int(np.searchsorted(times, bound))
    if not n:
        first = np.datetime_as_string(times[0], "D")
        raise BadInput(f"--as_of {as_of}: too little history of {name}; the first possible day is {first}")
    known = _calendar(name, calendar or about["calendar"])
    return Past(
        name,
        History.of_rows(dataset, asset, rows[n - 1], context),
        times[:n],
        np.asarray(dataset.market.closes[rows[:n]]),
        about["price"],
        parse_interval(about["interval"]),
        replace(known, label="end"),
        times[n - 1],
    )


def _calendar(unique_id: str, name: str) -> Calendar:
    return no_calendar(unique_id) if name == "none" else named(name)


def _readings(
    run: Run, source: Source, config: DataConfig, as_of: Day | None, calendar: str | None
) -> Iterator[Reading]:
    """The returns of each asset, of bars that are complete by `as_of`.

    An asset of the run keeps the calendar it was trained with, unless another is asked for. The calendar that a run
    was told to use for its own assets is not forced upon others: their bars to come would get wrong dates.
    """
    trained = {about["unique_id"]: about["calendar"] for about in run.manifest["assets"]}
    bound = first_unknown(as_of)
    for part in source.parts():
        frame, notes = source.read(part)
        for unique_id, bars in canonical(frame, str(part)).groupby("unique_id", sort=False):
            own = trained.get(str(unique_id), "none")
            name = calendar or (own if own != "none" else source.calendar)
            if bound is not None:
                bars = complete_before(bars, bound, name)
            if bars.empty:
                raise BadInput(f"--as_of {as_of}: no bar of {unique_id} by then; take a later day, or leave it out")
            yield from read_asset(bars, replace(config, calendar=name), notes)
            notes = []


def _check(reading: Reading, run: Run, as_of: Day | None, path: str) -> None:
    unique_id = reading.shard.about["unique_id"]
    if reading.size <= WARMUP + 1:
        by = "" if as_of is None else f" by {as_of}"
        raise BadInput(
            f"{unique_id}: {reading.size} returns{by} do not outlast the warm-up of {WARMUP}; give at least "
            f"{WARMUP + 3} bars with a price, or leave it out"
        )
    trained_on = sorted({about["interval"] for about in run.manifest["assets"]})
    interval = reading.shard.about["interval"]
    if interval not in trained_on:
        raise BadInput(
            f"{unique_id}: bars of {interval}, and {path} was trained on bars of {', '.join(trained_on)}; give it "
            "such bars, or train a run on yours"
        )


def _of_reading(reading: Reading, dataset: TokenDataset, asset: int, context: int) -> Past:
    series, about = reading.shard.load(), reading.shard.about
    last = int(dataset.asset_rows(asset)[-1])
    history = History.of_rows(dataset, asset, last, context)
    stamps = series.times if series.stamps is None else series.stamps
    label = "start" if stamps[-1] < series.times[-1] else "end"
    notes = list(reading.notes)
    pieces = dataset.asset_segments(asset)
    if len(pieces) > 1 and pieces[-1, 0] > last - context:
        n = len(history.tokens)
        notes.append(f"{series.unique_id}: history is cut {n} bars before its end; the model reads those alone")
    return Past(
        series.unique_id,
        history,
        series.times,
        series.closes,
        about["price"],
        parse_interval(about["interval"]),
        replace(_calendar(series.unique_id, about["calendar"]), label=label),
        stamps[-1],
        notes,
    )
