"""`data check`: what is wrong with prices, asset by asset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Console

from data_pipeline.config import FileOptions
from data_pipeline.errors import BadInput
from mqc_jax.flags import check_picture, check_place, parse

if TYPE_CHECKING:
    import pandas as pd

    from data_pipeline.checks import Finding


@dataclass(frozen=True)
class CheckFlags:
    """Look for gaps, duplicates, bad prices, unadjusted splits and more, and say what is done about each."""

    data: str
    """'bundled', 'synthetic:garch', CSV or Parquet files or folders of them, or a store of downloaded bars."""
    calendar: str | None = None
    """Trading calendar of all assets: XNYS, XETR, 24/7, 24/5, none, …; default: inferred from each name and printed."""
    plot: str | None = None
    """Draw the findings: to this PNG file for one asset, or else to a picture per asset in this folder."""
    files: FileOptions = field(default_factory=FileOptions)
    json: str | None = None
    """Also write every finding to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> CheckFlags:
    given = parse(CheckFlags, argv, "mqc data check")
    if given.plot is not None:
        place = Path(given.plot)
        check = check_picture if place.suffix and not place.is_dir() else check_place
        check(given.plot, "--plot")
    return given


def run(flags: CheckFlags, console: Console) -> dict[str, Any]:
    """Inspect asset by asset, print, draw."""
    from data_pipeline.checks import inspect
    from data_pipeline.shards import calendar_of, priced_times

    figures: dict[str, Any] = {"findings": [], "assets": []}
    picture: tuple[str, pd.DataFrame, Sequence[Finding]] | None = None
    for unique_id, bars, name in _assets(flags, console):
        if picture is not None:
            raise BadInput(f"--plot {flags.plot}: there are several assets, and this is one picture; give a folder")
        calendar, reason = calendar_of(unique_id, priced_times(bars), name)
        console.print(reason)
        cleaned = inspect(bars, calendar)
        _print(cleaned.findings, console)
        kept, pieces = len(cleaned.bars), int(cleaned.breaks.sum())
        console.print(f"{unique_id}: {kept:,} bars kept of {len(bars):,}, {pieces:,} piece{'s' * (pieces != 1)}\n")
        if flags.plot is not None and flags.plot.endswith(".png"):
            picture = unique_id, bars, cleaned.findings  # drawn when no other asset follows
        elif flags.plot is not None:
            _draw(Path(flags.plot), unique_id, bars, cleaned.findings)
        about = {"calendar": calendar.name, "bars_read": len(bars), "bars_kept": kept, "pieces": pieces}
        figures["assets"].append({"unique_id": unique_id} | about)
        figures["findings"] += [finding._asdict() for finding in cleaned.findings]
    if picture is not None and flags.plot is not None:
        _draw(Path(flags.plot), *picture)
    return figures


def _assets(flags: CheckFlags, console: Console) -> Iterator[tuple[str, pd.DataFrame, str | None]]:
    """Raw bars, one asset at a time, and the calendar that is asked for or that the source knows."""
    from data_pipeline.bars import canonical
    from data_pipeline.sources import open_source

    source = open_source(flags.data, flags.files)
    for part in source.parts():
        frame, notes = source.read(part)
        for line in notes:
            console.print(line)
        for unique_id, bars in canonical(frame, flags.data).groupby("unique_id", sort=False):
            yield str(unique_id), bars, flags.calendar or source.calendar


def _print(findings: Sequence[Finding], console: Console) -> None:
    """One row per kind of finding and what is done about it."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.kind, finding.action), []).append(finding)
    if not findings:
        console.print("nothing found")
        return
    width = max(len(finding.ds) for finding in findings)
    console.print(f"{'found':<20}{'times':>7}  {'first':<{width}}  {'last':<{width}}  what is done; an example")
    for (kind, action), group in groups.items():
        console.print(f"{kind:<20}{len(group):>7,}  {group[0].ds:<{width}}  {group[-1].ds:<{width}}  {action}")
        console.print(f"{'':<29}{group[0].evidence}")


def _draw(place: Path, unique_id: str, bars: pd.DataFrame, findings: Sequence[Finding]) -> None:
    from data_pipeline.plots import findings_chart

    if place.suffix != ".png":
        place.mkdir(exist_ok=True)
        place = place / f"{quote(unique_id, safe='^=')}.png"  # BTC/USD is no folder BTC
    title = f"{unique_id}: {len(findings):,} finding{'s' * (len(findings) != 1)} in {len(bars):,} bars"
    findings_chart(place, bars, findings, title)
