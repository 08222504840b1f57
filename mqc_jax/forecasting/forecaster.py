"""`Forecaster`: prices in, quantiles, paths and exact laws out, on the dates of the bars to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import numpy as np
import pandas as pd

from data_pipeline import BadInput, FileOptions
from data_pipeline.sources import Frame, open_source
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.forecasting.asked import check_choice, check_levels, whole
from mqc_jax.forecasting.forecast import DECILES, Forecast, Of, Style
from mqc_jax.forecasting.histories import Day, Past, of_dataset, of_source, reads_clock
from mqc_jax.forecasting.next_return import NextReturn, law_of_next
from mqc_jax.forecasting.paths import series_key, simulate
from mqc_jax.forecasting.possible import check_prices, return_tokenizer
from mqc_jax.run import Run, load_run, open_run_dataset

LEVELS = (50, 80, 95)
MOST_BARS, MOST_PATHS, MOST_VALUES = 10_000, 100_000, 500_000_000  # ahead, per series, of all paths of a call

Prices = pd.DataFrame | str | Path | None


class Reading(TypedDict, total=False):
    """Which series are forecast, as of when, and how they are read: the fields of `FileOptions`."""

    assets: Sequence[str] | None  # by name; all
    as_of: Day | None  # nothing later is known; after the last bar
    calendar: str | None  # of all series: XNYS, 24/7, …; the run's, or inferred from each name
    id_col: str | None
    time_col: str | None
    target_col: str | None
    symbol: str | None  # name of the series where no column has it
    separator: str | None
    decimal: str | None
    date_format: str | None
    timezone: str | None  # of times without one; UTC


@dataclass(frozen=True, eq=False)
class Forecaster:
    """A trained run that forecasts any prices of its own timeframe.

    Prices are a frame in any of the shapes that files have (Nixtla's `unique_id, ds, y`; Chronos' `item_id, timestamp,
    target`; yfinance's, flat or by ticker; a date and a close), a path of what `train.py --data` takes, or None: the
    run's own data. They are checked and cut up as for training. The paths of a series depend on `seed`, its name and
    their number only, whatever it is forecast together with.

    Stamps of bars to come are written as those given are; for the run's own data, by when a bar is complete.
    """

    path: str
    run: Run
    tokenizer: ReturnTokenizer

    @classmethod
    def from_run(cls, path: str | Path) -> Self:
        """Read a run directory. Raises BadInput where it cannot forecast, else as `load_run` does."""
        run = load_run(path)
        return cls(str(path), run, return_tokenizer(str(path), run.tokenizer, run.manifest))

    def predict(
        self,
        df: Prices = None,
        h: int = 20,
        *,
        level: Sequence[float] = LEVELS,
        quantiles: Sequence[float] | None = None,
        n_paths: int = 1000,
        seed: int = 0,
        of: Of = "price",
        mean: bool = False,
        style: Style = "nixtla",
        **reading: Unpack[Reading],
    ) -> pd.DataFrame:
        """Quantiles of the next `h` bars, from `n_paths` simulated paths: one row per series and bar.

        Args:
          df: prices; see the class.
          level: widths of the bands in %, each between the quantiles that leave as much below as above.
          quantiles: more quantiles, as columns `mqc-ql0.05`; in Chronos' style those to give instead of the deciles.
          of: "price", of the column that returns are formed from; "return": log return since the last bar; "step": log
            return of each bar, what `forecasting.risk` takes.
          mean: also `mqc-mean`, the mean over the paths.
          style: "nixtla": `unique_id, ds, mqc, mqc-lo-80, mqc-hi-80, …`, or "chronos": `item_id, timestamp,
            target_name, predictions, "0.1", …`. The point forecast, `mqc` or `predictions`, is the median.
          reading: see `Reading`.

        The frame's `attrs` say what it rests on: `cutoff`, `price` (the column), `calendar` and `in_sample` (whether
        the cut-off lies in the years the run was fitted on) per series, `n_paths`, `seed` and `notes`.

        Raises BadInput for what cannot be read or asked, and where no calendar knows the dates of the bars to come.
        """
        check_choice("of", of, Of)
        check_choice("style", style, Style)
        wanted = () if quantiles is None else quantiles
        check_levels(level, wanted)
        forecast = self.simulate(self.pasts(df, **reading), h, n_paths=n_paths, seed=seed, dated=True)
        if style == "chronos":
            return forecast.chronos(DECILES if quantiles is None else wanted, of)
        return forecast.nixtla(level, wanted, of, mean)

    def paths(
        self,
        df: Prices = None,
        h: int = 20,
        *,
        n_paths: int = 1000,
        seed: int = 0,
        of: Of = "price",
        as_array: bool = False,
        **reading: Unpack[Reading],
    ) -> pd.DataFrame | np.ndarray:
        """Joint paths of the next `h` bars: the frame `unique_id, ds, sample_id, mqc`, or an array (M, n_paths, h).

        Arguments and errors as of `predict`; series of the array stand in the order they were given in, and it needs
        no dates.
        """
        check_choice("of", of, Of)
        forecast = self.simulate(self.pasts(df, **reading), h, n_paths=n_paths, seed=seed, dated=not as_array)
        return forecast.values(of) if as_array else forecast.long(of)

    def next_return(self, df: Prices = None, **reading: Unpack[Reading]) -> NextReturn:
        """The exact law of the next log return of each series: density, CDF, quantiles and shortfall, no sampling."""
        return self.laws(self.pasts(df, **reading))

    def pasts(self, df: Prices = None, **reading: Unpack[Reading]) -> list[Past]:
        """The series that `df` holds, up to their cut-offs."""
        columns: dict[str, Any] = dict(reading)
        assets, as_of, calendar = (columns.pop(name, None) for name in ("assets", "as_of", "calendar"))
        options = FileOptions(**columns)
        if df is None:
            dataset = open_run_dataset(self.path, self.run.config)
            return of_dataset(dataset, self.run.config.model.sequence_len, assets, as_of, calendar)
        if isinstance(df, pd.DataFrame):
            source = Frame(df, options)
        elif isinstance(df, str | Path):
            source = open_source(str(df), options)
        else:
            raise BadInput(f"df is a {type(df).__name__}; give a pandas frame, or the path of a file of prices")
        return of_source(self.run, self.tokenizer, source, assets, as_of, calendar, self.path)

    def simulate(
        self, pasts: Sequence[Past], h: int = 20, *, n_paths: int = 1000, seed: int = 0, dated: bool = False
    ) -> Forecast:
        """The paths behind `predict` and `paths`; unless `dated`, no calendar need know the bars to come."""
        check_prices(self.path, self.run.manifest)
        h, n_paths = whole("h", h, 1, MOST_BARS), whole("n_paths", n_paths, 1, MOST_PATHS)
        seed = whole("seed", seed, 0, 2**32 - 1)
        if len(pasts) * n_paths * h > MOST_VALUES:
            raise BadInput(
                f"{len(pasts)} series × {n_paths} paths × {h} bars are more than {MOST_VALUES:,} values; ask for "
                "fewer paths, or for fewer series at a time"
            )
        clocked = reads_clock(self.run)
        dates = [_dates(past, h, needed=dated or (clocked and past.calendar.name != "none")) for past in pasts]
        clocks = [
            past.clock_ahead(ahead) if clocked and len(ahead) else None
            for past, ahead in zip(pasts, dates, strict=True)
        ]
        log_returns = simulate(
            self.run.model,
            self.tokenizer,
            [past.history for past in pasts],
            [series_key(seed, past.unique_id) for past in pasts],
            steps=h,
            n_paths=n_paths,
            clocks=clocks,
        )
        return Forecast(self.path, seed, pasts, dates, [self._in_sample(past) for past in pasts], log_returns)

    def laws(self, pasts: Sequence[Past]) -> NextReturn:
        """The laws behind `next_return`."""
        dates = [_dates(past, 1, needed=False) for past in pasts]
        return NextReturn(
            tuple(past.unique_id for past in pasts),
            np.array([ahead[0] if len(ahead) else np.datetime64("NaT") for ahead in dates], "datetime64[ns]"),
            np.array([past.cutoff for past in pasts]),
            np.array([past.prices[-1] for past in pasts]),
            tuple(self._in_sample(past) for past in pasts),
            law_of_next(self.run.model, self.tokenizer, pasts),
        )

    def _in_sample(self, past: Past) -> bool:
        return str(past.cutoff)[:10] <= self.run.manifest["splits"]["validation_end"]


def _dates(past: Past, h: int, *, needed: bool) -> np.ndarray:
    """Stamps of the next bars, (h,), or none where no calendar knows them and they are not `needed`."""
    try:
        return past.bars_ahead(h)
    except BadInput:
        if needed:
            raise
        return np.empty(0, "datetime64[ns]")
