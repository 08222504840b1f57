"""What a check says, and how it says where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

KINDS = (
    "disorder",
    "duplicate",
    "missing_price",
    "nonpositive_price",
    "gap",
    "outside_session",
    "stale",
    "flat",
    "ohlc_bounds",
    "spike",
    "unit_error",
    "split_unadjusted",
    "dividend_misapplied",
    "large_move",
    "short_history",
)
Unit = Literal["D", "m", "s", "ns"]
SPAN = " to "  # between the first and the last time of a stretch of bars


class Finding(NamedTuple):
    """One thing wrong or odd with one asset at one time."""

    unique_id: str
    ds: str  # the bar it concerns; of a stretch of bars, the first
    kind: str
    evidence: str
    action: str


class Cleaned(NamedTuple):
    """What `inspect` leaves of the bars of one asset."""

    bars: pd.DataFrame  # oldest first, without identical duplicates and unusable bars; no price changed
    breaks: np.ndarray  # (len(bars),) bool: no return leads into this bar, a new piece of history begins
    findings: list[Finding]  # by time


class Reporter(NamedTuple):
    """Writes the findings of one asset, all its times in one style."""

    unique_id: str
    unit: Unit  # the coarsest of days, minutes, seconds and nanoseconds that tells all its times exactly

    @classmethod
    def of(cls, unique_id: str, times: np.ndarray) -> Reporter:
        coarse: tuple[Unit, ...] = ("D", "m", "s")
        for unit in coarse:
            if (times == times.astype(f"datetime64[{unit}]")).all():
                return cls(unique_id, unit)
        return cls(unique_id, "ns")

    def label(self, times: np.ndarray) -> list[str]:
        """Times as text, such as 2024-01-31 or 2024-01-31 09:30."""
        return [str(text).replace("T", " ") for text in np.datetime_as_string(np.atleast_1d(times), self.unit)]

    def findings(self, kind: str, times: np.ndarray, evidence: Iterable[str], action: str) -> list[Finding]:
        """One finding per time; shapes (K,)."""
        named = zip(self.label(times), evidence, strict=True)
        return [Finding(self.unique_id, ds, kind, text, action) for ds, text in named]

    def spans(self, times: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Each run of bars in words: "1 bar", or "3 bars, 2024-01-29 to 2024-01-31"."""
        last = self.label(times[starts + lengths - 1])
        first = self.label(times[starts])
        return [
            "1 bar" if n == 1 else f"{n:,} bars, {a}{SPAN}{b}"
            for n, a, b in zip(lengths.tolist(), first, last, strict=True)
        ]


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and length of every unbroken stretch of True in `mask`, shape (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return edges[::2], edges[1::2] - edges[::2]
