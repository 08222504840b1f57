"""`inspect`: every check over the bars of one asset, in the order in which one depends on another."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data_pipeline.calendars import Calendar, bar_interval
from data_pipeline.checks import levels, rows, times
from data_pipeline.checks.adjustments import report_adjustments
from data_pipeline.checks.bounds import report_bounds
from data_pipeline.checks.finding import Cleaned, Finding, Reporter
from data_pipeline.checks.history import DAY, LEAST, History
from data_pipeline.checks.quiet import report_quiet
from data_pipeline.checks.spikes import spikes


def inspect(bars: pd.DataFrame, calendar: Calendar) -> Cleaned:
    """Check the raw bars of one asset (see the package's table of findings); columns without any value are left out.

    Raises BadInput for a row without a time, and for two rows of one time with different prices.
    """
    if bars.empty:
        return Cleaned(bars, np.zeros(0, bool), [])
    empty = [name for name in bars if name not in ("unique_id", "ds", "close") and bars[name].isna().to_numpy().all()]
    bars = bars.drop(columns=empty).reset_index(drop=True)
    report = Reporter.of(str(bars["unique_id"].iloc[0]), bars["ds"].to_numpy().astype("datetime64[ns]"))
    bars, found = rows.oldest_first(bars, report)
    bars, duplicates = rows.drop_duplicates(bars, report)
    found += duplicates
    bars, cut, missing_before, interval, gone = _usable(bars, calendar, report)
    found += gone
    if len(bars):
        history = History.of(bars, missing_before, interval)
        dropped, cut, odd = _judge(history, cut, report)
        found += odd
        bars, cut = bars.loc[~dropped].reset_index(drop=True), _carry(cut, ~dropped)
        cut[:1] = True
    return Cleaned(bars, cut, sorted(found, key=lambda finding: finding.ds))


def _usable(
    bars: pd.DataFrame, calendar: Calendar, report: Reporter
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.timedelta64, list[Finding]]:
    """Bars with a price, where history is cut before them, bars missing before them, the interval, findings."""
    stamps = bars["ds"].to_numpy().astype("datetime64[ns]")
    interval = bar_interval(stamps) if len(stamps) > 1 else DAY
    calendar, outside = times.fitted(calendar, stamps)
    bad = rows.unusable(bars)
    holiday = bad.missing & outside
    found = rows.report_unusable(
        bars, holiday, "missing_price", "dropped", report, f", while {calendar.name} is closed"
    )
    bars, stamps, outside = bars.loc[~holiday].reset_index(drop=True), stamps[~holiday], outside[~holiday]
    missing, nonpositive = bad.missing[~holiday], bad.nonpositive[~holiday]
    found += times.report_outside(stamps, outside, calendar, report)
    missing_before = calendar.gap_bars(stamps, interval)
    cut, gaps = times.report_gaps(stamps, missing_before, report)
    found += gaps
    found += rows.report_unusable(bars, missing, "missing_price", "dropped, break", report)
    found += rows.report_unusable(bars, nonpositive, "nonpositive_price", "dropped, break", report)
    kept = ~(missing | nonpositive)
    return bars.loc[kept].reset_index(drop=True), _carry(cut | ~kept, kept), missing_before[kept], interval, found


def _carry(cut: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Cuts before kept rows, those of the rows dropped since the kept row before included; shapes (T,) → (kept,)."""
    carried = np.zeros(kept.sum() + 1, bool)
    carried[(np.cumsum(kept) - kept)[cut]] = True
    return carried[:-1]


def _judge(history: History, cut: np.ndarray, report: Reporter) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Bars to drop, cuts (both (T,) bool), and the findings of everything that concerns prices."""
    found = report_quiet(history, report) + report_bounds(history, report) + _short(history, report)
    wrong, adjustments = report_adjustments(history, report)
    found += adjustments
    cut, dropped = cut | wrong, np.zeros(len(cut), bool)
    spike = spikes(history)
    dropped[spike] = cut[spike] = cut[spike + 1] = True
    power = np.rint(history.log_returns[spike] / levels.TEN)
    off = np.abs(history.log_returns[spike] - power * levels.TEN)
    of_unit = (np.abs(power) > 1) & (off < levels.UNIT_TOLERANCE[0])
    for kind, which in (("unit_error", spike[of_unit]), ("spike", spike[~of_unit])):
        found += _moves(kind, which, history, "dropped, break", report)
    for kind, find in (
        ("unit_error", levels.unit_changes),
        ("split_unadjusted", levels.recorded_splits),
        ("split_unadjusted", levels.likely_splits),
    ):
        row = find(history, cut)
        found += _moves(kind, row, history, "break", report)
        cut[row] = True
    found += _moves("large_move", levels.large_moves(history, cut), history, "kept", report)
    return dropped, cut, found


def _moves(kind: str, row: np.ndarray, history: History, action: str, report: Reporter) -> list[Finding]:
    name = "adj_close" if "adj_close" in history.columns else "close"
    price, move, sigma = history.columns[name], history.log_returns, history.sigma
    evidence = [
        f"{name} {price[t - 1]:g} to {price[t]:g} (×{np.exp(move[t]):.4g}, {move[t] / sigma[t]:+.1f}σ)"
        + (f", then {price[t + 1]:g}" if t + 1 < len(price) else "")
        for t in row.tolist()
    ]
    return report.findings(kind, history.times[row], evidence, action)


def _short(history: History, report: Reporter) -> list[Finding]:
    moves = np.count_nonzero(history.log_returns)
    if moves >= 2 * LEAST:
        return []
    evidence = [f"{moves} moves: too few to tell spikes, splits and changes of unit by"]
    return report.findings("short_history", history.times[:1], evidence, "kept")
