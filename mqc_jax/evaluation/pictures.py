"""Pictures of the scoreboard. What is told by colour is told by shape too: they survive print and colour blindness.

Axis letters: N rows  D dates  K bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from data_pipeline.picture import picture
from mqc_jax.evaluation.board import LEVELS, Outcomes, Scores
from mqc_jax.evaluation.calibration import COVERAGE_LEVELS
from mqc_jax.evaluation.comparison import Z95, diebold_mariano
from mqc_jax.evaluation.risk import exceedances, kupiec_range
from mqc_jax.evaluation.scores import mean_by_date

MODEL = "gpt"  # the row that the report is about
OLD, NEW = "garch_t", "gjr_skew_t"  # the classics it is drawn against
HUE, CONTRAST, GREY = "#08306b", "#D55E00", "0.45"
PALE_HUE, PALE_CONTRAST = "#dbe7f4", "#fbe6d8"
PIT_BINS = 20
VAR = 0.01
FAR = 4  # times the median: a difference beyond it is an arrow at the border
MOST_PANELS = 60
LONGEST_NAME = 24


class Drawing(NamedTuple):
    """A PNG file, and in words what it shows."""

    path: Path
    title: str
    caption: str
    alt: str


def draw_pictures(
    folder: Path,
    board: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, Scores],
    outcomes: Outcomes,
    *,
    model: str = MODEL,
) -> list[Drawing]:
    """The four pictures of a report, as PNG files in `folder`; `board` is what `scoreboard` made of `scores`."""
    return [
        differences_chart(folder / "scoreboard.png", board, NEW, model=model),
        gains_chart(folder / "gains.png", scores, outcomes, (OLD, NEW), model=model),
        calibration_chart(folder / "calibration.png", board, scores, outcomes, NEW, model=model),
        exceedances_chart(folder / "exceedances.png", scores[model], outcomes, model=model),
    ]


def by_nats(board: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names on the board, best first."""
    return sorted(board, key=lambda name: figure(board[name], "nats", np.inf))


def figure(figures: Mapping[str, Any], name: str, missing: float = np.nan) -> float:
    """A figure of the board; `missing` where it is not there, None or not finite."""
    value = figures.get(name)
    return float(value) if value is not None and np.isfinite(value) else missing


def signed(value: float, decimals: int) -> str:
    """A number with its sign; – where there is none."""
    return f"{value:+z.{decimals}f}".replace("-", "−") if np.isfinite(value) else "–"


def differences_chart(path: Path, board: Mapping[str, Mapping[str, Any]], rival: str, *, model: str = MODEL) -> Drawing:
    """Draw how many nats per return each model is worse than `rival`, with 95 % intervals, best on top."""
    names = by_nats(board)
    middle = np.array([0.0 if name == rival else figure(board[name], f"dm_vs_{rival}") for name in names])
    half = Z95 * np.array([figure(board[name], f"dm_vs_{rival}_standard_error") for name in names])
    limit = _limit(np.abs(middle) + np.nan_to_num(half))
    with picture(path, 9, 1.2 + 0.27 * len(names)) as page:
        axes = page.subplots()
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        for y, name in enumerate(names):
            _draw_difference(axes, y, middle[y], half[y], limit, is_model=name == model, is_rival=name == rival)
        axes.set_yticks(range(len(names)), names)
        axes.get_yticklabels()[names.index(model)].set_fontweight("bold")
        axes.set(xlim=(-1.04 * limit, 1.04 * limit), ylim=(len(names) - 0.4, -0.6))
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"nats per return more than {rival}: left of the line is better", fontsize=9)
        axes.set_title("Log score, with 95 % intervals", loc="left", fontsize=10)
        _plain(axes)
    told = [f"{name} {signed(d, 4)}" for name, d in zip(names, middle, strict=True) if name != rival]
    return Drawing(
        path,
        "Every model against one",
        f"Mean log score of every model less that of {rival}, with 95 % intervals over dates. An interval that crosses "
        "the line is no difference. An arrow stands for a model too far off to draw to scale.",
        f"Dots with intervals, best model on top. Nats per return more than {rival}: {', '.join(told)}.",
    )


def gains_chart(
    path: Path, scores: Mapping[str, Scores], outcomes: Outcomes, rivals: tuple[str, str], *, model: str = MODEL
) -> Drawing:
    """Draw the nats that `model` has gained over each of `rivals` since the first scored date, mean over assets.

    The bar at the end of a line is the 95 % interval of its last point.
    """
    days_D = np.unique(outcomes.times_N)
    ends, told = [], []
    with picture(path, 9, 4) as page:
        axes = page.subplots()
        axes.axhline(0, color="black", linewidth=0.8)
        margin = (days_D[-1] - days_D[0]) / 40
        styles = zip(rivals, (CONTRAST, HUE), ((0, (5, 1.5)), "-"), strict=True)
        for place, (rival, colour, style) in enumerate(styles):
            ours, theirs = scores[model].nats_N, scores[rival].nats_N
            total_D = np.cumsum(mean_by_date(theirs - ours, outcomes.times_N))
            half = Z95 * len(days_D) * diebold_mariano(theirs, ours, outcomes.times_N).standard_error
            beside = days_D[-1] + (1 + place) * margin
            axes.plot(days_D, total_D, color=colour, linestyle=style, linewidth=1.4)
            axes.errorbar([beside], total_D[-1:], [half], fmt="none", color=colour, capsize=3, linewidth=1.2)
            total = f"{signed(total_D[-1], 2)} ± {half:.2f}" if np.isfinite(half) else signed(total_D[-1], 2)
            ends.append((f"over {rival}\n{total}", total_D[-1], colour))
            told.append(f"{total} over {rival}")
        _label_ends(axes, ends)
        _date_axis(axes)
        axes.set_ylabel("nats, added up", fontsize=9)
        axes.set_title(f"What {model} has gained since the first scored date: up is better", loc="left", fontsize=10)
        _plain(axes)
    return Drawing(
        path,
        "When the gain came",
        f"Nats that {model} has gained over each rival, added up over dates (mean over the assets of each). A steady "
        "climb is skill; a single jump is one event. The bars at the end are 95 % intervals of the totals.",
        f"Two lines through time. At the end {model} has gained {', '.join(told)} nats.",
    )


def calibration_chart(
    path: Path,
    board: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, Scores],
    outcomes: Outcomes,
    rival: str,
    *,
    model: str = MODEL,
) -> Drawing:
    """Draw where outcomes fall in the forecast laws of `model` and `rival`, and how often within their intervals."""
    with picture(path, 10, 3.6) as page:
        left, middle, right = page.subplots(1, 3, width_ratios=(1, 1, 1.15))
        middle.sharey(left)
        for axes, name, colour, fill in ((left, model, HUE, PALE_HUE), (middle, rival, CONTRAST, PALE_CONTRAST)):
            _draw_pit(axes, scores[name].pit_N, outcomes.times_N, colour, fill)
            axes.set_title(f"PIT of {name}", loc="left", fontsize=10)
        left.set_ylim(bottom=0)
        left.set_ylabel("share of outcomes, %", fontsize=9)
        styles = ((model, HUE, "o", HUE, -1), (rival, CONTRAST, "s", "white", 1))
        for name, colour, shape, face, side in styles:
            _draw_coverage(right, board[name], side, color=colour, marker=shape, markerfacecolor=face, label=name)
        right.axhline(0, color="black", linewidth=0.8)
        right.set_xticks(range(len(COVERAGE_LEVELS)), [f"{level} %" for level in COVERAGE_LEVELS])
        right.set_xlabel("nominal coverage of the interval", fontsize=9)
        right.set_ylabel("actual − nominal, points", fontsize=9)
        right.set_title("Coverage: below 0 is too narrow", loc="left", fontsize=10)
        right.legend(frameon=False, fontsize=8)
        for axes in (left, middle, right):
            _plain(axes)
    shares = {name: 100 * figure(board[name], "coverage_90") for name in (model, rival)}
    told = [f"{name} {share:.1f} %" if np.isfinite(share) else f"{name} –" for name, share in shares.items()]
    return Drawing(
        path,
        "Are the probabilities right?",
        "Left and middle: where outcomes fell in the forecast laws, in twentieths. Right probabilities fill all bars "
        "alike but for the grey band, which holds 19 of 20 by chance: a hump says too wide, a trough too narrow. "
        "Right: how many more outcomes fell within the central intervals than should, with 95 % intervals.",
        f"Two histograms and a plot of coverage. Of the 90 % intervals, these shares held: {', '.join(told)}.",
    )


def pit_histogram(pit_N: np.ndarray, times_N: np.ndarray) -> tuple[np.ndarray, float]:
    """Shares of the PIT by twentieths, each date counting once, and how far 95 % of them stray when it is uniform.

    Assets of one date may move together, dates may not: for one asset the band is the binomial one.
    """
    bin_N = np.clip((PIT_BINS * pit_N).astype(int), 0, PIT_BINS - 1)
    share_KD = np.array([mean_by_date((bin_N == k).astype(float), times_N) for k in range(PIT_BINS)])
    return share_KD.mean(axis=1), float(Z95 * np.sqrt(share_KD.var(axis=1).mean() / share_KD.shape[1]))


def exceedances_chart(path: Path, scores: Scores, outcomes: Outcomes, *, model: str = MODEL) -> Drawing:
    """Draw the returns of each asset, the 1 % value at risk of `model`, and the returns that fell below it.

    At most `MOST_PANELS` assets, in their order.
    """
    present = np.unique(outcomes.asset_N)
    shown = present[:MOST_PANELS]
    columns = 1 if len(shown) <= 4 else 2 if len(shown) <= 12 else 3
    rows = -(-len(shown) // columns)
    told = []
    with picture(path, 9, 0.6 + 1.7 * rows) as page:
        grid = page.subplots(rows, columns, sharex=True, squeeze=False)
        for axes, number in zip(grid.flat, shown, strict=False):
            mine = outcomes.asset_N == number
            var_N = scores.quantiles_NP[mine, np.searchsorted(LEVELS, VAR)]
            told.append(_draw_exceedances(axes, outcomes.times_N[mine], outcomes.returns_N[mine], var_N))
            name = _short(str(outcomes.assets[number]))
            axes.set_title(f"{name}: {told[-1]}", loc="left", fontsize=9 if columns < 3 else 7)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_visible(False)
            _plain(axes)
        for spare in grid.flat[len(shown) :]:
            spare.set_visible(False)
        for column in range(columns):
            lowest = grid[(len(shown) - 1 - column) // columns, column]
            lowest.xaxis.set_visible(True)
            lowest.tick_params(labelbottom=True)
        _date_axis(grid[0, 0])
        page.supylabel("log return, %", fontsize=9)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    rest = f" The first {len(shown)} of {len(present)} assets." if len(shown) < len(present) else ""
    counts = "; ".join(f"{outcomes.assets[number]} {text}" for number, text in zip(shown, told, strict=True))
    return Drawing(
        path,
        "Days worse than the 1 % value at risk",
        f"Returns, the return that {model} expected to be undercut on one day in a hundred, and the days that did. The "
        "count should lie in the range that Kupiec's test accepts; exceedances that cluster say that the model is slow "
        f"to notice rough times.{rest}",
        f"Returns through time and the 1 % value at risk of {model}, one panel per asset. {counts}.",
    )


def _limit(reach: np.ndarray) -> float:
    """The widest of the reaches that are not far beyond the median."""
    reach = reach[np.isfinite(reach) & (reach > 0)]
    if not len(reach):
        return 1.0
    return float(reach[reach <= FAR * np.median(reach)].max())


def _draw_difference(
    axes: Axes, y: int, middle: float, half: float, limit: float, *, is_model: bool, is_rival: bool
) -> None:
    colour, face = (HUE, HUE) if is_model else (GREY, "white")
    beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
    text = "reference" if is_rival else f"{signed(middle, 4)} ± {half:.4f}" if np.isfinite(half) else signed(middle, 4)
    axes.text(1.02, y, text, **beside, fontweight="bold" if is_model else "normal")
    if abs(middle) > limit:
        side = float(np.sign(middle))
        axes.plot(side * limit, y, ">" if side > 0 else "<", color=colour, markersize=7, clip_on=False)
        return
    if np.isfinite(half):
        axes.errorbar([middle], [y], xerr=[half], color=colour, capsize=3, linewidth=2 if is_model else 1.2)
    axes.plot(middle, y, "D" if is_rival else "o", color=colour, markerfacecolor=face, markersize=6, zorder=3)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each text at its height right of the axes, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap, floor = 0.13 * (high - low), -np.inf
    for text, value, colour in sorted(ends, key=lambda end: end[1]):
        floor = max(value, floor + gap)
        axes.text(1.01, floor, text, color=colour, va="center", fontsize=9, transform=axes.get_yaxis_transform())


def _draw_pit(axes: Axes, pit_N: np.ndarray, times_N: np.ndarray, colour: str, fill: str) -> None:
    share_K, half = pit_histogram(pit_N, times_N)
    even, edges = 100 / PIT_BINS, np.linspace(0, 1, PIT_BINS + 1)
    axes.stairs(100 * share_K, edges, color=fill, fill=True)
    axes.axhspan(even - 100 * half, even + 100 * half, color="black", alpha=0.15, linewidth=0)
    axes.stairs(100 * share_K, edges, color=colour, linewidth=1.2)
    axes.axhline(even, color="black", linewidth=0.7, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 1)
    axes.set_xlabel("forecast probability of less", fontsize=9)


def _draw_coverage(axes: Axes, figures: Mapping[str, Any], side: int, **style: Any) -> None:
    for place, level in enumerate(COVERAGE_LEVELS):
        share = figure(figures, f"coverage_{level}")
        low, high = (np.nan if end is None else end for end in figures[f"coverage_{level}_interval_95"])
        reach = [[100 * (share - low)], [100 * (high - share)]]
        axes.errorbar([place + 0.12 * side], [100 * share - level], reach, capsize=3, linestyle="", **style)
        style.pop("label", None)


def _draw_exceedances(axes: Axes, times_N: np.ndarray, returns_N: np.ndarray, var_N: np.ndarray) -> str:
    """Draw them; says how many there are, and how many there should be."""
    hit_N = exceedances(returns_N, var_N)
    axes.plot(times_N, 100 * returns_N, ".", color="0.6", markersize=1.5, label="return")
    axes.plot(times_N, 100 * var_N, color=HUE, linewidth=0.9, label="1 % value at risk")
    axes.plot(times_N[hit_N], 100 * returns_N[hit_N], "v", color=CONTRAST, markersize=5, label="exceedance")
    least, most = kupiec_range(len(returns_N), VAR)
    return f"exceedances {hit_N.sum()}, expected {least} to {most}"


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
