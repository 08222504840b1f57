"""CSV files of prices, as exchanges and data vendors write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from data_pipeline.bars import check_bars
from data_pipeline.errors import BadInput

# canonical name: the header names it goes by, lower case, best first
NAMES = {
    "unique_id": ("unique_id", "symbol", "ticker", "item_id"),
    "ds": ("ds", "date", "datetime", "timestamp", "timestamps", "time"),
    "close": ("close", "y", "target"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "volume": ("volume",),
    "adj_close": ("adj_close", "adj close"),
}
TEXT = ("unique_id", "ds")
MISSING = ("", "na", "nan", "n/a", "null", "none")  # numbers that are not there; `bars` says where that matters


def load(source: str) -> pd.DataFrame:
    """Bars of one CSV file, or of every `*.csv` in a folder, in the order of their names.

    An asset is named by the file's `unique_id`/`symbol`/`ticker` column, or else by the file's name. The price is the
    adjusted close where there is one: returns then carry neither splits nor dividends.

    Raises BadInput naming the file and the row.
    """
    path = Path(source)
    paths = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not paths:
        raise BadInput(f"{source}: no *.csv file in this folder")
    return pd.concat([check_bars(read_csv(path), str(path)) for path in paths], ignore_index=True)


def read_csv(path: Path) -> pd.DataFrame:
    """Bars of one CSV file with a header row. Raises BadInput naming the column and the row."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            raw = pd.read_csv(path, dtype=str, skipinitialspace=True, na_filter=False, index_col=False)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; give a CSV file, a folder of them, or the word 'bundled'") from None
    except pd.errors.EmptyDataError:
        raise BadInput(f"{path}: the file is empty; it needs a header row with a date and a close column") from None
    except pd.errors.ParserWarning:
        raise BadInput(f"{path}: rows have more fields than the header has names; name every column") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{path}: not a readable CSV file ({str(error).strip()}); save it as UTF-8 text") from None
    found = {name: _column(raw, known) for name, known in NAMES.items()}
    for name in ("ds", "close"):
        if found[name] is None:
            raise BadInput(f"{path}: no {name} column among {list(raw.columns)}; name one of them {NAMES[name]}")
    text = {name: raw[column].to_numpy() for name, column in found.items() if column is not None}
    columns = {name: _numbers(values, path, name) for name, values in text.items() if name not in TEXT}
    bars = pd.DataFrame({"unique_id": text.get("unique_id", path.stem), "ds": _dates(text["ds"], path)} | columns)
    return bars.assign(close=bars["adj_close"]) if "adj_close" in bars else bars


def _column(raw: pd.DataFrame, known: tuple[str, ...]) -> str | None:
    by_name = {str(column).strip().lower(): column for column in raw.columns}
    return next((by_name[name] for name in known if name in by_name), None)


def _numbers(text: np.ndarray, path: Path, name: str) -> np.ndarray:
    numbers = pd.Series(pd.to_numeric(text, errors="coerce"), dtype=float).to_numpy()
    present = ~np.isin(np.char.lower(text.astype(str)), MISSING)
    _refuse_first(np.isnan(numbers) & present, text, path, f"as {name} is not a number; mend or remove the row")
    return numbers


def _dates(text: np.ndarray, path: Path) -> np.ndarray:
    dates = pd.DatetimeIndex(pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)).tz_localize(None)
    _refuse_first(np.asarray(dates.isna()), text, path, "is not a date like 2024-01-31; mend or remove the row")
    return dates.to_numpy()


def _refuse_first(bad: np.ndarray, text: np.ndarray, path: Path, message: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise BadInput(f"{path}: row {row + 1}: {str(text[row])[:40]!r} {message}")
