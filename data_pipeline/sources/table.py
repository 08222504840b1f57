"""What the readers of files share: the cells of a file, how a bad one is named, and which options make sense."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput

TAB = "\t"
MAX_COLUMNS = 10_000
SAMPLE_ROWS = 100  # enough to see what a column holds; what is decided from them is held against every row later


def check_options(options: FileOptions) -> None:
    """Raise BadInput naming the first option that makes no sense in any file."""
    if options.decimal not in (None, ".", ","):
        raise BadInput(f"--decimal {options.decimal}: a decimal mark is '.' or ','")
    if options.separator is not None and len(separator_of(options)) != 1:
        raise BadInput(f"--separator {options.separator!r}: a separator is one character, or the word 'tab'")
    if options.date_format not in (None, "dayfirst", "monthfirst") and "%" not in str(options.date_format):
        raise BadInput(f"--date_format {options.date_format}: say dayfirst, monthfirst, or a pattern like %d.%m.%Y")
    try:
        ZoneInfo(options.timezone or "UTC")
    except (KeyError, ValueError, OSError):
        raise BadInput(f"--timezone {options.timezone}: no such zone; one is America/New_York, another UTC") from None


def separator_of(options: FileOptions) -> str:
    """The separator that was asked for; "" for none."""
    return TAB if options.separator in ("tab", "\\t") else options.separator or ""


class Table(Protocol):
    """The cells of one file, before anyone has said what they mean; columns go by their position."""

    @property
    def path(self) -> Path: ...

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        ...

    @property
    def assets(self) -> list[str] | None:
        """Of the columns, where the header names them too; "" for the time."""
        ...

    @property
    def sample(self) -> list[list[str]]:
        """The first rows as text."""
        ...

    @property
    def notes(self) -> list[str]:
        """What was inferred so far."""
        ...

    def read(self, texts: Sequence[int], numbers: Sequence[int]) -> dict[int, pd.Series]:
        """Those columns. Numbers are text, all of them, where one is not written plainly."""
        ...

    def row(self, index: int) -> int:
        """Where the file has data row `index`, counted from 1 as an editor or a spreadsheet does."""
        ...


def refuse_first(bad: np.ndarray, cells: pd.Series, table: Table, column: int, message: str) -> None:
    """Raise BadInput for the first bad cell, naming file, row and column."""
    if bad.any():
        index = int(np.argmax(bad))
        where = f"{table.path}: row {table.row(index)}, column {table.names[column]!r}"
        raise BadInput(f"{where}: {str(cells.iloc[index])[:40]!r} {message}")
