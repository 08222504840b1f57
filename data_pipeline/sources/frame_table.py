"""The cells of a pandas frame: its index and its columns, of one level or of two (field and asset)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_pipeline.errors import BadInput
from data_pipeline.sources.columns import count_known
from data_pipeline.sources.table import MAX_COLUMNS, SAMPLE_ROWS


@dataclass(frozen=True)
class FrameTable:
    """A frame, or a Parquet file (`data_pipeline.sources.table.Table`)."""

    path: Path
    names: list[str]
    assets: list[str] | None
    sample: list[list[str]]
    notes: list[str]
    columns: list[pd.Series]

    @classmethod
    def of(cls, frame: pd.DataFrame, path: Path) -> FrameTable:
        """Of a frame that errors call `path`. Raises BadInput when it is empty, too wide or of more than two levels."""
        if frame.shape[1] > MAX_COLUMNS:
            raise BadInput(f"{path}: more than {MAX_COLUMNS:,} columns; write one row per bar and asset")
        if not len(frame):
            raise BadInput(f"{path}: no rows; prices have one row per bar")
        unnamed = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
        levels = [] if unnamed else [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
        names, assets = _names(frame.columns, path)
        columns = [level.to_series(index=range(len(frame))) for level in levels]
        columns += [frame.iloc[:, p].reset_index(drop=True) for p in range(frame.shape[1])]
        return cls(
            path=path,
            names=[str(level.name or "index") for level in levels] + names,
            assets=None if assets is None else [""] * len(levels) + assets,
            sample=[list(cells) for cells in zip(*(_text(column) for column in columns), strict=True)],
            notes=[],
            columns=columns,
        )

    def read(self, texts: Sequence[int], numbers: Sequence[int]) -> dict[int, pd.Series]:
        """Those columns, of the types they have."""
        return {p: self.columns[p] for p in (*texts, *numbers)}

    def row(self, index: int) -> int:
        return index + 1


def _names(columns: pd.Index, path: Path) -> tuple[list[str], list[str] | None]:
    """Names of the columns and, where they have two levels, the asset of each: in whichever level it stands."""
    if not isinstance(columns, pd.MultiIndex):
        return [str(name) for name in columns], None
    if columns.nlevels != 2:
        raise BadInput(f"{path}: columns of {columns.nlevels} levels; two are understood, price and ticker")
    first, second = ([str(name) for name in columns.get_level_values(level)] for level in (0, 1))
    return (first, second) if count_known(first) >= count_known(second) else (second, first)


def _text(column: pd.Series) -> list[str]:
    head = column.head(SAMPLE_ROWS)
    return ["" if missing else str(cell) for cell, missing in zip(head, head.isna(), strict=True)]
