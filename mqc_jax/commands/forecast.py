"""`forecast`: bands for the price of one asset of the run, from simulated paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, TokenDataset
from data_pipeline.rows import CLOCK_NAMES
from data_pipeline.splits import parse_day
from data_pipeline.tokenizers import ReturnTokenizer, VQVAETokenizer
from data_pipeline.tokenizers.scaling import WITHIN_BAR
from mqc_jax.commands.device import Device, use_device
from mqc_jax.commands.paths import check_paths
from mqc_jax.flags import check_picture, check_range, check_seed, parse
from mqc_jax.run import load_run, open_run_dataset

BARS_SHOWN = 252  # a year of days before the cut-off
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


@dataclass(frozen=True)
class ForecastFlags:
    """Simulate the next bars of one asset of the run, and print and draw the bands they fill."""

    checkpoint: str = "runs/daily"
    """Run directory."""
    asset: str | None = None
    """Which asset of the run; default: its first."""
    as_of: str | None = None
    """Forecast as if this were today, a date like 2018-11-30; default: after the last bar."""
    horizon: int = 20
    """Bars ahead."""
    n_paths: int = 1000
    """Paths to simulate; path i depends on --seed and i only."""
    seed: int = 0
    """Seed of the paths."""
    plot: str | None = None
    """Write a picture to this PNG file."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> ForecastFlags:
    given = parse(ForecastFlags, argv, "mqc forecast")
    check_range(given, horizon=10_000, n_paths=100_000)
    check_seed(given.seed)
    if given.plot is not None:
        check_picture(given.plot, "--plot")
    return given


def run(flags: ForecastFlags, console: Console) -> dict[str, Any]:
    """Simulate, print, draw."""
    import jax

    from mqc_jax.forecasting import History, simulate
    from mqc_jax.forecasting.plots import fan_chart

    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    tokenizer = loaded.tokenizer
    if isinstance(tokenizer, VQVAETokenizer):
        raise BadInput(
            f"{flags.checkpoint}: vqvae tokens have no exact likelihood of returns, and no paths are drawn from them "
            "yet; train with another --tokenizer"
        )
    dataset = open_run_dataset(flags.checkpoint, loaded.config) if isinstance(tokenizer, ReturnTokenizer) else None
    if not isinstance(tokenizer, ReturnTokenizer) or dataset is None or dataset.market is None:
        raise BadInput(f"{flags.checkpoint}: trained on bare token ids, so nothing is known of prices; train on prices")
    check_paths(flags.checkpoint, dataset.manifest)
    if dataset.manifest["options"]["signal"] in WITHIN_BAR:
        raise BadInput(f"{flags.checkpoint}: knows moves within bars only, so no price over several; use log_return")
    market = dataset.market
    asset, rows, here = _cutoff(dataset, market.times, flags)
    cutoff = rows[here]
    history = History.of_rows(dataset, asset, cutoff, loaded.config.model.sequence_len)
    future, clock = _future(dataset, asset, market.times[rows], here, flags.horizon)
    (log_returns,) = simulate(
        loaded.model,
        tokenizer,
        [history],
        [jax.random.key(flags.seed)],
        steps=flags.horizon,
        n_paths=flags.n_paths,
        clocks=[clock],
    )
    paths = float(market.closes[cutoff]) * np.exp(np.cumsum(log_returns, axis=1))
    name, last_bar = dataset.assets[asset], _time(market.times[cutoff])
    seen = last_bar[:10] <= dataset.manifest["splits"]["validation_end"]
    if seen:
        console.print(f"{last_bar} lies in the years the model was fitted on: this is no test of it")
    if flags.plot:
        shown = rows[max(0, here - BARS_SHOWN) : here + 1 + flags.horizon]
        fan_chart(
            Path(flags.plot),
            title=f"{name}: {flags.horizon} bars ahead, {flags.n_paths:,} simulated paths" + " (in sample)" * seen,
            cutoff_label=last_bar,
            times=np.asarray(market.times[shown]),
            prices=np.asarray(market.closes[shown]),
            cutoff=min(here, BARS_SHOWN),
            paths=paths,
        )
    bands = np.quantile(paths, QUANTILES, axis=0)
    price = dataset.manifest["assets"][asset]["price"]
    _print(f"{name} after {last_bar} at {price} {float(market.closes[cutoff]):,.2f}", bands, future, console)
    return {
        "asset": name,
        "price": price,
        "last_bar": last_bar,
        "in_sample": seen,
        "last_price": float(market.closes[cutoff]),
        "n_paths": flags.n_paths,
        "bars": future,
        "price_quantiles_by_bar": {f"{q:g}": band.tolist() for q, band in zip(QUANTILES, bands, strict=True)},
    }


def _cutoff(dataset: TokenDataset, times: np.ndarray, flags: ForecastFlags) -> tuple[int, np.ndarray, int]:
    """The asset, the rows of its returns, and which of them is the last that the forecast may see."""
    name = flags.asset or dataset.assets[0]
    if name not in dataset.assets:
        raise BadInput(f"--asset {name}: not in this run; choose one of {', '.join(dataset.assets)}")
    asset = dataset.assets.index(name)
    rows = dataset.asset_rows(asset)
    if flags.as_of is None:
        return asset, rows, len(rows) - 1
    day = parse_day(flags.as_of, "--as_of") + np.timedelta64(1, "D")
    here = int(np.searchsorted(times[rows], day.astype("datetime64[ns]"))) - 1
    if here < 0:
        first = _time(times[rows[0]])
        raise BadInput(f"--as_of {flags.as_of}: too little history of {name}; the first possible day is {first}")
    return asset, rows, here


def _future(
    dataset: TokenDataset, asset: int, times: np.ndarray, here: int, horizon: int
) -> tuple[list[str] | None, np.ndarray | None]:
    """When the bars behind `times[here]` will end, where the asset's calendar knows it, and the clock's inputs."""
    from data_pipeline.calendars import named
    from data_pipeline.resample import parse_interval
    from data_pipeline.shards import clock_ahead

    reads_clock = dataset.manifest["inputs"][-len(CLOCK_NAMES) :] == list(CLOCK_NAMES)
    about = dataset.manifest["assets"][asset]
    if about["calendar"] == "none":
        return None, None
    calendar, interval = replace(named(about["calendar"]), label="end"), parse_interval(about["interval"])
    try:
        future = calendar.next_bars(times[here], horizon, interval)
    except BadInput:
        if reads_clock:
            raise
        return None, None
    clock = np.pad(clock_ahead(future, interval, calendar), ((0, 0), (1, 0)))  # no bar to come is missing
    return [_time(time) for time in future], clock if reads_clock else None


def _time(time: np.datetime64 | np.ndarray) -> str:
    """Date, and the time of day where there is one."""
    return str(np.datetime_as_string(time, "m")).replace("T00:00", "").replace("T", " ")


def _print(title: str, bands: np.ndarray, future: list[str] | None, console: Console) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("ahead", justify="right")
    if future is not None:
        table.add_column("bar")
    shown = range(0, len(QUANTILES), 3 if future and len(future[0]) > len("2019-01-02") else 1)  # fits 80 columns
    for k in shown:
        table.add_column("median" if QUANTILES[k] == 0.5 else f"{QUANTILES[k]:.1%}", justify="right")
    for ahead in sorted({1, min(5, bands.shape[1]), bands.shape[1]}):
        bar = () if future is None else (future[ahead - 1],)
        table.add_row(str(ahead), *bar, *(f"{bands[k, ahead - 1]:,.2f}" for k in shown))
    console.print(table)
