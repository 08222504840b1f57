"""Bars that the calendar expected and that are not there, and bars it did not expect."""

from __future__ import annotations

import numpy as np

from data_pipeline.calendars import Calendar
from data_pipeline.checks.finding import SPAN, Finding, Reporter

LONGEST_KEPT = 5  # missing bars that one return may reach across


def fitted(calendar: Calendar, times: np.ndarray) -> tuple[Calendar, np.ndarray]:
    """`calendar` with the label that suits `times`, (T,) and increasing, and which of them it does not expect."""
    if calendar.name == "none" or len(times) < 2:
        return calendar, np.zeros(len(times), bool)
    calendar, expected = calendar.fit(times)
    return calendar, ~expected


def report_outside(times: np.ndarray, outside: np.ndarray, calendar: Calendar, report: Reporter) -> list[Finding]:
    """One finding for all bars of an asset at times when `calendar` is closed."""
    strange = times[outside]
    if not len(strange):
        return []
    last = f", the last {report.label(strange[-1])[0]}" if len(strange) > 1 else ""
    evidence = f"{len(strange):,} of {len(times):,} bars at no bar time of {calendar.name}{last}"
    return report.findings("outside_session", strange[:1], [evidence], "kept")


def report_gaps(times: np.ndarray, missing_before: np.ndarray, report: Reporter) -> tuple[np.ndarray, list[Finding]]:
    """Where history is cut, (T,) bool, and one finding per gap, at the bar that ends it."""
    cut = missing_before > LONGEST_KEPT
    kept = (missing_before > 0) & ~cut
    return cut, [
        *_gaps(times, missing_before, kept, "kept", report),
        *_gaps(times, missing_before, cut, "break", report),
    ]


def _gaps(
    times: np.ndarray, missing_before: np.ndarray, where: np.ndarray, action: str, report: Reporter
) -> list[Finding]:
    rows = np.flatnonzero(where)
    before = report.label(times[rows - 1])
    after = report.label(times[rows])
    evidence = [
        f"{n:,} bar{'s' * (n > 1)} missing, {a}{SPAN}{b}"
        for n, a, b in zip(missing_before[rows].tolist(), before, after, strict=True)
    ]
    return report.findings("gap", times[rows], evidence, action)
