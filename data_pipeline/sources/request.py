"""What is asked of Yahoo, checked without asking: tickers, the length of bars, the days."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from data_pipeline.errors import BadInput

POPULAR = (
    *("AAPL", "AMZN", "GOOGL", "JPM", "META", "MSFT", "NVDA", "TSLA", "V", "BTC-USD"),
    *("SPY", "QQQ", "IWM", "DIA", "TLT", "GLD", "BRK-B", "MA", "ETH-USD", "SOL-USD"),
)
ALL = date(1900, 1, 1)  # before the first price of all
DAYS_KEPT = {"1m": 6, "2m": 58, "5m": 58, "15m": 58, "30m": 58, "1h": 728}
"""Yahoo counts 7, 60 and 730 days back from this second; a little less keeps midnight inside in every time zone."""
TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.=&_-]{0,31}")  # AAPL, BRK-B, ^GSPC, EURUSD=X, 7203.T, M&M.NS
ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")


@dataclass(frozen=True)
class Wanted:
    """Bars of one length, from the day `start` (None: all there are, or what follows the stored ones) to the day `end`
    (None: today), both included."""

    interval: str
    start: date | None
    end: date | None
    today: date

    def __post_init__(self) -> None:
        if self.start and self.start > (self.end or self.today):
            raise BadInput(f"--start {self.start} is after {f'--end {self.end}' if self.end else 'today'}")
        if self.end and self.end < self.first_day_kept:
            raise BadInput(f"--end {self.end}: Yahoo's {self.interval} bars begin on {self.first_day_kept}")

    @property
    def first_day_kept(self) -> date:
        """The first day whose bars Yahoo still has."""
        return self.today - timedelta(days=DAYS_KEPT[self.interval]) if self.interval in DAYS_KEPT else ALL


def check_ticker(text: str, where: str) -> str:
    """The ticker in capitals. Raises BadInput for what cannot be one, such as a path."""
    ticker = text.upper()
    if not TICKER.fullmatch(ticker):
        raise BadInput(
            f"{where}: {text[:40]!r} is no ticker; write up to 32 of A-Z 0-9 ^ . - = & _, as in BRK-B, ^GSPC"
        )
    if ISIN.fullmatch(ticker):
        raise BadInput(f"{where}: {ticker} is an ISIN; give the ticker that stands for it")
    return ticker


def tickers_in_file(path: str) -> list[str]:
    """Tickers of a text file, separated by line ends, commas or blanks; `#` begins a comment.

    Raises BadInput naming the file and the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadInput(f"--tickers_file {path}: no such file") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise BadInput(f"--tickers_file {path}: not a text file; write one ticker per line") from None
    words = [(n, word) for n, line in enumerate(lines, 1) for word in re.split(r"[,\s]+", line.partition("#")[0])]
    return [check_ticker(word, f"{path}: line {n}") for n, word in words if word]
