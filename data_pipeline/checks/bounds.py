"""Open, high, low and close that cannot belong to one bar."""

from __future__ import annotations

import numpy as np

from data_pipeline.checks.finding import Finding, Reporter, runs
from data_pipeline.checks.history import History

ROUNDING = 1e-6  # relative: prices are printed, converted and divided by split ratios


def report_bounds(history: History, report: Reporter) -> list[Finding]:
    """One finding per stretch of bars whose high or low lies inside, or whose open, high or low is not positive."""
    columns = history.columns
    broken = np.zeros(len(history.times), bool)
    body = [columns[name] for name in ("open", "close") if name in columns]
    if "high" in columns:
        broken |= columns["high"] < np.fmax.reduce(body) * (1 - ROUNDING)
    if "low" in columns:
        broken |= columns["low"] > np.fmin.reduce(body) * (1 + ROUNDING)
    known = [name for name in ("open", "high", "low", "close") if name in columns]
    for name in known:
        broken |= columns[name] <= 0
    starts, lengths = runs(broken)
    shown = np.stack([columns[name][starts] for name in known], axis=1)
    values = [", ".join(f"{name} {x:g}" for name, x in zip(known, row, strict=True)) for row in shown]
    spans = report.spans(history.times, starts, lengths)
    evidence = [f"{value} ({span})" for value, span in zip(values, spans, strict=True)]
    return report.findings("ohlc_bounds", history.times[starts], evidence, "kept")
