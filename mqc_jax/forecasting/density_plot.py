"""A picture of laws of the next return, side by side: the middle as it is, the tails on a logarithmic scale.

Axis letters: M points of the axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from data_pipeline.errors import BadInput
from data_pipeline.picture import picture
from mqc_jax.forecasting.plots import HUE
from mqc_jax.laws.law import Law

MARKED = {0.05: "white", 0.01: None}  # levels of the quantiles marked, hollow and full
MIDDLE, TAILS = 0.005, 0.0002  # how far either panel reaches: the quantiles at this level on both sides, at the widest
FLOOR = 1e-4  # of the peak, where the logarithmic scale ends
INTERVALS = 150


class Style(NamedTuple):
    """What tells a law from the others in colour and without."""

    color: str
    linestyle: Any
    linewidth: float
    marker: str


STYLES = (
    Style(HUE, "-", 1.8, "o"),
    Style("#D55E00", (0, (5, 1.5)), 1.5, "s"),
    Style("0.45", (0, (1, 1)), 1.5, "D"),
    Style("#009E73", (0, (5, 1.5, 1, 1.5)), 1.5, "^"),
)


def next_return_density(path: Path, laws: Mapping[str, Law], *, title: str) -> None:
    """Draw the density of the next log return under each law, its 5 % and 1 % quantiles marked.

    The height is the mean density over a 150th of the axis, so that a narrow bin of unchanged prices is no spike.

    Args:
      path: where the PNG goes.
      laws: at most four by name, of one row each; the first is drawn strongest.
      title: of the picture.

    Raises BadInput for no law, more than four, and one that is not of a single row.
    """
    if not 1 <= len(laws) <= len(STYLES):
        raise BadInput(f"{len(laws)} laws do not fit one picture; give 1 to {len(STYLES)}")
    for name, law in laws.items():
        if len(law) != 1:
            raise BadInput(f"the law {name} has {len(law)} rows; take one: law.take([0])")
    with picture(path, 9, 4) as figure:
        left, right = figure.subplots(1, 2)
        for axes, level in ((left, MIDDLE), (right, TAILS)):
            ends = np.array([quantiles(law, np.array([level, 1 - level])) for law in laws.values()])
            edges = np.linspace(ends.min(), ends.max(), INTERVALS + 1)
            for (name, law), style in zip(laws.items(), STYLES, strict=False):
                _draw_law(axes, name, law, style, edges)
            axes.set_xlim(100 * edges[0], 100 * edges[-1])
            axes.set_xlabel("next log return, %", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        left.set_ylim(bottom=0)
        left.set_ylabel("density, % of probability per % of return", fontsize=9)
        left.set_title(title, loc="left", fontsize=10)
        right.set_yscale("log")
        top = left.get_ylim()[1]
        right.set_ylim(FLOOR * top, 1.5 * top)
        right.yaxis.set_major_formatter("{x:g}")
        right.set_title("The same, tails enlarged", loc="left", fontsize=10)
        handles, labels = left.get_legend_handles_labels()
        legend = "marked: the 5 % (hollow) and the 1 % quantile (full)"
        figure.legend(
            handles,
            labels,
            title=legend,
            title_fontsize=8,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=8,
        )


def quantiles(law: Law, levels_M: np.ndarray) -> np.ndarray:
    """Where the CDF of a law of one row reaches each level, (M,), by bisection between log returns of −10 and 10."""
    low_M, high_M = np.full(len(levels_M), -10.0), np.full(len(levels_M), 10.0)
    for _ in range(60):
        middle_M = (low_M + high_M) / 2
        below_M = law.cdf(middle_M[None])[0] < levels_M
        low_M, high_M = np.where(below_M, middle_M, low_M), np.where(below_M, high_M, middle_M)
    return high_M


def _draw_law(axes: Axes, name: str, law: Law, style: Style, edges: np.ndarray) -> None:
    middles, heights = (edges[1:] + edges[:-1]) / 2, np.diff(law.cdf(edges[None])[0]) / np.diff(edges)
    marks = quantiles(law, np.array(list(MARKED)))
    told = ", ".join(f"{100 * level:g} %: {100 * at:+.2f} %" for level, at in zip(MARKED, marks, strict=True)).replace(
        "-", "−"
    )
    line = {"color": style.color, "linestyle": style.linestyle, "linewidth": style.linewidth}
    axes.plot(100 * middles, heights, label=f"{name} ({told})", **line)
    for at, face in zip(marks, MARKED.values(), strict=True):
        height = np.interp(at, middles, heights)
        axes.plot(
            100 * at,
            height,
            style.marker,
            color=style.color,
            markerfacecolor=face or style.color,
            markersize=6,
            zorder=3,
        )
