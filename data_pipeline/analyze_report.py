"""What `analyze` found, as text and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from data_pipeline.analyze import Analysis, NextToken
from data_pipeline.picture import picture
from data_pipeline.token_counts import TokenCounts

HUE, BAND = "#08306b", "#c8c8c8"
ROWS_SHOWN, NGRAMS_SHOWN = 10, 5
MOST_GROUPS = 64  # rows of the heat map
COUNT_PER_CELL = 30  # that a cell of the heat map has on average at least, so that it shows more than chance


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print the findings as sentences and tables."""
    s = analysis.statistics
    stretches = "stretch" if s["stretches"] == 1 else "stretches"
    console.print(
        f"{s['tokens']:,} tokens in {s['stretches']:,} {stretches} use {s['tokens_used']} of {s['vocabulary']} ids "
        f"({s['vocabulary_used_share']:.1%})"
    )
    console.print(
        f"entropy {s['entropy_bits']:.4f} bits (Miller-Madow {s['entropy_miller_madow_bits']:.4f}) of at most "
        f"{s['maximum_entropy_bits']:.4f}, perplexity {s['perplexity']:.2f}"
    )
    console.print(
        f"entropy of a token given the one before: {s['conditional_entropy_less_bias_bits']:.4f} bits; "
        f"{s['conditional_entropy_bits']:.4f} before the bias is taken off"
    )
    console.print(_order_sentence(s))
    shares = zip(s["commonest"], s["rarest"], strict=True)
    _table(
        console,
        "Commonest and rarest tokens",
        ("token", "count", "share", "token", "count", "share"),
        [[text for r in pair for text in (r["token"], f"{r['count']:,}", f"{r['share']:.3%}")] for pair in shares],
    )
    _table(
        console,
        "Commonest transitions",
        ("from", "to", "count", "probability", "lift"),
        [
            [r["token"], r["next_token"], f"{r['count']:,}", f"{r['probability']:.2%}", f"{r['lift']:.2f}"]
            for r in analysis.transitions[:ROWS_SHOWN]
        ],
    )
    _table(
        console,
        "Commonest runs, beside their count were tokens independent",
        ("tokens", "count", "expected", "lift"),
        [
            [" ".join(map(str, r["tokens"])), f"{r['count']:,}", f"{r['expected_count']:.3g}", f"{r['lift']:.3g}"]
            for rows in analysis.ngrams.values()
            for r in rows[:NGRAMS_SHOWN]
        ],
    )
    for title, rows in analysis.outliers.items():
        _table(
            console,
            title.replace("_", " ").capitalize(),
            ("asset", "time", "token", "its count", "log return", "z"),
            [_outlier(r) for r in rows[:ROWS_SHOWN]],
        )


def _order_sentence(s: dict[str, Any]) -> str:
    z = "" if s["order_information_z"] is None else f" (z = {s['order_information_z']:.1f})"
    return (
        f"the order of tokens tells {s['order_information_bits']:.4f} bits of the next{z}: neighbours share "
        f"{s['mutual_information_bits']:.4f} bits, and {s['shuffled_mutual_information_mean_bits']:.4f} ± "
        f"{s['shuffled_mutual_information_sd_bits']:.4f} when shuffled {s['shuffles']} times"
    )


def _outlier(row: dict[str, Any]) -> list[Any]:
    time = None if row["ds"] is None else row["ds"].removesuffix("T00:00:00").replace("T", " ")
    moved = ["", ""] if row["z"] is None else [f"{row['log_return']:+.5f}", f"{row['z']:+.1f}"]
    return [row["unique_id"], time or f"position {row['position']}", row["token"], f"{row['token_count']:,}", *moved]


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None)
    for name in columns:
        table.add_column(name, justify="left" if name in ("asset", "time", "tokens") else "right")
    for row in rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)


def analysis_chart(path: Path, analysis: Analysis, title: str) -> None:
    """Draw how often each token comes, what it tells of the next, and which transitions are over-represented.

    Args:
      path: where the PNG goes.
      analysis: what `analyze` found.
      title: what the tokens are.
    """
    with picture(path, 11, 5.6) as figure:
        panels = figure.subplot_mosaic([["share", "lift"], ["next", "lift"]], width_ratios=(1, 1.1))
        s = analysis.statistics
        used = f"{s['tokens_used']} of {s['vocabulary']} ids"
        told = f"{title}: {s['tokens']:,} tokens, {used}, {s['entropy_bits']:.2f} bits"
        figure.suptitle(told, x=0.01, ha="left", fontsize=11)
        _draw_shares(panels["share"], analysis.counts)
        _draw_next(panels["next"], analysis.next_token, analysis.shuffled, s)
        _draw_lift(figure, panels["lift"], analysis.counts)
        for name in ("share", "next"):
            panels[name].set_xlim(-0.5, s["vocabulary"] - 0.5)
            panels[name].spines[["top", "right"]].set_visible(False)
        for axes in panels.values():
            axes.tick_params(labelsize=8)


def _draw_shares(axes: Axes, counts: TokenCounts) -> None:
    edges = np.arange(counts.vocab_size + 1) - 0.5
    axes.stairs(100 * counts.unigrams / counts.unigrams.sum(), edges, fill=True, color="#6c9fd0")
    axes.axhline(100 / counts.vocab_size, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set_ylabel("share of tokens, %", fontsize=9)
    axes.set_title("How often each token comes (dashed: all alike)", loc="left", fontsize=10)


def _draw_next(axes: Axes, found: NextToken, shuffled: NextToken, statistics: dict[str, Any]) -> None:
    middle, spread = shuffled.entropy_bits.mean(axis=0), 2 * shuffled.entropy_bits.std(axis=0, ddof=1)
    edges = np.arange(len(middle) + 1) - 0.5
    axes.stairs(middle + spread, edges, baseline=middle - spread, fill=True, color=BAND, label="shuffled ± 2 sd")
    axes.plot(found.entropy_bits, ".", color=HUE, markersize=3.5, label="as it is")
    axes.set_xlabel("token", fontsize=9)
    axes.set_ylabel("entropy of the next token, bits", fontsize=9)
    told = f"{statistics['order_information_bits']:.4f} bits"
    axes.set_title(f"What a token tells of the next: {told} on average", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_lift(figure: Figure, axes: Axes, counts: TokenCounts) -> None:
    groups = int(np.clip(np.sqrt(counts.bigrams.sum() / COUNT_PER_CELL), 2, MOST_GROUPS))
    width = -(-counts.vocab_size // groups)
    first = np.arange(0, counts.vocab_size, width)
    pooled = np.add.reduceat(np.add.reduceat(counts.bigrams, first, axis=0), first, axis=1)
    with np.errstate(divide="ignore"):
        log_lift = np.log2(TokenCounts(counts.unigrams, pooled).lift)
    seen = np.isfinite(log_lift)
    limit = max(0.1, float(np.quantile(np.abs(log_lift[seen]), 0.99)))
    end = len(first) * width - 0.5
    axes.set_facecolor(BAND)
    image = axes.imshow(
        np.ma.masked_where(~seen, log_lift),
        cmap="RdBu_r",
        norm=CenteredNorm(0, limit),
        origin="lower",
        extent=(-0.5, end, -0.5, end),
        interpolation="nearest",
    )
    axes.set(xlim=(-0.5, counts.vocab_size - 0.5), ylim=(-0.5, counts.vocab_size - 0.5))
    colours = figure.colorbar(image, ax=axes, shrink=0.8, extend="both")
    colours.set_label("log₂ lift: red comes more often than chance", fontsize=9)
    colours.ax.tick_params(labelsize=8)
    axes.set_xlabel("next token", fontsize=9)
    axes.set_ylabel("token", fontsize=9)
    grouped = f" ({width} ids a cell)" if width > 1 else ""
    unseen = "; grey: never" if not seen.all() else ""
    axes.set_title(f"What follows what{grouped}{unseen}", loc="left", fontsize=10)
