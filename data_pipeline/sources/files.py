"""Prices in CSV and Parquet files, as exchanges, vendors and other tools write them.

A folder is read part by part, and a part is read by a pure function, so that workers can share the parts of a lake.
Rows come as they stand: order, repetitions and gaps are for the checks to judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from data_pipeline.sources.columns import UNIQUE_ID, Layout, find_columns
from data_pipeline.sources.csv_text import open_csv
from data_pipeline.sources.number_text import parse_numbers
from data_pipeline.sources.parquet import open_parquet
from data_pipeline.sources.table import Table, check_options, refuse_first
from data_pipeline.sources.time_text import parse_times

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")  # what is looked for in folders
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
_DATED_NAME = re.compile(r"(?P<symbol>.+?)(?:_\d{4}[-\d]*){1,2}_\d+[A-Za-z]+")  # SYMBOL_<dates>_<interval>


@dataclass(frozen=True)
class Part:
    """What one worker reads at once: a file, or all files of one symbol."""

    name: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return self.name


def find_parts(source: str) -> list[Part]:
    """Parts of a file or of a folder and the folders in it, sorted by name; hidden files are left out.

    Files below a folder like `symbol=AAPL` are one part. `.txt` files count where a folder has no others.

    Raises BadInput when there is nothing to read.
    """
    path = Path(source)
    if os.path.isfile(source):
        return [Part(_hive_symbol(path) or path.name, (path,))]
    if not os.path.isdir(source):
        raise BadInput(f"{source!r}: no such file or folder; give a CSV or Parquet file, or a folder of them")
    files = list(_walk(path))
    found = [file for file in files if file.name.lower().endswith(ENDINGS)]
    found = found or [file for file in files if file.name.lower().endswith(".txt")]
    if not found:
        raise BadInput(f"{source}: no file in this folder ends in {', '.join(ENDINGS)} or .txt")
    parts: dict[str, list[Path]] = {}
    for file in sorted(found):
        parts.setdefault(_hive_symbol(file) or file.relative_to(path).as_posix(), []).append(file)
    return [Part(name, tuple(paths)) for name, paths in sorted(parts.items())]


def read_part(part: Part, options: FileOptions) -> tuple[pd.DataFrame, list[str]]:
    """Raw bars of a part (`unique_id, ds, close` and what else there is), and one line for each thing inferred.

    An asset is named by a column, else by its folder (`symbol=AAPL`), else by --symbol, else by the file's name.

    Raises BadInput naming the file and the row, or the flag that settles what is not clear.
    """
    check_options(options)
    frames, notes = [], []
    for path in part.paths:
        bars, inferred = _read_file(path, options)
        frames.append(bars)
        notes += inferred
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], list(dict.fromkeys(notes))


def _walk(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise BadInput(f"{error.filename}: {error.strerror}; let it be read, or move it elsewhere")

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _hive_symbol(path: Path) -> str | None:
    """AAPL of `symbol=AAPL/date=2024-01-02/part.parquet`."""
    pairs = (folder.partition("=") for folder in path.parts[:-1])
    return next((unquote(value) for key, _, value in pairs if key.lower() in UNIQUE_ID and value), None)


def _read_file(path: Path, options: FileOptions) -> tuple[pd.DataFrame, list[str]]:
    try:
        table = _open(path, options)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; give a file that can be read") from None
    return read_table(table, options)


def read_table(table: Table, options: FileOptions) -> tuple[pd.DataFrame, list[str]]:
    """Raw bars of one table, and what was inferred; raises as `read_part` does."""
    layout = find_columns(table, options)
    texts = [p for p in (layout.date, layout.clock, layout.unique_id) if p is not None]
    numbers = sorted({p for fields in layout.fields.values() for p in fields.values()} - {*texts})
    plain = options.decimal != ","  # elsewhere 1.234 is a thousand
    cells = table.read(texts, numbers) if plain else table.read(texts + numbers, [])
    clock = None if layout.clock is None else cells[layout.clock]
    times, of_times = parse_times(cells[layout.date], clock, layout.date, options, table)
    volumes = {fields["volume"] for fields in layout.fields.values() if "volume" in fields}
    prices, of_numbers = parse_numbers({p: cells[p] for p in numbers}, volumes, options.decimal, table)
    names, of_names = _asset_names(cells, layout, table, options)
    bars, of_gaps = _bars(times, prices, names, layout)
    return bars, [*table.notes, *layout.notes, *of_times, *of_numbers, *of_names, *of_gaps]


def _open(path: Path, options: FileOptions) -> Table:
    """The file's cells, by what it is rather than by its name; nothing that can hold a program is ever opened."""
    with path.open("rb") as file:
        magic = file.read(4)
    if path.suffix.lower() in PICKLES or (magic[:1] == b"\x80" and magic[1:2] in (b"\2", b"\3", b"\4", b"\5")):
        raise BadInput(f"{path}: a pickle can run any program, so it is not read; save the prices as CSV or Parquet")
    if magic == b"PK\3\4":
        raise BadInput(f"{path}: a ZIP archive or an Excel file; unpack it, or save the sheet as CSV")
    if magic == b"PAR1" or path.suffix.lower() == ".parquet":
        return open_parquet(path)
    return open_csv(path, options)


def _asset_names(
    cells: dict[int, pd.Series], layout: Layout, table: Table, options: FileOptions
) -> tuple[pd.Series | str, list[str]]:
    if "" not in layout.fields:
        return "", []
    if layout.unique_id is not None:
        names = cells[layout.unique_id]
        names = names.astype(str).where(names.notna(), "").str.strip()
        refuse_first((names == "").to_numpy(), names, table, layout.unique_id, "names no asset; fill it in")
        return names, []
    path = table.path
    given = _hive_symbol(path) or options.symbol
    if given is not None:
        return given, []
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    dated = _DATED_NAME.fullmatch(stem)
    name = dated["symbol"] if dated else stem
    return name, [f"asset named {name!r} after the file"]


def _bars(
    times: np.ndarray, prices: dict[int, np.ndarray], names: pd.Series | str, layout: Layout
) -> tuple[pd.DataFrame, list[str]]:
    """Long bars. Where columns are an asset's, a row without any number of an asset is no bar of it."""
    frames, no_bars = [], 0
    for asset, fields in layout.fields.items():
        columns = {what: prices[position] for what, position in fields.items()}
        bars = pd.DataFrame({"unique_id": asset or names, "ds": times, **columns})
        if "split" in bars:
            bars["split"] = bars["split"].replace(1.0, 0.0)  # some vendors write a ratio of 1 where there is no split
        if len(layout.fields) > 1:
            empty = bars[list(columns)].isna().to_numpy().all(axis=1)
            bars, no_bars = bars[~empty], no_bars + int(empty.sum())
        frames.append(bars)
    notes = [f"{no_bars} empty places of the wide table are no bars"] if no_bars else []
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0], notes
