"""`data fetch`: prices from Yahoo into the local store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from data_pipeline.errors import BadInput, SomeFailed
from data_pipeline.sources.request import ALL, POPULAR, Wanted, check_ticker, tickers_in_file
from data_pipeline.splits import parse_day
from mqc_jax.flags import parse

if TYPE_CHECKING:
    from data_pipeline.update import Outcome

Interval = Literal["1m", "2m", "5m", "15m", "30m", "60m", "1h", "1d"]


@dataclass(frozen=True)
class FetchFlags:
    """Bring prices from Yahoo into the local store, or bring those that are there up to date.

    Example: mqc data fetch AAPL BRK-B ^GSPC. Yahoo's terms allow personal use only: keep what you fetch to yourself.
    Daily bars carry the exchange's date, others UTC. The last bar may be of a session that still runs; the next fetch
    completes it. Whatever succeeds is stored even if other tickers fail; the exit code is then 5 when Yahoo did not
    deliver all (run it again later), 3 when a stored file is damaged, 2 when Yahoo refused a ticker.
    """

    symbols: tyro.conf.Positional[tuple[str, ...]] = ()
    """Tickers as Yahoo spells them."""
    tickers: tuple[str, ...] = ()
    """More tickers."""
    tickers_file: str | None = None
    """More tickers from a text file: one per line or separated by commas; # begins a comment."""
    add_popular: bool = False
    """Also twenty popular ones: eleven large US stocks, six funds, three cryptocurrencies."""
    interval: Interval = "1d"
    """Length of a bar. Yahoo keeps 1m for 7 days, 2m to 30m for 60 days, 60m (the same as 1h) for 730 days."""
    start: str | None = None
    """First day, a date like 2015-01-01; default: all there is, or what follows the stored bars."""
    end: str | None = None
    """Last day, included; default: today."""
    max: bool = False
    """All history, also from before the stored bars; not together with --start."""
    retries: int = 4
    """How often to ask again, after 1, 2, 4, ... seconds, when Yahoo does not deliver."""
    store: str = "data/store"
    """Folder of the store."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> FetchFlags:
    given = parse(FetchFlags, argv, "mqc data fetch")
    if not _tickers(given):
        raise BadInput("mqc data fetch: no tickers; write 'mqc data fetch AAPL MSFT', --tickers_file or --add_popular")
    if given.max and given.start:
        raise BadInput("--max asks for all history and --start for less; give one of them")
    if not 0 <= given.retries <= 20:
        raise BadInput(f"--retries {given.retries} must be from 0 to 20")
    _wanted(given)
    return given


def run(flags: FetchFlags, console: Console) -> dict[str, Any]:
    """Fetch, store, and tell how it went with every ticker."""
    from data_pipeline.store import Store
    from data_pipeline.update import update

    store, tickers, wanted = Store(flags.store), _tickers(flags), _wanted(flags)
    kept = wanted.first_day_kept
    if wanted.start and wanted.start < kept and not flags.max:
        console.print(
            f"Yahoo keeps no {wanted.interval} bars from before {kept}: starting there, not on {wanted.start}"
        )
    outcomes = []
    for number, symbol in enumerate(tickers, 1):
        console.print(f"{symbol}, {number} of {len(tickers)}")
        outcome = update(store, symbol, wanted, flags.retries)
        if outcome.exit_code:
            console.print(f"{symbol}: {outcome.reason}")
        outcomes.append(outcome)
    _print(outcomes, console)
    rows = [asdict(outcome) for outcome in outcomes]
    failed = [outcome for outcome in outcomes if outcome.exit_code]
    figures = {"store": flags.store, "interval": wanted.interval, "n_failed": len(failed), "tickers": rows}
    if failed:
        told = "; ".join(f"{outcome.symbol}: {outcome.reason}" for outcome in failed[:3])
        message = f"{len(failed)} of {len(outcomes)} tickers incomplete ({told}{'; …' * (len(failed) > 3)})"
        raise SomeFailed(message, max(outcome.exit_code for outcome in failed), figures)
    return figures


def _tickers(flags: FetchFlags) -> list[str]:
    """All tickers asked for, each once. Raises BadInput for what is none."""
    typed = [check_ticker(text, "mqc data fetch") for text in (*flags.symbols, *flags.tickers)]
    listed = tickers_in_file(flags.tickers_file) if flags.tickers_file else []
    return list(dict.fromkeys([*typed, *listed, *(POPULAR if flags.add_popular else ())]))


def _wanted(flags: FetchFlags) -> Wanted:
    """Which bars are asked for. Raises BadInput for days in the wrong order or beyond reach."""
    return Wanted(
        interval="1h" if flags.interval == "60m" else flags.interval,
        start=ALL if flags.max else _day(flags.start, "--start"),
        end=_day(flags.end, "--end"),
        today=datetime.now(UTC).date(),
    )


def _day(text: str | None, flag: str) -> date | None:
    return None if text is None else date.fromisoformat(str(parse_day(text, flag)))


def _print(outcomes: list[Outcome], console: Console) -> None:
    table = Table(box=None)
    for name in ("ticker", "status", "bars", "added", "first", "last", "reason"):
        table.add_column(name, justify="right" if name in ("bars", "added") else "left")
    for row in outcomes:
        days = (time.replace("T00:00:00", "").replace("T", " ") if time else "" for time in (row.first, row.last))
        table.add_row(row.symbol, row.status, f"{row.bars:,}", f"{row.bars_added:,}", *days, row.reason)
    console.print(table)
