"""Prices that stand still: longer than chance allows, or always."""

from __future__ import annotations

import numpy as np

from data_pipeline.checks.finding import Finding, Reporter, runs
from data_pipeline.checks.history import History

LEAST_BARS = 5
EXPECTED = 1e-3  # runs this long that chance would put into the whole series
HABIT = 20  # runs of a length that make it a habit of the series


def report_quiet(history: History, report: Reporter) -> list[Finding]:
    """A finding for every stale run, or a single one when the price never moves."""
    close = history.columns["close"]
    if len(close) > 1 and (close == close[0]).all():
        evidence = [f"close {close[0]:g} in all {len(close):,} bars"]
        return report.findings("flat", history.times[:1], evidence, "kept")
    starts, lengths = stale_runs(history)
    spans = report.spans(history.times, starts, lengths)
    evidence = [f"close {price:g} in {span}" for price, span in zip(close[starts].tolist(), spans, strict=True)]
    return report.findings("stale", history.times[starts], evidence, "kept")


def stale_runs(history: History) -> tuple[np.ndarray, np.ndarray]:
    """First rows and lengths in bars, (K,) each, of runs of unchanged bars too long for chance.

    A run of k repeats in a series with N runs is stale when N q^(k-1) < `EXPECTED`: the tail of the geometric
    distribution, q being the chance that a run goes on. q is the series' own, as heavy as any part of the tail that it
    shows at least `HABIT` times, so that neither a few faults nor quiet hours full of equal ticks deceive it.
    """
    starts, repeats = runs(_repeats(history))
    if not len(starts):
        return starts, repeats
    longer = np.cumsum(np.bincount(repeats)[::-1])[::-1]  # longer[m]: runs of at least m repeats
    m = np.arange(2, max(2, np.searchsorted(-longer, -HABIT, side="right")))
    tail = (longer[m] / len(starts)) ** (1 / (m - 1))
    continues = tail.max(initial=len(starts) / len(history.times))
    stale = (repeats >= LEAST_BARS - 1) & (len(starts) * continues ** (repeats - 1.0) < EXPECTED)
    return starts[stale] - 1, repeats[stale] + 1


def _repeats(history: History) -> np.ndarray:
    """Bars (T,) with the close of the bar before, and no sign of trading where the other columns could show one."""
    columns = history.columns
    same = {name: np.diff(values, prepend=np.nan) == 0 for name, values in columns.items()}
    repeats = same["close"]
    for name in ("open", "high", "low"):
        if name in columns:
            repeats = repeats & (same[name] | (columns[name] == columns["close"]) | np.isnan(columns[name]))
    if "volume" in columns:
        repeats = repeats & (same["volume"] | (columns["volume"] == 0) | np.isnan(columns["volume"]))
    return repeats
