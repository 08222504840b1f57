"""One series of bars in one Parquet file, with what is known of it in the schema metadata."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.errors import DamagedData
from data_pipeline.storage import replace_file

FORMAT = 1  # of the store and of the files in it
KEY = b"mqc_series"
COLUMNS = ("unique_id", "ds", "open", "high", "low", "close", "adj_close", "volume", "dividend", "split")
ABANDONED_S = 3600.0  # no write takes so long


@dataclass(frozen=True)
class StoredSeries:
    """What a file says of its bars: `fetched_from` is the date the source was asked from, `first` and `last` are the
    times of the bars, ISO 8601 (UTC intraday)."""

    symbol: str
    interval: str
    source: str
    fetched_from: str
    currency: str | None
    timezone: str | None
    bars: int
    first: str
    last: str
    format: int = FORMAT


def write_bars(file: Path, bars: pd.DataFrame, about: dict[str, Any]) -> None:
    """Put bars and what is known of them (fields of StoredSeries) in place of what `file` held."""
    bars = pd.DataFrame(bars, columns=[name for name in COLUMNS if name in bars])
    first, last = (np.datetime_as_string(bars["ds"].to_numpy()[row], "s") for row in (0, -1))
    series = StoredSeries(**about, bars=len(bars), first=str(first), last=str(last))
    table = pa.Table.from_pandas(bars, preserve_index=False)
    content = BytesIO()
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(asdict(series))}), content, write_page_checksum=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep(file.parent)
    replace_file(file, content.getvalue())


def read_series(file: Path, symbol: str, interval: str) -> StoredSeries:
    """What is known of the bars in `file`. Raises DamagedData when it is not the store's file of this series."""
    return _read(file, symbol, interval, bars=False)[0]


def read_bars(file: Path, symbol: str, interval: str) -> pd.DataFrame:
    """The bars in `file`, checksums verified. Raises DamagedData when it is not the store's file of this series."""
    return _read(file, symbol, interval, bars=True)[1]


def _read(file: Path, symbol: str, interval: str, bars: bool) -> tuple[StoredSeries, pd.DataFrame]:
    mend = f"move it away and run 'mqc data fetch {symbol} --interval {interval}'"
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            about = (parquet.schema_arrow.metadata or {}).get(KEY)
            if about is None:
                raise DamagedData(f"{file}: a Parquet file that this store did not write; {mend}")
            known = json.loads(about)
            if known["format"] > FORMAT:
                newer = f"{file}: format {known['format']}, and this mqc-jax reads up to {FORMAT}"
                raise DamagedData(f"{newer}; upgrade mqc-jax")
            series = StoredSeries(**known)
            frame = parquet.read().to_pandas() if bars else pd.DataFrame()
    except PermissionError:
        raise
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        raise DamagedData(f"{file}: broken ({str(error)[:120]}); {mend}") from None
    if (series.symbol, series.interval) != (symbol, interval):
        raise DamagedData(f"{file}: holds {series.interval} bars of {series.symbol}, not of {symbol}; {mend}")
    return series, frame


def _sweep(folder: Path) -> None:
    """Remove what writers left behind that were killed long ago."""
    for partial in folder.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished it
            if time.time() - partial.stat().st_mtime > ABANDONED_S:
                partial.unlink()
