"""The season of the day: within a day, volatility follows the clock, and a GARCH that does not know it is a straw man.

Returns are divided by the usual size of their time of day before a classic sees them, and its laws are stretched by it:
the diurnal factor of Andersen and Bollerslev (1997), as a table. Daily bars have one time of day, and no season.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mqc_jax.evaluation.classics.panel import Asset, Fit, Refit, scored_rows
from mqc_jax.evaluation.combined import Scaled, concatenate
from mqc_jax.laws.law import Law

PRIOR_RETURNS = 50  # of usual size, that are added to those of each time of day


def in_season(baseline: Callable[..., Law], asset: Asset, refits: Sequence[Refit], fit: Fit | None = None) -> Law:
    """The laws of `baseline` at the scored rows; each refit knows the seasons of the returns before it."""
    if len(np.unique(_time_of_day(asset.times))) == 1:
        return baseline(asset, refits, fit)
    laws = []
    for refit in refits:
        rows = scored_rows(asset, [refit])
        if len(rows):
            factor = seasonal_factor(asset, int(np.searchsorted(asset.times, refit.train_end)))
            log_range = None if asset.log_range is None else asset.log_range - np.log(factor)
            level = Asset.of(asset.name, asset.times, asset.returns / factor, log_range)
            laws.append(Scaled(baseline(level, [refit], fit), factor[rows]))
    return concatenate(laws)


def seasonal_factor(asset: Asset, n_past: int) -> np.ndarray:
    """How large returns are at the time of day of each, over the usual, (T,); known after the first `n_past`."""
    _, slot_T = np.unique(_time_of_day(asset.times), return_inverse=True)
    size = (asset.returns / asset.volatility)[:n_past] ** 2
    size = np.minimum(size / size.mean(), 25.0)  # a single crash is no season
    count = np.bincount(slot_T[:n_past], minlength=slot_T.max() + 1)
    mean = (np.bincount(slot_T[:n_past], size, len(count)) + PRIOR_RETURNS) / (count + PRIOR_RETURNS)
    return np.sqrt(mean)[slot_T]


def _time_of_day(times: np.ndarray) -> np.ndarray:
    return times - times.astype("datetime64[D]")
