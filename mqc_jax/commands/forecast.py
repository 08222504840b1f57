"""`forecast`: bands for the price of one asset, of a file or of the run, from simulated paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, FileOptions
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import check_picture, check_place, check_range, check_seed, parse

if TYPE_CHECKING:
    from mqc_jax.commands.predict import PredictFlags
    from mqc_jax.forecasting import Forecaster
    from mqc_jax.forecasting.forecast import Forecast
    from mqc_jax.forecasting.histories import Past

BARS_SHOWN = 252  # a year of days before the cut-off


@dataclass(frozen=True)
class ForecastFlags:
    """Simulate the next bars of one asset, and print, draw and write the bands they fill."""

    file: Annotated[str | None, tyro.conf.Positional] = None
    """Prices to forecast: all that train.py --data takes; default: the run's own."""
    checkpoint: str = "runs/daily"
    """Run directory."""
    asset: str | None = None
    """Which asset of them; default: the first."""
    as_of: str | None = None
    """Forecast as if this were today, a date like 2018-11-30; default: after the last bar."""
    horizon: int = 20
    """Bars ahead."""
    level: str = "50,80,95"
    """Widths of the bands, in %."""
    n_paths: int = 1000
    """Paths to simulate; path i depends on --seed, the asset's name and i only."""
    seed: int = 0
    """Seed of the paths."""
    calendar: str | None = None
    """Trading calendar: XNYS, XETR, 24/7, 24/5, …; default: the run's, or inferred from the asset's name."""
    plot: str | None = None
    """Write a picture to this PNG file."""
    out: str | None = None
    """Write the median and the bands of every bar to this CSV file."""
    files: FileOptions = field(default_factory=FileOptions)
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> ForecastFlags:
    from mqc_jax.forecasting.asked import check_levels

    given = parse(ForecastFlags, argv, "mqc forecast")
    check_range(given, horizon=10_000, n_paths=100_000)
    check_seed(given.seed)
    check_levels(_levels(given.level), ())
    if given.plot is not None:
        check_picture(given.plot, "--plot")
    if given.out is not None:
        check_place(given.out, "--out")
    return given


def _levels(text: str) -> list[float]:
    try:
        return sorted(float(word) for word in text.split(","))
    except ValueError:
        raise BadInput(f"--level {text}: give percentages with commas between them, like 50,80,95") from None


def run(flags: ForecastFlags, console: Console) -> dict[str, Any]:
    """Simulate, print, draw, write."""
    from mqc_jax.forecasting import Forecaster
    from mqc_jax.forecasting.forecast import time_text

    use_device(flags.device)
    forecaster, levels = Forecaster.from_run(flags.checkpoint), _levels(flags.level)
    past = choose(flags, flags.file, forecaster, console)
    dated = flags.out is not None
    forecast = forecaster.simulate([past], flags.horizon, n_paths=flags.n_paths, seed=flags.seed, dated=dated)
    (paths,), (seen,) = forecast.values(), forecast.in_sample
    bars = [time_text(time) for time in forecast.dates[0]] or None
    last_bar, last_price = time_text(past.cutoff), float(past.prices[-1])
    if seen:
        console.print(f"{last_bar} lies in the years the model was fitted on: this is no test of it")
    if bars is None:
        console.print(f"no calendar knows the bars to come of {past.unique_id}; --calendar dates them")
    if flags.plot:
        _draw(flags, forecaster, forecast, levels)
    if flags.out:
        forecast.nixtla(levels, (), "price", mean=False).to_csv(flags.out, index=False)
    quantiles = [0.5 - level / 200 for level in reversed(levels)] + [0.5] + [0.5 + level / 200 for level in levels]
    bands = np.quantile(paths, quantiles, axis=0)
    _print(f"{past.unique_id} after {last_bar} at {past.price} {last_price:,.2f}", bands, quantiles, bars, console)
    return {
        "asset": past.unique_id,
        "price": past.price,
        "last_bar": last_bar,
        "in_sample": seen,
        "last_price": last_price,
        "n_paths": flags.n_paths,
        "bars": bars,
        "price_quantiles_by_bar": {f"{q:g}": band.tolist() for q, band in zip(quantiles, bands, strict=True)},
    }


def choose(flags: ForecastFlags | PredictFlags, file: str | None, forecaster: Forecaster, console: Console) -> Past:
    """The asset named, or the first, of a file or of the run; prints what was inferred."""
    name = flags.asset
    if file is None and name is None:
        name = forecaster.run.manifest["assets"][0]["unique_id"]
    assets = None if name is None else [name]
    pasts = forecaster.pasts(file, assets=assets, as_of=flags.as_of, calendar=flags.calendar, **vars(flags.files))
    for note in pasts[0].notes:
        console.print(note)
    if len(pasts) > 1:
        console.print(f"{file}: the first of {len(pasts)} assets; --asset chooses")
    return pasts[0]


def _draw(flags: ForecastFlags, forecaster: Forecaster, forecast: Forecast, levels: Sequence[float]) -> None:
    """The fan chart, with what came after the cut-off where that is known."""
    from mqc_jax.forecasting.forecast import time_text
    from mqc_jax.forecasting.plots import fan_chart

    (past,), (seen,) = forecast.pasts, forecast.in_sample
    times, prices = past.times[-BARS_SHOWN - 1 :], past.prices[-BARS_SHOWN - 1 :]
    here = len(times) - 1
    if flags.as_of is not None:
        (whole,) = forecaster.pasts(flags.file, assets=[past.unique_id], calendar=flags.calendar, **vars(flags.files))
        came = whole.times > past.cutoff
        times = np.append(times, whole.times[came][: flags.horizon])
        prices = np.append(prices, whole.prices[came][: flags.horizon])
    name = f"{past.unique_id}: {flags.horizon} bars ahead, {flags.n_paths:,} simulated paths"
    fan_chart(
        Path(flags.plot or ""),
        title=name + " (in sample)" * seen,
        cutoff_label=time_text(past.cutoff),
        times=times,
        prices=prices,
        cutoff=here,
        paths=forecast.values()[0],
        levels=levels,
    )


def _print(title: str, bands: np.ndarray, quantiles: Sequence[float], bars: list[str] | None, console: Console) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("ahead", justify="right")
    if bars is not None:
        table.add_column("bar")
    middle = len(quantiles) // 2
    wide = bars is not None and len(bars[0]) > len("2019-01-02")  # then all of them do not fit 80 columns
    shown = (0, middle, 2 * middle) if wide else range(len(quantiles))
    for k in shown:
        table.add_column("median" if k == middle else f"{quantiles[k]:.1%}", justify="right")
    for ahead in sorted({1, min(5, bands.shape[1]), bands.shape[1]}):
        bar = () if bars is None else (bars[ahead - 1],)
        table.add_row(str(ahead), *bar, *(f"{bands[k, ahead - 1]:,.2f}" for k in shown))
    console.print(table)
