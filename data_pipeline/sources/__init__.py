"""Where bars come from: `open_source` reads what the user typed, every source then speaks one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from data_pipeline.bars import canonical
from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from data_pipeline.sources import bundled, files, synthetic
from data_pipeline.sources.frame_table import FrameTable
from data_pipeline.sources.table import check_options
from data_pipeline.store import Store, is_store


class Source(Protocol):
    """Raw bars, in parts that can be read one by one, by any process."""

    calendar: ClassVar[str | None]  # of all its assets, where the source itself knows it

    def parts(self) -> Sequence[Any]:
        """Plain values that name the parts, in the order of the dataset; an asset is in one part only."""
        ...

    def read(self, part: Any) -> tuple[pd.DataFrame, list[str]]:
        """The bars of a part as delivered (`data_pipeline.bars`), and a line for each thing that was inferred."""
        ...

    def details(self) -> dict[str, Any]:
        """What the manifest should say of the source beside its name."""
        ...


@dataclass(frozen=True)
class Bundled:
    """Real daily prices that come with the `arch` package."""

    calendar: ClassVar[str | None] = "XNYS"

    def parts(self) -> Sequence[str]:
        return bundled.ASSETS

    def read(self, part: str) -> tuple[pd.DataFrame, list[str]]:
        return bundled.bars(part), []

    def details(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Simulated:
    """Prices of a process with known parameters."""

    market: synthetic.Synthetic
    calendar: ClassVar[str | None] = "24/7"

    def parts(self) -> Sequence[str]:
        return self.market.symbols

    def read(self, part: str) -> tuple[pd.DataFrame, list[str]]:
        return self.market.bars(part), []

    def details(self) -> dict[str, Any]:
        return {"parameters": self.market.parameters}


@dataclass(frozen=True)
class Files:
    """CSV and Parquet files."""

    source: str
    options: FileOptions
    calendar: ClassVar[str | None] = None

    def parts(self) -> Sequence[files.Part]:
        return files.find_parts(self.source)

    def read(self, part: files.Part) -> tuple[pd.DataFrame, list[str]]:
        return files.read_part(part, self.options)

    def details(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, eq=False)
class Frame:
    """A pandas frame in any of the shapes that files have; it is named by its columns, else by --symbol."""

    frame: pd.DataFrame
    options: FileOptions
    calendar: ClassVar[str | None] = None

    def parts(self) -> Sequence[str]:
        return ["frame"]

    def read(self, part: str) -> tuple[pd.DataFrame, list[str]]:
        check_options(self.options)
        return files.read_table(FrameTable.of(self.frame, Path(part)), self.options)

    def details(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Stored:
    """Bars of one interval in a local store."""

    store: str
    interval: str
    calendar: ClassVar[str | None] = None

    def parts(self) -> Sequence[str]:
        return [symbol for symbol, interval in Store(Path(self.store)).symbols() if interval == self.interval]

    def read(self, part: str) -> tuple[pd.DataFrame, list[str]]:
        return Store(Path(self.store)).read(part, self.interval), []

    def details(self) -> dict[str, Any]:
        return {"interval": self.interval}


def open_source(source: str, options: FileOptions | None = None) -> Source:
    """The source that `source` names: a word, a path, or a store of downloaded bars (`STORE` or `STORE/1d`).

    Raises BadInput when there is nothing there.
    """
    path = Path(source)
    if source == "bundled":
        return Bundled()
    if source.startswith(synthetic.PREFIX):
        return Simulated(synthetic.parse(source))
    if is_store(path):
        return _stored(path, None)
    if is_store(path.parent):
        return _stored(path.parent, path.name)
    return Files(source, options or FileOptions())


def _stored(path: Path, interval: str | None) -> Stored:
    there = sorted({stored for _, stored in Store(path).symbols()})
    if not there:
        raise BadInput(f"{path}: the store is empty; fill it with 'mqc data fetch'")
    if interval is None and len(there) == 1:
        (interval,) = there
    if interval not in there:
        raise BadInput(f"{path}: holds bars of {', '.join(there)}; name one of them, as {path / there[0]}")
    return Stored(str(path), interval)


def load_bars(source: str, options: FileOptions | None = None) -> pd.DataFrame:
    """All bars of a source as delivered, in one frame. Raises BadInput when there is nothing to read."""
    opened = open_source(source, options)
    return canonical(pd.concat([opened.read(part)[0] for part in opened.parts()], ignore_index=True), source)
