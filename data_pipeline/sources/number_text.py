"""Numbers as people write them: `$1,234.50`, `1.234,50`, `12.3M`, and a dot where nothing was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_pipeline.sources.table import Table, refuse_first

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", ".", "-")  # in lower case
SCALE = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}  # of volumes

_DECORATION = "$€£¥ \u00a0\u202f'’"  # with the blanks that some put between thousands
_SCALED = r"\d[KMBTkmbt]$"
_NUMBER = re.compile(r"[-+]?[$€£¥]?\s?[-+]?[\d.,'’\s]*\d[\d.,]*(?:e[-+]?\d+)?\s?[KMBT]?", re.IGNORECASE)


def is_number(cell: str) -> bool:
    """Whether a cell is written like a number, in any country."""
    return len(cell) < 64 and _NUMBER.fullmatch(cell.strip()) is not None  # the pattern is slow on what is endless


def are_numbers(cells: Sequence[str]) -> bool:
    """Whether the cells are numbers, apart from those that are missing."""
    present = [cell for cell in cells if cell.strip().lower() not in MISSING]
    return bool(present) and all(is_number(cell) for cell in present)


def parse_numbers(
    cells: dict[int, pd.Series], volumes: set[int], decimal: str | None, table: Table
) -> tuple[dict[int, np.ndarray], list[str]]:
    """Columns as float64, and what was inferred; `volumes` are those that may say K, M, B or T.

    Raises BadInput naming the first cell that is no number, or --decimal where the cells do not say which of '.' and
    ',' begins the decimals.
    """
    text = {c: _bare(cells[c]) for c in cells if not _is_numeric(cells[c])}
    scaled = {c: text[c].str.contains(_SCALED, regex=True).to_numpy(bool) for c in volumes & text.keys()}
    letters = {c: text[c].str[-1:].str.upper() for c, found in scaled.items() if found.any()}
    for column in letters:
        text[column] = text[column].mask(scaled[column], text[column].str[:-1])
    mark, notes = _decimal_mark(text, decimal, table)
    numbers = {c: cells[c].to_numpy(np.float64) for c in cells if c not in text}
    for column, plain in text.items():
        numbers[column] = _parse(plain, mark)
        bad = np.isnan(numbers[column])
        bad[bad] = [cell.lower() not in MISSING for cell in plain[bad]]
        refuse_first(bad, cells[column], table, column, "is not a number; mend the cell or remove the row")
    for column, letter in letters.items():
        scale = np.where(scaled[column], letter.map(SCALE).to_numpy(np.float64), 1.0)
        numbers[column] = numbers[column] * scale
    return numbers, notes


def _is_numeric(cells: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)


def _bare(cells: pd.Series) -> pd.Series:
    """Text without currency signs, blanks and apostrophes."""
    text = cells.fillna("").astype(str).str.strip()
    if text.str.contains(f"[{_DECORATION}]", regex=True).any():
        for sign in _DECORATION:
            text = text.str.replace(sign, "", regex=False)
    return text


def _parse(text: pd.Series, mark: str) -> np.ndarray:
    """Numbers, and NaN for what is none: groups must be of three digits, or of two before the last as in India."""
    group = "," if mark == "." else "."
    if text.str.contains(group, regex=False).any():
        grouped = text.str.fullmatch(rf"[-+]?\d{{1,3}}(?:\{group}\d{{2,3}})*\{group}\d{{3}}(?:\{mark}\d*)?")
        text = text.mask(grouped, text.str.replace(group, "", regex=False))
        text = text.mask(text.str.contains(group, regex=False), "")
    if mark == ",":
        text = text.str.replace(",", ".", regex=False)
    return np.asarray(pd.to_numeric(text, errors="coerce"), np.float64)


def _decimal_mark(columns: dict[int, pd.Series], decimal: str | None, table: Table) -> tuple[str, list[str]]:
    """'.' or ',', from all number columns together: one cell like `1.234,5` settles it for `1.234` elsewhere."""
    if decimal is not None:
        return decimal, []
    commas = {c: text.str.contains(",", regex=False).to_numpy(bool) for c, text in columns.items()}
    comma = any(_is_decimal(text, ",", ".").any() for text in columns.values())
    if not comma and not any(found.any() for found in commas.values()):
        return ".", []
    point = any(_is_decimal(text, ".", ",").any() for text in columns.values())
    if point == comma:
        message = "has a comma, and the file has both kinds of it" if point else "could have thousands or decimals"
        for column, found in commas.items():
            refuse_first(found, columns[column], table, column, f"{message}; say --decimal . or --decimal ,")
    return (",", ["decimal comma"]) if comma and not point else (".", ["commas between thousands"])


def _is_decimal(text: pd.Series, mark: str, other: str) -> pd.Series:
    """Cells where `mark` begins decimals for sure: not three digits after it, 0 or four before it, `other` between."""
    mark, other = re.escape(mark), re.escape(other)
    alone = rf"[-+]?(?:\d*{mark}(?:\d{{1,2}}|\d{{4,}})|0?{mark}\d+|0\d*{mark}\d+|\d{{4,}}{mark}\d+)(?:[eE][-+]?\d+)?"
    grouped = rf"[-+]?\d{{1,3}}(?:(?:{other}\d{{2,3}})*{other}\d{{3}}{mark}\d*|(?:{other}\d{{2,3}})+{other}\d{{3}})"
    return text.str.fullmatch(f"{alone}|{grouped}")
