"""Parquet files: as pandas writes them (index, two levels of columns) and as everything else does."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from data_pipeline.errors import BadInput
from data_pipeline.sources.frame_table import FrameTable
from data_pipeline.sources.table import MAX_COLUMNS


def open_parquet(path: Path) -> FrameTable:
    """Read a whole file. Raises BadInput when it is no Parquet file, a damaged one, or one without rows."""
    try:
        with path.open("rb") as handle:
            file = parquet.ParquetFile(handle)
            if len(file.schema_arrow) > MAX_COLUMNS:
                raise BadInput(f"{path}: more than {MAX_COLUMNS:,} columns; write one row per bar and asset")
            frame = file.read(use_threads=False).to_pandas(date_as_object=False, split_blocks=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise BadInput(f"{path}: not a readable Parquet file ({reason}); write it again") from None
    return FrameTable.of(frame, path)
