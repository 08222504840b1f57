"""Pictures of forecasts. One hue, fading outwards; nothing is drawn without its band."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

BANDS = {95: 0.15, 80: 0.25, 50: 0.4}  # % of the paths: how dark
HUE = "#08519c"
ZOOM = 20  # bars of history beside the enlarged fan


def fan_chart(
    path: Path,
    *,
    title: str,
    times: np.ndarray,
    prices: np.ndarray,
    cutoff: int,
    paths: np.ndarray,
    n_thin: int = 10,
) -> None:
    """Draw the past, nested bands of the simulated paths behind the cut-off, a few of the paths, and what came.

    Left at one time scale, right the fan enlarged.

    Args:
      path: where the PNG goes.
      times, prices: (T,) bars, the last ones possibly behind the cut-off.
      cutoff: index of the last bar the forecast has seen.
      paths: (n_paths, h) simulated prices of the h bars behind it.
      n_thin: how many of the paths to draw.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 4.2), dpi=150, layout="constrained", sharey=True, width_ratios=(1.7, 1)
    )
    fan = np.concatenate([np.full((len(paths), 1), prices[cutoff]), paths], axis=1)
    step = np.arange(len(prices)) - cutoff
    for axes in (left, right):
        _draw_fan(axes, fan, n_thin if axes is right else 0)
        axes.plot(step[: cutoff + 1], prices[: cutoff + 1], color="black", linewidth=1)
        if cutoff + 1 < len(prices):
            axes.plot(
                step[cutoff:], prices[cutoff:], color="black", linewidth=1.2, linestyle=(0, (2, 1)), label="realised"
            )
        axes.axvline(0, color="0.4", linewidth=0.8, linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    months = times.astype("datetime64[M]")
    ticks = np.flatnonzero(months[1:] != months[:-1])[::2] + 1
    left.set_xticks(step[ticks], [str(month) for month in months[ticks]])
    left.set_xlim(step[0], fan.shape[1] - 1)
    left.set_ylabel("price", fontsize=9)
    left.set_title(title, loc="left", fontsize=10)
    right.set_xlim(-min(ZOOM, cutoff), fan.shape[1] - 1)
    right.set_xlabel(f"bars after {np.datetime_as_string(times[cutoff], 'D')}", fontsize=9)
    right.legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(path)
    plt.close(figure)


def _draw_fan(axes: Axes, fan: np.ndarray, n_thin: int) -> None:
    ahead = np.arange(fan.shape[1])
    for level, shade in BANDS.items():
        low, high = np.percentile(fan, [50 - level / 2, 50 + level / 2], axis=0)
        axes.fill_between(ahead, low, high, color=HUE, alpha=shade, linewidth=0, label=f"{level} % band")
    for thin in fan[:n_thin]:
        axes.plot(ahead, thin, color=HUE, linewidth=0.5, alpha=0.7)
    axes.plot(ahead, np.median(fan, axis=0), color=HUE, linewidth=1.6, label="median")
