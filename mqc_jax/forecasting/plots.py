"""Pictures of forecasts. One hue, fading outwards; nothing is drawn without its band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from data_pipeline.picture import picture

LEVELS = (50, 80, 95)  # % of the paths within each band
FADING = LinearSegmentedColormap.from_list("fading", ["#6c9fd0", "#a9c8e6", "#dbe7f4"])  # from the innermost band out
HUE = "#08306b"
ZOOM = 20  # bars of history beside the enlarged fan


def fan_chart(
    path: Path,
    *,
    title: str,
    times: np.ndarray,
    prices: np.ndarray,
    cutoff: int,
    cutoff_label: str,
    paths: np.ndarray,
    levels: Sequence[float] = LEVELS,
    n_thin: int = 10,
) -> None:
    """Draw the past, nested bands of the simulated paths behind the cut-off, a few of the paths, and what came.

    Left at one time scale, right the fan enlarged.

    Args:
      path: where the PNG goes.
      times, prices: (T,) bars, the last ones possibly behind the cut-off.
      cutoff, cutoff_label: index of the last bar the forecast has seen, and its date.
      paths: (n_paths, h) simulated prices of the h bars behind it.
      levels: % of the paths within each band.
      n_thin: how many of the paths to draw.
    """
    with picture(path, 9, 4.2) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1))
        fan = np.concatenate([np.full((len(paths), 1), prices[cutoff]), paths], axis=1)
        step = np.arange(len(prices)) - cutoff
        for axes in (left, right):
            _draw_fan(axes, fan, levels, n_thin if axes is right else 0)
            axes.plot(step[: cutoff + 1], prices[: cutoff + 1], color="black", linewidth=1)
            if cutoff + 1 < len(prices):
                came = step[cutoff:], prices[cutoff:]
                axes.plot(*came, color="black", linewidth=1.2, linestyle=(0, (2, 1)), label="realised")
            axes.axvline(0, color="0.4", linewidth=0.8, linestyle=":")
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        ticks = np.linspace(0, cutoff, 6).round().astype(int)
        left.set_xticks(step[ticks], [str(day) for day in times[ticks].astype("datetime64[D]")])
        left.set_xlim(step[0], fan.shape[1] - 1)
        left.set_ylabel("price", fontsize=9)
        left.set_title(title, loc="left", fontsize=10)
        right.set_xlim(-min(ZOOM, cutoff), fan.shape[1] - 1)
        right.set_xlabel(f"bars after {cutoff_label}", fontsize=9)
        right.legend(frameon=False, fontsize=8, loc="lower left")


def _draw_fan(axes: Axes, fan: np.ndarray, levels: Sequence[float], n_thin: int) -> None:
    ahead = np.arange(fan.shape[1])
    shade = np.linspace(0, 1, len(levels)) if len(levels) > 1 else [0.5]
    for level, colour in sorted(zip(sorted(levels), FADING(shade), strict=True), key=lambda band: -band[0]):
        low, high = np.percentile(fan, [50 - level / 2, 50 + level / 2], axis=0)
        axes.fill_between(ahead, low, high, color=colour, linewidth=0, label=f"{level:g} % band")
    for thin in fan[:n_thin]:
        axes.plot(ahead, thin, color=HUE, linewidth=0.5, alpha=0.6)
    axes.plot(ahead, np.median(fan, axis=0), color=HUE, linewidth=1.6, label="median")
