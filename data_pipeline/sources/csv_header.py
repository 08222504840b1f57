"""What the first lines of a CSV file say about its columns: one header row, yfinance's three, or none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data_pipeline.errors import BadInput
from data_pipeline.sources.columns import count_known
from data_pipeline.sources.number_text import MISSING, is_number
from data_pipeline.sources.time_formats import are_clocks, are_dates, are_days

KLINES = (  # Binance's public files have no header
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_base_volume", "taker_quote_volume", "ignore"),
)


@dataclass(frozen=True)
class Header:
    """Names of the columns, and where the bars begin."""

    names: list[str]
    assets: list[str] | None  # of the columns; "" for the time
    above: int  # lines before the header that are none of the table
    below: int  # first row of bars
    notes: list[str]


def usual_width(rows: list[list[str]]) -> int:
    """The usual number of fields, of the later rows: titles stand above them."""
    return max((times, width) for width, times in Counter(len(cells) for cells in rows[len(rows) // 2 :]).items())[1]


def find_header(rows: list[list[str]], path: Path) -> Header:
    """Understand the first rows of a file, blank ones left out. Raises BadInput where that cannot be."""
    width = usual_width(rows)
    for names in (width, width - 1):  # one name too few: date and time of day under one heading
        above = next((i for i, cells in enumerate(rows) if len(cells) == names and _is_header(cells)), None)
        if above is not None:
            return _with_names(
                [[cell.strip() for cell in cells] for cells in islice(rows, above, above + 4)], above, path
            )
    first = next(i for i, cells in enumerate(rows) if len(cells) == width)
    names, note = _names_without_header(rows[first:], path)
    return Header(names, None, first, first, [note])


def _is_header(cells: list[str]) -> bool:
    filled = sum(cell.strip() != "" for cell in cells)
    return 2 * filled >= len(cells) and not any(is_number(cell) or are_dates([cell]) for cell in cells)


def _with_names(rows: list[list[str]], above: int, path: Path) -> Header:
    """The header, from its first row on."""
    first, second, third = [*rows, [], []][:3]
    if len(second) == len(first) + 1:
        if not (are_days(second[:1]) and ":" in second[1] and are_clocks(second[1:2])):
            raise BadInput(f"{path}: rows have {len(second)} fields, the header {len(first)}; name every column")
        note = f"{first[0]!r} heads two columns: the date and the time of day"
        return Header([first[0], "time", *first[1:]], None, above, above + 1, [note])
    named_twice = len(second) == len(first) and second != first and all(_is_name(cell) for cell in second[1:])
    if not named_twice or are_dates(second[:1]):
        return Header(first, None, above, above + 1, [])
    names, assets = (first, second) if count_known(first[1:]) >= count_known(second[1:]) else (second, first)
    has_third = len(third) == len(first) and third[0] != "" and not any(third[1:])
    time = third[0] if has_third else first[0] or second[0]
    return Header([time, *names[1:]], ["", *assets[1:]], above, above + 2 + has_third, ["the header names assets too"])


def _is_name(cell: str) -> bool:
    return cell.lower() not in MISSING and not is_number(cell)


def _names_without_header(rows: list[list[str]], path: Path) -> tuple[list[str], str]:
    """Names that the numbers themselves prove: Binance's twelve, or a high and a low that bound open and close."""
    if len(rows[0]) == len(KLINES) and all(is_number(cell) for cell in rows[0]):
        return list(KLINES), "no header, 12 columns of numbers: read as Binance klines"
    times = ["date", "time"] if ":" in rows[0][1] and are_clocks(rows[0][1:2]) else ["date"]
    names = [*times, "open", "high", "low", "close", "volume"][: len(rows[0])]
    if are_dates(rows[0][:1]) and 0 <= len(rows[0]) - len(times) - 4 <= 1:
        prices = [[cell.replace(",", ".") for cell in cells[len(times) : len(times) + 4]] for cells in rows]
        if all(_bounded(bar) for bar in prices if len(bar) == 4):
            return names, f"no header: read as {', '.join(names)}, as high and low bound the others"
    raise BadInput(f"{path}: no header row above {rows[0][:6]}; add one, such as Date,Open,High,Low,Close,Volume")


def _bounded(bar: list[str]) -> bool:
    try:
        opening, high, low, close = (float(cell) for cell in bar)
    except ValueError:
        return False
    return low <= min(opening, close) and max(opening, close) <= high
