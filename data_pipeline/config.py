"""Which prices, cut into which tokens: frozen dataclasses that are checked when built and become flags as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

Tokenizing = Literal["volatility", "quantile", "uniform", "rolling", "vqvae"]
Signal = Literal["log_return", "log_oc", "pct_oc", "delta"]
OPTIONS = ("signal", "special_tokens", "clock", "ranges", "layout", "timeframes", "calendar")


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def check_types(config: Any) -> None:
    """Every field is of its declared type; floats are finite. Raises ValueError."""
    hints = get_type_hints(type(config))
    for name, value in vars(config).items():
        hint = hints[name]
        if get_origin(hint) is Literal:
            require(value in get_args(hint), f"{name}={value!r} must be one of {', '.join(get_args(hint))}")
        elif hint is int:
            require(type(value) is int, f"{name}={value!r} must be an integer")
        elif hint is float:
            number = type(value) in (int, float) and math.isfinite(value)
            require(number, f"{name}={value!r} must be a finite number")
        elif hint is bool:
            require(type(value) is bool, f"{name}={value!r} must be true or false")
        elif hint == str | None:
            require(value is None or type(value) is str, f"{name}={value!r} must be a text")


@dataclass(frozen=True)
class FileOptions:
    """How to read CSV and Parquet files. What is left out is inferred, and what was inferred is printed."""

    id_col: str | None = None
    """Column that names the asset."""
    time_col: str | None = None
    """Column with the time of the bar."""
    target_col: str | None = None
    """Column with the price."""
    symbol: str | None = None
    """Name of the asset where no column has it; default: from the file's name."""
    separator: str | None = None
    """Between the columns of a text file."""
    decimal: str | None = None
    """Decimal point of a text file: '.' or ','."""
    date_format: str | None = None
    """Format like %d/%m/%Y, or 'dayfirst' or 'monthfirst'."""
    timezone: str | None = None
    """Zone of times without one, like Europe/Berlin; default: UTC."""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class DataConfig:
    """Which prices, cut into which tokens, split at which dates."""

    data: str = "bundled"
    """'bundled', 'synthetic:garch', CSV or Parquet (a file or a folder), a store, a token dataset, or ids as .txt."""
    tokenizer: Tokenizing = "volatility"
    """How returns become tokens; where the data is tokens already, theirs counts."""
    signal: Signal = "log_return"
    """A return is from close to close (log_return, delta) or from open to close (log_oc, pct_oc)."""
    train_end: str | None = None
    """Last training date; default: 70 % of the bars lie before it (bundled: 2010-12-31)."""
    validation_end: str | None = None
    """Last validation date; default: 85 % of the bars lie before it (bundled: 2013-12-31)."""
    special_tokens: bool = False
    """Mark beginnings, gaps and sessions by tokens of their own, which are read and never predicted."""
    clock: bool = False
    """Add to the float inputs, by the calendar: bars missing, time to the next bar, whether it opens a session."""
    ranges: bool = False
    """Add to the float inputs the ranges of the bars, where they have highs and lows; forecasts reach one bar then."""
    layout: Literal["by_asset", "interleaved"] = "by_asset"
    """One history per asset, or the assets of each date side by side."""
    timeframes: str | None = None
    """Resample to these, like 5min or 1h,1d; default: the bars as they come."""
    calendar: str | None = None
    """Trading calendar of all assets: XNYS, XETR, 24/7, 24/5, none, …; default: inferred from each name and printed."""
    files: FileOptions = field(default_factory=FileOptions)

    def __post_init__(self) -> None:
        check_types(self)
        by_asset = self.layout == "by_asset"
        marked = "layout=interleaved has its own special tokens; leave out special_tokens"
        require(by_asset or not self.special_tokens, marked)
        require(by_asset or self.tokenizer != "vqvae", "layout=interleaved takes no vqvae; choose another tokenizer")
        one = self.timeframes is None or "," not in self.timeframes
        require(by_asset or one, f"layout=interleaved takes one timeframe, not {self.timeframes}; choose one of them")
        rolling = self.tokenizer == "rolling" or self.signal in ("log_return", "log_oc")
        require(rolling, f"signal={self.signal} goes with tokenizer=rolling; take log_return or log_oc")

    def options(self) -> dict[str, Any]:
        """What decides, beside tokenizer and splits, how prices are cut: what a dataset must remember."""
        return {name: getattr(self, name) for name in OPTIONS}
