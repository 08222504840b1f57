"""Rows out of order, rows twice, and rows without a usable price."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from data_pipeline.checks.finding import Finding, Reporter, runs
from data_pipeline.errors import BadInput

MUST_AGREE = ("close", "adj_close", "open", "high", "low", "dividend", "split")


def oldest_first(bars: pd.DataFrame, report: Reporter) -> tuple[pd.DataFrame, list[Finding]]:
    """Sort by time, rows of one time in the order they came. Raises BadInput for a missing time."""
    untimed = bars["ds"].isna().to_numpy()
    if untimed.any():
        row = int(np.argmax(untimed))
        raise BadInput(f"{report.unique_id}: row {row + 1} has no time; remove the row or mend the time")
    times = bars["ds"].to_numpy()
    ticks = times.astype(np.int64)
    late = ticks < np.maximum.accumulate(ticks)
    if not late.any():
        return bars, []
    reversed_ = " (newest first)" if (np.diff(ticks) <= 0).all() else ""
    evidence = f"{late.sum():,} of {len(bars):,} rows stand below a later one{reversed_}"
    found = report.findings("disorder", times[late][:1], [evidence], "sorted")
    return bars.iloc[np.argsort(ticks, kind="stable")].reset_index(drop=True), found


def drop_duplicates(bars: pd.DataFrame, report: Reporter) -> tuple[pd.DataFrame, list[Finding]]:
    """Keep one of the rows of one time, when they agree or only one has a price. `bars` are oldest first.

    Raises BadInput when two rows of one time have different prices.
    """
    times = bars["ds"].to_numpy()
    if not (times[1:] == times[:-1]).any():
        return bars, []
    priced = pd.Series(np.isfinite(bars["close"].to_numpy(np.float64)))
    empty = ~priced.to_numpy() & priced.groupby(times).transform("any").to_numpy()
    full = bars.loc[~empty]
    again = (full["ds"].to_numpy()[1:] == full["ds"].to_numpy()[:-1]).nonzero()[0] + 1
    for name in (name for name in MUST_AGREE if name in bars):
        _refuse_conflict(name, full[name].to_numpy(np.float64), full["ds"].to_numpy(), again, report)
    found = report.findings(
        "duplicate", times[empty], ["no price, beside a row of the same time that has one"] * empty.sum(), "dropped"
    )
    found += report.findings(
        "duplicate", full["ds"].to_numpy()[again], ["same time and prices as the row before"] * len(again), "dropped"
    )
    return full.drop(index=full.index[again]).reset_index(drop=True), found


def _refuse_conflict(name: str, values: np.ndarray, times: np.ndarray, again: np.ndarray, report: Reporter) -> None:
    first, second = values[again - 1], values[again]
    differs = (first != second) & ~(np.isnan(first) & np.isnan(second))
    if differs.any():
        k = int(np.argmax(differs))
        raise BadInput(
            f"{report.unique_id}: conflicting duplicate: {report.label(times[again[k]])[0]} appears twice, with {name} "
            f"{first[k]:g} and {second[k]:g}; remove the wrong row (or give times in UTC, if a clock was set back)"
        )


class Unusable(NamedTuple):
    """Rows that no return can be formed with, shapes (T,) bool."""

    missing: np.ndarray
    nonpositive: np.ndarray


def unusable(bars: pd.DataFrame) -> Unusable:
    """Rows whose close, or adjusted close, is not finite, or is zero or less."""
    missing, nonpositive = np.zeros((2, len(bars)), bool)
    for name in ("close", "adj_close"):
        if name in bars:
            price = bars[name].to_numpy(np.float64)
            missing |= ~np.isfinite(price)
            nonpositive |= price <= 0
    return Unusable(missing, nonpositive & ~missing)


def report_unusable(
    bars: pd.DataFrame, mask: np.ndarray, kind: str, action: str, report: Reporter, why: str = ""
) -> list[Finding]:
    """One finding per stretch of rows in `mask`, (T,) bool; `why` ends the evidence."""
    starts, lengths = runs(mask)
    times = bars["ds"].to_numpy()
    names = [name for name in ("close", "adj_close") if name in bars]
    shown = bars[names].to_numpy(np.float64)[starts]
    values = [", ".join(f"{name} {x:g}" for name, x in zip(names, row, strict=True)) for row in shown]
    evidence = [
        f"{value} ({span}){why}" for value, span in zip(values, report.spans(times, starts, lengths), strict=True)
    ]
    return report.findings(kind, times[starts], evidence, action)
