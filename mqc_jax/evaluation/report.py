"""The scoreboard as people read it: a table in the terminal, and a page that is one file.

A difference is never shown without its error, nor an edge claimed that its 95 % interval does not bear.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_pipeline.storage import replace_file
from mqc_jax.evaluation.board import RIVALS
from mqc_jax.evaluation.comparison import Z95
from mqc_jax.evaluation.page import HOW_TO_READ, PAGE, STYLE, table
from mqc_jax.evaluation.pictures import MODEL, NEW, OLD, Drawing, by_nats, figure, signed

Board = Mapping[str, Mapping[str, Any]]

BASIS_POINT = 1e-4
NOT_KNOWN = "–"
PLUS_MINUS, TO = " ±\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"
PIXELS = 150 / 96  # of a picture to one of the page: an inch is an inch
CONSPICUOUS = 0.05  # a p-value below it is marked


class About(TypedDict):
    """What was scored; dates as texts."""

    run: str
    source: str
    splits: Mapping[str, str | None]
    train_end: str
    scored_from: str
    scored_to: str
    overlap: str | None  # a sentence, where dates were scored that were trained on


def stamp(about: About) -> str:
    """The first line of every report: what was learned from which dates, and which were scored."""
    overlap = f"WARNING: {about['overlap']}" if about["overlap"] else "no scored date was trained on"
    return (
        f"{about['run']} on {about['source']}: trained up to {about['train_end']}, scored {about['scored_from']} to "
        f"{about['scored_to']}; {overlap}"
    )


def verdicts(board: Board, model: str = MODEL) -> list[str]:
    """A sentence for each rival of `model`: "no edge over …" wherever the 95 % interval holds zero."""
    figures = board[model]
    found = []
    for rival in RIVALS:
        if f"verdict_vs_{rival}" in figures:
            difference, error = (figure(figures, f"dm_vs_{rival}{part}") for part in ("", "_standard_error"))
            low, high = (signed(difference + side * Z95 * error, 4) for side in (-1, 1))
            interval = f"95 % interval {low} to {high}" if np.isfinite(error) else "no interval: too few dates"
            found.append(f"{model}: {figures[f'verdict_vs_{rival}']} ({signed(difference, 4)} nats, {interval})")
    return found


def print_board(board: Board, title: str, console: Console, *, model: str = MODEL) -> None:
    """Print every model on a line of its own, best first, and what may be said of `model`.

    Where the console is too narrow, errors stand below their figures.
    """
    shown = _terminal_table(board, title, model, "±")
    if console.measure(shown, options=console.options.update(width=1000)).maximum > console.width:
        shown = _terminal_table(board, title, model, "\n±")
    console.print(shown)
    n = sum(asset["n_returns"] for asset in board[model]["assets"].values())
    console.print(
        f"{n:,} returns, of which {0.01 * n:,.0f} should fall below the 1 % value at risk. ±: one standard error. "
        "vs: nats per return more than that model, negative is better. Bits gained over unconditional. CRPS in basis "
        "points.",
        style="dim",
        highlight=False,
    )
    for sentence in verdicts(board, model):
        console.print(sentence, markup=False, highlight=False)


def _terminal_table(board: Board, title: str, model: str, between: str) -> Table:
    shown = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    shown.add_column("", overflow="fold")
    for head in ("nats", "bits\ngained", "CRPS", "90 %\nholds", "1 %\nVaR", f"vs\n{OLD}", f"vs\n{NEW}"):
        shown.add_column(head, justify="right", no_wrap=True)
    for name in by_nats(board):
        figures = board[name]
        shown.add_row(
            Text(name),
            _with_error(figures, "nats", 4, between),
            _with_error(figures, "bits_over_unconditional", 3, between),
            _number(figure(figures, "crps") / BASIS_POINT, ".2f"),
            _number(100 * figure(figures, "coverage_90"), ".1f"),
            _number(figure(figures, "var_1_exceedances"), ",.0f"),
            *(_with_error(figures, f"dm_vs_{rival}", 4, between, sign="+") for rival in (OLD, NEW)),
            style="bold" if name == model else "",
        )
    return shown


def write_html(
    path: Path, board: Board, about: About, pictures: Sequence[Drawing], *, more: str = "", model: str = MODEL
) -> None:
    """Write the report as one page that needs nothing else: no script, no link, pictures inside.

    Args:
      path: where the page goes.
      board: what `scoreboard` found.
      about: what was scored.
      pictures: what `draw_pictures` drew.
      more: further sections.
      model: the row that the report is about.
    """
    heading = f"Scoreboard of {about['run']}"
    splits = ", ".join(f"{name} {value}" for name, value in about["splits"].items() if value is not None)
    warned = " warning" if about["overlap"] else ""
    body = [
        f'<p class="stamp{warned}">{escape(stamp(about))}</p>',
        f"<h1>{escape(heading)}</h1>",
        *([f"<p>Splits: {escape(splits)}.</p>"] if splits else []),
        f'<ul class="verdicts">{"".join(f"<li>{escape(line)}</li>" for line in verdicts(board, model))}</ul>',
        "<h2>All models on the same returns</h2>",
        _board_table(board, model),
        *(_figure(drawing) for drawing in pictures),
        f"<h2>{escape(model)}, asset by asset</h2>",
        _asset_table(board[model]["assets"]),
        _asset_differences(board[model]["assets"]),
        *([more] if more else []),
        HOW_TO_READ,
    ]
    page = PAGE.replace("{title}", escape(heading)).replace("{style}", STYLE).replace("{body}", "\n".join(body))
    replace_file(path, page.encode())


def _board_table(board: Board, model: str) -> str:
    heads = [
        *("model", "nats per return", "bits over unconditional", "CRPS, basis points", "90 % intervals hold, %"),
        *("below 1 % VaR", *(f"nats vs {rival}" for rival in RIVALS), "MCS, p"),
    ]
    rows = []
    for name in by_nats(board):
        figures = board[name]
        cells = [
            _with_error(figures, "nats", 4, PLUS_MINUS),
            _with_error(figures, "bits_over_unconditional", 3, PLUS_MINUS),
            _with_error(figures, "crps", 2, PLUS_MINUS, unit=BASIS_POINT),
            _share_with_interval(figures, "coverage_90", "coverage_90_interval_95"),
            _number(figure(figures, "var_1_exceedances"), ",.0f"),
            *(_with_error(figures, f"dm_vs_{rival}", 4, PLUS_MINUS, sign="+") for rival in RIVALS),
            _p_value(figures, "model_confidence_set_p_value", mark=False),
        ]
        rows.append((name, cells, name == model))
    n = sum(asset["n_returns"] for asset in board[model]["assets"].values())
    caption = (
        f"Best first. ±: one standard error. A negative difference is better than the rival. Of {n:,} returns, "
        f"{0.01 * n:,.0f} should fall below the 1 % value at risk."
    )
    return table("Scoreboard", caption, heads, rows)


def _asset_differences(assets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, [_with_error(found, f"dm_vs_{rival}", 4, PLUS_MINUS, sign="+") for rival in RIVALS], False)
        for name, found in assets.items()
    ]
    caption = "Nats per return more than each rival; negative is better. ±: one standard error."
    return table("Differences by asset", caption, ["asset", *(f"vs {rival}" for rival in RIVALS)], rows)


def _asset_table(assets: Mapping[str, Mapping[str, Any]]) -> str:
    heads = [
        *("asset", "returns", "nats per return", "90 % intervals hold, %", "below 1 % VaR", "below 2.5 % VaR"),
        *("below 5 % VaR", "Kupiec 1 %, p", "shortfall 2.5 % (Z₂), p", "Berkowitz, p", "direction right, %"),
        "commoner sign, %",
    ]
    rows = []
    for name, found in assets.items():
        risk = found["risk"]
        cells = [
            _number(figure(found, "n_returns"), ",.0f"),
            _with_error(found, "nats", 4, PLUS_MINUS),
            _number(100 * figure(found, "coverage_90"), ".1f"),
            *(_count_in_range(risk[level]) for level in ("1", "2.5", "5")),
            _p_value(risk["1"], "kupiec_p_value"),
            _p_value(risk["2.5"], "acerbi_szekely_z2_p_value"),
            _p_value(found, "berkowitz_p_value"),
            _share_with_interval(found, "direction_right", "direction_right_interval_95"),
            _number(100 * figure(found, "direction_majority"), ".1f"),
        ]
        rows.append((name, cells, False))
    caption = (
        "Exceedances with the range that Kupiec's test accepts. *: outside that range, or p below 0.05, which happens "
        "to a right model once in twenty."
    )
    return table("By asset", caption, heads, rows)


def _figure(drawing: Drawing) -> str:
    png = drawing.path.read_bytes()
    width, height = (round(int.from_bytes(png[at : at + 4]) / PIXELS) for at in (16, 20))  # of its header
    return (
        f"<figure><h2>{escape(drawing.title)}</h2>"
        f'<img alt="{escape(drawing.alt)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{b64encode(png).decode()}">'
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>"
    )


def _number(value: float, spec: str) -> str:
    return format(value, spec).replace("-", "−") if np.isfinite(value) else NOT_KNOWN


def _with_error(
    figures: Mapping[str, Any], name: str, decimals: int, between: str, *, sign: str = "", unit: float = 1.0
) -> str:
    """A figure and its standard error; one – for both where there is no figure."""
    value, error = (figure(figures, f"{name}{part}") / unit for part in ("", "_standard_error"))
    if not np.isfinite(value):
        return NOT_KNOWN
    return f"{_number(value, f'{sign}z.{decimals}f')}{between}{_number(error, f'.{decimals}f')}"


def _share_with_interval(figures: Mapping[str, Any], name: str, interval: str) -> str:
    share = figure(figures, name)
    if not np.isfinite(share):
        return NOT_KNOWN
    ends = [np.nan if end is None else end for end in figures[interval] or (None, None)]
    low, high = (_number(100 * end, ".1f") for end in ends)
    return f"{_number(100 * share, '.1f')} ({low}{TO}{high})"


def _count_in_range(risk: Mapping[str, Any]) -> str:
    least, most = risk["expected_range"]
    return f"{risk['exceedances']} ({least}{TO}{most}){'' if risk['in_range'] else '*'}"


def _p_value(figures: Mapping[str, Any], name: str, *, mark: bool = True) -> str:
    p = figure(figures, name)
    text = "<0.001" if p < 0.001 else _number(p, ".3f")
    return f"{text}*" if mark and p < CONSPICUOUS else text
