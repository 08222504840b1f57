"""Pictures of training. What is told by colour is told by marker too: they survive print and colour blindness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from data_pipeline.picture import picture

# Okabe & Ito's colours but for the yellow, which is faint on paper; an eighth run has the first's, and its own marker
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LONGEST_NAME = 32
LABEL = 0.4  # inches of height
AXES = {"tokens": "training tokens seen", "epochs": "epochs"}


class Curve(NamedTuple):
    """The learning curve of one run, a number per epoch; NaN where there is none."""

    name: str
    tokens: np.ndarray  # seen since the first step
    epochs: np.ndarray
    train: np.ndarray  # nats per token
    validation: np.ndarray

    @property
    def best(self) -> int | None:
        """Where the validation loss is lowest."""
        return None if np.isnan(self.validation).all() else int(np.nanargmin(self.validation))


def curve(name: str, lines: Sequence[dict[str, Any]], tokens_per_step: int) -> Curve:
    """The learning curve in the lines of a run's metrics.jsonl."""
    columns = [[line[key] for line in lines] for key in ("step", "epoch", "loss", "validation_loss")]
    step, epoch, train, validation = (np.array(column, np.float64) for column in columns)
    return Curve(name, step * tokens_per_step, epoch, train, validation)


def learning_curves(path: Path, curves: Sequence[Curve], x: str = "tokens") -> None:
    """Draw training and validation losses over `x`, tokens or epochs, with the best epoch of each run marked."""
    with picture(path, 9, max(4.6, 1.2 + LABEL * len(curves))) as figure:
        axes = figure.subplots()
        ends = []
        for number, one in enumerate(curves):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            over = getattr(one, x)
            axes.plot(over, one.train, color=colour, linewidth=1, linestyle=(0, (4, 2)), alpha=0.75)
            axes.plot(over, one.validation, color=colour, linewidth=1.8)
            label, height = short(one.name), one.train[-1]
            if one.best is not None:
                lowest, height = one.validation[one.best], one.validation[np.isfinite(one.validation)][-1]
                axes.plot(over[one.best], lowest, marker, color=colour, markersize=8, markeredgecolor="white", zorder=3)
                label += f"\n{lowest:.4f}, epoch {one.epochs[one.best]:.0f}"
            ends.append((label, float(height), colour, marker if one.best is not None else ""))
        _label_ends(axes, ends)
        _plain(axes)
        axes.set_xlabel(AXES[x], fontsize=9)
        axes.set_ylabel("loss, nats per token", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_title("Learning curves: lower is better", loc="left", fontsize=10)
        keys = [
            Line2D([], [], color="0.3", linewidth=1.8, label="validation"),
            Line2D([], [], color="0.3", linewidth=1, linestyle=(0, (4, 2)), label="training"),
            Line2D([], [], color="0.3", linewidth=0, marker="o", markersize=7, label="best epoch"),
        ]
        figure.legend(handles=keys, frameon=False, fontsize=8, loc="outside upper right", ncols=3)


def compute_chart(path: Path, curves: Sequence[tuple[int, int, Curve]], title: str) -> None:
    """Draw validation losses over the compute spent; `curves` are (depth, FLOPs per training token, curve).

    Every curve has a validation loss.
    """
    with picture(path, 9, max(4.6, 1.2 + LABEL * len(curves))) as figure:
        axes = figure.subplots()
        ends, spent = [], []
        for number, (depth, flops, one) in enumerate(curves):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            best = int(np.nanargmin(one.validation))
            compute, lowest = flops * one.tokens, one.validation[best]
            spent += [compute[0], compute[-1]]
            axes.plot(compute, one.validation, color=colour, linewidth=1.4)
            axes.plot(compute[best], lowest, marker, color=colour, markersize=8, markeredgecolor="white", zorder=3)
            ends.append((f"depth {depth}\n{lowest:.4f}", float(lowest), colour, marker))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(spent) < 100 * min(spent) else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter("FLOP"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _label_ends(axes, ends)
        _plain(axes)
        axes.set_xlabel("training compute", fontsize=9)
        axes.set_ylabel("validation loss, nats per token", fontsize=9)
        axes.set_title(f"{title}: lower left is better; marked is the best epoch", loc="left", fontsize=10)


def short(name: str) -> str:
    """A name of at most LONGEST_NAME letters, its end kept: that is where paths differ."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, str, str]]) -> None:
    """Write each text beside its height right of the axes, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = min(0.11, 1 / len(ends)) * (high - low)
    order = sorted(range(len(ends)), key=lambda i: ends[i][1])
    heights = spread([ends[i][1] for i in order], gap, low, high)
    beside = axes.get_yaxis_transform()
    for i, height in zip(order, heights, strict=True):
        text, _, colour, marker = ends[i]
        axes.plot(1.02, height, marker, color=colour, markersize=6, transform=beside, clip_on=False)
        axes.text(1.035, height, text, color=colour, va="center", fontsize=8, transform=beside)
    axes.set_ylim(low, high)


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising heights moved apart to at least `gap`, within `low` and `high` while they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    ceiling = max(high, low + gap * (len(placed) - 1))
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def _plain(axes: Axes) -> None:
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
