"""`predict`: the original's question, the next close, answered with its uncertainty beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_pipeline import BadInput, FileOptions
from data_pipeline.storage import read_json
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import parse

BAND = 0.8


@dataclass(frozen=True)
class PredictFlags:
    """Say what the next close may be: the mean of the model's exact law, its 80 % band, the probability of a rise."""

    csv: str
    """File of prices, or anything else that train.py --data takes."""
    checkpoint: str = "runs/daily"
    """Run directory."""
    tokenizer: str | None = None
    """The run carries its tokenizer; another one named here is refused."""
    context_length: int | None = None
    """Last bars that the model reads; default, and at most: its context."""
    temperature: float = 1.0
    """1 only: the band of a sharpened law holds no probability; sample.py takes others."""
    top_k: int | None = None
    """None only: the band of a cut-off law holds no probability; sample.py takes one."""
    asset: str | None = None
    """Which asset of the file; default: the first."""
    as_of: str | None = None
    """Predict as if this were today, a date like 2018-11-30; default: after the last bar."""
    calendar: str | None = None
    """Trading calendar: XNYS, XETR, 24/7, 24/5, …; default: the run's, or inferred from the asset's name."""
    files: FileOptions = field(default_factory=FileOptions)
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> PredictFlags:
    given = parse(PredictFlags, argv, "mqc predict")
    if given.temperature != 1 or given.top_k is not None:
        name = "top_k" if given.temperature == 1 else "temperature"
        raise BadInput(
            f"--{name} {getattr(given, name)}: an 80 % band of another law than the model's would not hold 80 %; "
            "leave it out, or draw with 'mqc sample'"
        )
    if given.context_length is not None and given.context_length < 1:
        raise BadInput(f"--context_length {given.context_length} must be 1 or more")
    return given


def run(flags: PredictFlags, console: Console) -> dict[str, Any]:
    """Read, ask the model once, print."""
    from mqc_jax.commands.forecast import choose
    from mqc_jax.forecasting import Forecaster
    from mqc_jax.forecasting.forecast import time_text
    from mqc_jax.forecasting.possible import check_prices

    use_device(flags.device)
    forecaster = Forecaster.from_run(flags.checkpoint)
    check_prices(flags.checkpoint, forecaster.run.manifest)
    if flags.tokenizer is not None and read_json(Path(flags.tokenizer)) != forecaster.tokenizer.to_json():
        raise BadInput(f"--tokenizer {flags.tokenizer}: not the one {flags.checkpoint} was trained with; leave it out")
    past = choose(flags, flags.csv, forecaster, console)
    next_return = forecaster.laws([past.shortened(flags.context_length or len(past.history.tokens))])
    close, mean = float(past.prices[-1]), float(next_return.law.mean()[0])
    band = next_return.quantile([(1 - BAND) / 2, (1 + BAND) / 2])[0]
    low, high = (close * np.exp(band)).tolist()
    rise = 1 - float(next_return.cdf(0.0)[0, 0])
    bar = None if np.isnat(next_return.ds[0]) else time_text(next_return.ds[0])
    (seen,) = next_return.in_sample
    if seen:
        console.print(f"{time_text(past.cutoff)} lies in the years the model was fitted on: this is no test of it")
    console.print(f"{past.unique_id}: {past.price} after {time_text(past.cutoff)}" + f", for {bar}" * (bar is not None))
    console.print(f"Current close:    {close:,.2f}")
    console.print(f"Expected close:   {close * np.exp(mean):,.2f}, 80 % band {low:,.2f} to {high:,.2f}")
    change = f"80 % band {np.expm1(band[0]):+.2%} to {np.expm1(band[1]):+.2%}"
    console.print(f"Expected change:  {np.expm1(mean):+.2%}, {change}, probability of a rise {rise:.1%}")
    return {
        "asset": past.unique_id,
        "price": past.price,
        "last_bar": time_text(past.cutoff),
        "bar": bar,
        "in_sample": seen,
        "current_close": close,
        "expected_close": close * float(np.exp(mean)),
        "close_band_80_percent": [low, high],
        "expected_change_percent": 100 * float(np.expm1(mean)),
        "change_band_80_percent_in_percent": (100 * np.expm1(band)).tolist(),
        "probability_of_a_rise": rise,
    }
