"""A picture of what the checks found in one asset: where on the price, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from data_pipeline.checks import KINDS, Finding
from data_pipeline.picture import picture

# Okabe & Ito's colours, which the colour-blind can tell apart; no two kinds share both colour and shape
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">", "p", "h", "d", "8", "H")
COLUMNS = 1200  # of pixels; the line shows the lowest and the highest price in each
CROWD = 40  # markers of one kind; more are drawn smaller


def findings_chart(path: Path, bars: pd.DataFrame, findings: Sequence[Finding], title: str) -> None:
    """Draw the closes of one asset on a log axis, every finding on them, and below when each kind occurs.

    Args:
      path: where the PNG goes.
      bars: of one asset, as delivered or cleaned; prices that are missing or not positive are not drawn.
      findings: of that asset.
    """
    times, prices = _drawable(bars)
    kinds = [kind for kind in KINDS if any(finding.kind == kind for finding in findings)]
    height = 0.5 + 0.22 * max(1, len(kinds))
    with picture(path, 9, 3.6 + height) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.6, height))
        above.plot(*_envelope(times, prices), color="0.55", linewidth=0.7, zorder=1)
        for level, kind in enumerate(kinds):
            found = np.array([finding.ds for finding in findings if finding.kind == kind], "datetime64[ns]")
            _mark(above, below, kind, found, _price_at(found, times, prices), level)
        below.set_yticks(range(len(kinds)), kinds)
        below.set_ylim(max(1, len(kinds)) - 0.5, -0.5)
        if len(prices):
            above.set_yscale("log")
            wide = prices.max() > 5 * prices.min()
            above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6))
        above.yaxis.set_major_formatter("{x:,g}")
        above.yaxis.set_minor_formatter(NullFormatter())
        above.set_ylabel("close", fontsize=9)
        above.set_title(title, loc="left", fontsize=10)
        locator = AutoDateLocator()
        below.xaxis.set_major_locator(locator)
        below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        if kinds:
            figure.legend(loc="outside right upper", frameon=False, fontsize=8)


def _mark(above: Axes, below: Axes, kind: str, times: np.ndarray, prices: np.ndarray, level: int) -> None:
    which = KINDS.index(kind)
    colour, shape = COLOURS[which % len(COLOURS)], SHAPES[which]
    size = 26 if len(times) <= CROWD else 8
    label = f"{kind} ({len(times):,})"
    above.scatter(times, prices, size, color=colour, marker=shape, label=label, zorder=2, linewidths=0)
    below.vlines(times, level - 0.4, level + 0.4, color=colour, linewidth=0.8)


def _drawable(bars: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    bars = bars.sort_values("ds", kind="stable")
    prices = bars["close"].to_numpy(np.float64)
    good = np.isfinite(prices) & (prices > 0)
    return bars["ds"].to_numpy().astype("datetime64[ns]")[good], prices[good]


def _envelope(times: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 2 `COLUMNS` of the points, in order: the lowest and the highest of each stretch of time."""
    if len(times) <= 2 * COLUMNS:
        return times, prices
    column = np.minimum(COLUMNS * ((times - times[0]) / (times[-1] - times[0])), COLUMNS - 1).astype(int)
    by_price = np.lexsort((prices, column))
    edges = np.flatnonzero(np.diff(column[by_price], prepend=-1, append=COLUMNS))
    shown = np.unique(np.concatenate([by_price[edges[:-1]], by_price[edges[1:] - 1]]))
    return times[shown], prices[shown]


def _price_at(found: np.ndarray, times: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The price that is drawn at, or last before, each time; the first price before it."""
    if not len(times):
        return np.ones(len(found))
    return prices[np.maximum(np.searchsorted(times, found, side="right") - 1, 0)]
