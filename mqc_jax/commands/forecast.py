"""`forecast`: bands for the price of one asset of the run, from simulated paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, TokenDataset
from data_pipeline.dataset import parse_day
from data_pipeline.tokenizers.base import ReturnTokenizer
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import check_place, check_range, check_seed, parse
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
        check_place(given.plot, "--plot")
        if not given.plot.endswith(".png"):
            raise BadInput(f"--plot {given.plot}: pictures are PNG files; give a name that ends in .png")
    return given


def run(flags: ForecastFlags, console: Console) -> dict[str, Any]:
    """Simulate, print, draw."""
    import jax

    from mqc_jax.decoding import Sampler
    from mqc_jax.forecasting import History, path_returns, sample_tokens
    from mqc_jax.forecasting.plots import fan_chart

    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    tokenizer = loaded.tokenizer
    dataset = open_run_dataset(flags.checkpoint, loaded.config) if isinstance(tokenizer, ReturnTokenizer) else None
    if not isinstance(tokenizer, ReturnTokenizer) or dataset is None or dataset.market is None:
        raise BadInput(f"{flags.checkpoint}: trained on bare token ids, so nothing is known of prices; train on prices")
    market = dataset.market
    asset, begin, cutoff, end = _cutoff(dataset, market.times, flags)
    history = History.of_returns(
        tokenizer, np.asarray(market.returns[begin : cutoff + 1]), loaded.config.model.sequence_len
    )
    tokens = sample_tokens(
        loaded.model,
        tokenizer,
        history,
        jax.random.key(flags.seed),
        steps=flags.horizon,
        n_paths=flags.n_paths,
        sampler=Sampler(),
    )
    log_returns = path_returns(tokenizer, history, tokens)
    paths = float(market.closes[cutoff]) * np.exp(np.cumsum(log_returns, axis=1))
    last_bar = _time(market.times[cutoff])
    seen = last_bar[:10] <= dataset.manifest["splits"]["validation_end"]
    if seen:
        console.print(f"{last_bar} lies in the years the model was fitted on: this is no test of it")
    if flags.plot:
        shown = slice(max(begin, cutoff - BARS_SHOWN), min(end, cutoff + 1 + flags.horizon))
        fan_chart(
            Path(flags.plot),
            title=f"{asset}: {flags.horizon} bars ahead, {flags.n_paths:,} simulated paths" + " (in sample)" * seen,
            cutoff_label=last_bar,
            times=np.asarray(market.times[shown]),
            prices=np.asarray(market.closes[shown]),
            cutoff=cutoff - shown.start,
            paths=paths,
        )
    bands = np.quantile(paths, QUANTILES, axis=0)
    _print(asset, last_bar, float(market.closes[cutoff]), bands, console)
    return {
        "asset": asset,
        "last_bar": last_bar,
        "in_sample": seen,
        "last_price": float(market.closes[cutoff]),
        "n_paths": flags.n_paths,
        "price_quantiles_by_bar": {f"{q:g}": band.tolist() for q, band in zip(QUANTILES, bands, strict=True)},
    }


def _cutoff(dataset: TokenDataset, times: np.ndarray, flags: ForecastFlags) -> tuple[str, int, int, int]:
    """The asset, its first row, the last row the forecast may see, and its end."""
    asset = flags.asset or dataset.assets[0]
    if asset not in dataset.assets:
        raise BadInput(f"--asset {asset}: not in this run; choose one of {', '.join(dataset.assets)}")
    begin, train, _, _, end = (int(row) for row in dataset.segments[dataset.assets.index(asset)])
    if flags.as_of is None:
        return asset, begin, end - 1, end
    day = parse_day(flags.as_of, "--as_of") + np.timedelta64(1, "D")
    cutoff = begin + int(np.searchsorted(times[begin:end], day.astype("datetime64[ns]"))) - 1
    if cutoff < train:
        first = _time(times[train])
        raise BadInput(f"--as_of {flags.as_of}: too little history of {asset}; the first possible day is {first}")
    return asset, begin, cutoff, end


def _time(time: np.datetime64) -> str:
    """Date, and the time of day where there is one."""
    return np.datetime_as_string(time, "m").replace("T00:00", "").replace("T", " ")


def _print(asset: str, last_bar: str, price: float, bands: np.ndarray, console: Console) -> None:
    table = Table(title=f"{asset} after {last_bar} at {price:,.2f}", title_justify="left", box=None)
    table.add_column("bars ahead", justify="right")
    for q in QUANTILES:
        table.add_column("median" if q == 0.5 else f"{q:.1%}", justify="right")
    for ahead in sorted({1, min(5, bands.shape[1]), bands.shape[1]}):
        table.add_row(str(ahead), *(f"{band[ahead - 1]:,.2f}" for band in bands))
    console.print(table)
