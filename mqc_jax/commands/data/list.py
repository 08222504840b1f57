"""`data list`: what is in the local store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipeline.errors import BadInput, DamagedData, SomeFailed
from mqc_jax.flags import parse


@dataclass(frozen=True)
class ListFlags:
    """List the series in the local store. Needs no network."""

    store: str = "data/store"
    """Folder of the store."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> ListFlags:
    return parse(ListFlags, argv, "mqc data list")


def run(flags: ListFlags, console: Console) -> dict[str, Any]:
    """Print one row per series; a damaged file is told after the others."""
    from data_pipeline.store import Store, is_store

    if not is_store(Path(flags.store)):
        raise BadInput(f"{flags.store}: no store here; 'mqc data fetch AAPL --store {flags.store}' makes one")
    store = Store(flags.store)
    rows, damaged = [], []
    for symbol, interval in store.symbols():
        try:
            series = store.series(symbol, interval)
        except DamagedData as error:
            damaged.append(str(error))
            continue
        if series:  # and not removed this very moment
            rows.append(asdict(series) | {"size_bytes": store.file(symbol, interval).stat().st_size})
    _print(rows, console)
    figures = {"store": flags.store, "series": rows, "damaged": damaged}
    if damaged:
        raise SomeFailed("; ".join(damaged), DamagedData.exit_code, figures)
    return figures


def _print(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None)
    for name in ("symbol", "interval", "bars", "first", "last", "source", "size"):
        table.add_column(name, justify="right" if name in ("bars", "size") else "left")
    for row in rows:
        days = (row[name].replace("T00:00:00", "").replace("T", " ") for name in ("first", "last"))
        size = f"{row['size_bytes'] / 1e3:,.0f} kB"
        table.add_row(row["symbol"], row["interval"], f"{row['bars']:,}", *days, row["source"], size)
    console.print(table)
