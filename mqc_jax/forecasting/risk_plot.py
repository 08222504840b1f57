"""A picture of what simulated paths may lose on their way: how deep they fall, and by when they touch a barrier.

Axis letters: P paths  S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from data_pipeline.errors import BadInput
from data_pipeline.picture import picture
from mqc_jax.forecasting.plots import HUE
from mqc_jax.forecasting.risk import FEWEST_BEYOND, drawdown_quantile, drawdowns, first_passage_time

Z95 = 1.96
LEVELS = (0.5, 0.05, 0.01)  # of the drawdowns marked, those that the paths are enough for
STYLES = ((HUE, "-", "o", "#a9c8e6"), ("#D55E00", (0, (5, 1.5)), "s", "#f6c9a8"), ("0.35", (0, (1, 1)), "D", "0.85"))
MOST_MARKED = 60  # steps that are drawn as points too


def risk_picture(path: Path, paths_PS: np.ndarray, barriers: Sequence[float], *, title: str) -> None:
    """Draw how often the paths fall deeper than so much, and by when they have touched each barrier.

    Bands and bars are 95 % intervals of the simulation.

    Args:
      path: where the PNG goes.
      paths_PS: log returns.
      barriers: one to three simple returns on today's price, as −0.10 for a fall of 10 %.
      title: of the picture.

    Raises BadInput as `drawdowns` and `first_passage_time` do, for other numbers of barriers, and for fewer than 20
    paths.
    """
    if not 1 <= len(barriers) <= len(STYLES):
        raise BadInput(f"{len(barriers)} barriers do not fit one picture; give 1 to {len(STYLES)}")
    with picture(path, 9, 4.4) as figure:
        left, right = figure.subplots(1, 2)
        _draw_drawdowns(left, paths_PS)
        left.set_title(title, loc="left", fontsize=10)
        for barrier, style in zip(barriers, STYLES, strict=False):
            _draw_passage(right, paths_PS, barrier, *style)
        right.set_ylim(bottom=0)
        right.set_xlabel("bars ahead", fontsize=9)
        right.set_ylabel("touched by the close of this bar, % of paths", fontsize=9)
        right.set_title("Barriers touched on the way", loc="left", fontsize=10)
        right.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for axes in (left, right):
            axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)


def _draw_drawdowns(axes: Axes, paths_PS: np.ndarray) -> None:
    horizon = np.shape(paths_PS)[-1]
    fall_P = -100 * np.sort(drawdowns(paths_PS, horizon))
    n_paths = len(fall_P)
    deeper_P = np.arange(n_paths) / n_paths
    half_P = Z95 * np.sqrt(deeper_P * (1 - deeper_P) / n_paths)
    axes.fill_between(fall_P, 100 * (deeper_P - half_P), 100 * (deeper_P + half_P), color=STYLES[0][3], linewidth=0)
    axes.plot(fall_P, 100 * deeper_P, color=HUE, linewidth=1.4)
    enough = [level for level in LEVELS if level * n_paths >= FEWEST_BEYOND] or LEVELS[:1]
    for level, (_, _, marker, _) in zip(enough, STYLES, strict=False):
        found = drawdown_quantile(paths_PS, level, horizon)
        fall, half = -100 * found.value, 100 * Z95 * found.standard_error
        told = f"{100 * level:g} % of the paths fall more than {fall:.1f} ± {half:.1f} %"
        axes.errorbar([fall], [100 * level], xerr=[half], fmt=marker, color="black", capsize=3, label=told)
    axes.set(xlim=(0, None), ylim=(0, 100))
    axes.set_xlabel(f"deepest fall from a peak within {horizon} bars, %", fontsize=9)
    axes.set_ylabel("paths that fall more, %", fontsize=9)


def _draw_passage(
    axes: Axes, paths_PS: np.ndarray, barrier: float, color: str, linestyle: object, marker: str, pale: str
) -> None:
    found = first_passage_time(paths_PS, barrier)
    step_S, share_S = np.arange(1, len(found.by_S) + 1), 100 * found.by_S
    half_S = 100 * Z95 * found.by_standard_error_S
    axes.fill_between(step_S, np.maximum(share_S - half_S, 0), share_S + half_S, color=pale, alpha=0.6, linewidth=0)
    axes.plot(
        step_S,
        share_S,
        color=color,
        linestyle=linestyle,
        linewidth=1.4,
        marker=marker if len(step_S) <= MOST_MARKED else "",
        markersize=4,
        label=f"{100 * barrier:+g} %: touched by {share_S[-1]:.1f} ± {half_S[-1]:.1f} % of the paths".replace("-", "−"),
    )
