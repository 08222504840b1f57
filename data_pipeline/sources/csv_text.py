"""CSV files as they are found: any usual separator, titles above the header, two header rows, or none at all."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from data_pipeline.sources.csv_header import find_header, usual_width
from data_pipeline.sources.number_text import MISSING
from data_pipeline.sources.table import MAX_COLUMNS, SAMPLE_ROWS, TAB, separator_of

HEAD_BYTES = 1 << 20  # what is looked at before reading, and the longest line
SEPARATORS = (TAB, ";", "|", ",")  # the comma last: it also stands in numbers
_NULLS = sorted({spelling for word in MISSING for spelling in (word, word.upper(), word.title())} | {"NaN", "N/a"})


@dataclass(frozen=True)
class CsvTable:
    """A CSV file of which the header is understood (`data_pipeline.sources.table.Table`)."""

    path: Path
    names: list[str]
    assets: list[str] | None
    sample: list[list[str]]
    notes: list[str]
    data: bytes  # the file as UTF-8
    separator: str
    start: int  # where in `data` the first row of bars begins
    lines_above: int  # it

    def read(self, texts: Sequence[int], numbers: Sequence[int]) -> dict[int, pd.Series]:
        """Those columns: numbers as float64, or all as text where one cell is no plain number."""
        try:
            return self._read(texts, numbers, pa.float64())
        except pa.ArrowInvalid:  # a cell that is no plain number, in most cases
            pass
        try:
            return self._read(texts, numbers, pa.string())
        except pa.ArrowInvalid as error:
            raise BadInput(f"{self.path}: not a CSV file ({str(error)[:120]}); write one bar per line") from None

    def row(self, index: int) -> int:
        """The line of the file on which data row `index` ends."""
        text = io.TextIOWrapper(io.BytesIO(self.data[self.start :]), "utf-8", newline="")
        reader = csv.reader(text, delimiter=self.separator)
        lines = (reader.line_num for cells in reader if cells)
        return self.lines_above + next(islice(lines, index, None))

    def _read(self, texts: Sequence[int], numbers: Sequence[int], number: pa.DataType) -> dict[int, pd.Series]:
        bad_rows = []

        def remember(row: arrow_csv.InvalidRow) -> str:
            bad_rows.append(row)
            return "skip"

        types = {str(p): pa.string() for p in texts} | {str(p): number for p in numbers}
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(memoryview(self.data)[self.start :])),
            arrow_csv.ReadOptions(
                column_names=[str(p) for p in range(len(self.names))], use_threads=False, block_size=HEAD_BYTES
            ),
            arrow_csv.ParseOptions(delimiter=self.separator, invalid_row_handler=remember),
            arrow_csv.ConvertOptions(column_types=types, null_values=_NULLS, include_columns=list(types)),
        )
        if bad_rows:
            row, row_number = bad_rows[0], self.row(bad_rows[0].number - 1)
            fields = f"row {row_number} has {row.actual_columns} fields, the rows above it {row.expected_columns}"
            raise BadInput(f"{self.path}: {fields}; mend or remove it")
        return {int(name): table[name].to_pandas() for name in types}


def open_csv(path: Path, options: FileOptions) -> CsvTable:
    """Read a file and understand its header. Raises BadInput where there is no sense in it."""
    data = _utf8(path)
    lines = _head(data, path)
    separator = _separator(lines, options, path)
    rows = _split(lines, separator, path)
    header = find_header(rows, path)
    if header.below >= len(rows):
        raise BadInput(f"{path}: no rows below the header; a file of prices has one row per bar")
    notes = [] if separator == "," else [f"separator {'tab' if separator == TAB else repr(separator)}"]
    if header.above:
        skipped = " / ".join(line.strip() for _, line in lines[: header.above])
        notes.append(f"skipped above the header: {skipped[:80]!r}")
    above = lines[header.below][0] - 1
    return CsvTable(
        path=path,
        names=header.names,
        assets=header.assets,
        sample=[cells for cells in rows[header.below :][:SAMPLE_ROWS] if len(cells) == len(header.names)],
        notes=notes + header.notes,
        data=data,
        separator=separator,
        start=sum(len(line) for line in data[:HEAD_BYTES].splitlines(keepends=True)[:above]),
        lines_above=above,
    )


def _utf8(path: Path) -> bytes:
    """The file as UTF-8 without a byte order mark."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{path}: not a whole gzip file ({error}); fetch it again") from None
    try:
        if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            data = data.decode("utf-16").encode()
        elif not data.isascii():
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not text in UTF-8 (byte {error.start}); save it as CSV in UTF-8") from None
    if b"\0" in data:
        raise BadInput(f"{path}: a NUL at byte {data.index(0)}, so no text; save it as CSV in UTF-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _head(data: bytes, path: Path) -> list[tuple[int, str]]:
    """The first lines that are not blank, with their numbers."""
    head = data[:HEAD_BYTES].splitlines()
    if len(data) > HEAD_BYTES:
        head.pop()  # cut off
        if not head:
            raise BadInput(f"{path}: its first line is longer than {HEAD_BYTES:,} bytes; write one bar per line")
    lines = [(number, line.decode()) for number, line in enumerate(head[: 3 * SAMPLE_ROWS], 1) if line]
    if not any(line.strip() for _, line in lines):
        raise BadInput(f"{path}: the file is empty; it needs a header row and one row per bar")
    if max(max(line.count(mark) for mark in SEPARATORS) for _, line in lines) >= MAX_COLUMNS:
        raise BadInput(f"{path}: more than {MAX_COLUMNS:,} columns; write one row per bar and asset")
    return lines


def _separator(lines: list[tuple[int, str]], options: FileOptions, path: Path) -> str:
    """The first that splits the usual line."""
    for separator in separator_of(options) or SEPARATORS:
        if usual_width(_split(lines, separator, path)) > 1:
            return separator
    raise BadInput(f"{path}: one column only, {lines[0][1][:40]!r}; say --separator where it is another than tab ; | ,")


def _split(lines: list[tuple[int, str]], separator: str, path: Path) -> list[list[str]]:
    try:
        return [next(csv.reader([line], delimiter=separator)) for _, line in lines]
    except csv.Error as error:
        raise BadInput(f"{path}: not a CSV file ({error}); write one bar per line") from None
