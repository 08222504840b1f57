"""Walk-forward of the classics: fitted to what lay before each refit, then filtered forward with those parameters.

A classic is fitted to one asset at a time. Until the next refit its parameters stand still, while what it filters (a
variance, a window, counts) takes in every return up to the one before the row it describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.returns import MIN_TRAINING_RETURNS
from data_pipeline.volatility import WARMUP, volatility_of
from mqc_jax.evaluation.combined import concatenate
from mqc_jax.laws.law import Law


class Asset(NamedTuple):
    """One asset's history from its first bar, the warm-up included."""

    name: str
    times: np.ndarray  # (T,) datetime64[ns] of the bar that ends each return
    returns: np.ndarray  # (T,) log returns
    volatility: np.ndarray  # (T,) exponentially weighted, known before each return
    log_range: np.ndarray | None = None  # (T,) ln ln (high / low) of each bar, NaN where there is none

    @classmethod
    def of(cls, name: str, times: np.ndarray, returns: np.ndarray, log_range: np.ndarray | None = None) -> Asset:
        if log_range is not None and not np.isfinite(log_range).any():
            log_range = None
        return cls(name, times, returns, volatility_of(returns), log_range)

    def until(self, n: int) -> Asset:
        """Its first n returns."""
        log_range = None if self.log_range is None else self.log_range[:n]
        return Asset(self.name, self.times[:n], self.returns[:n], self.volatility[:n], log_range)


class Refit(NamedTuple):
    """One fit, and the times whose rows are scored with it: from `first` to just before `last`."""

    train_end: np.datetime64  # first instant not trained on
    first: np.datetime64
    last: np.datetime64


class Parameters(Protocol):
    """What a fit found, for a file."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self: ...


class Classic(Protocol):
    """A law of the next return that needs no training but a fit; two that compare equal fit alike."""

    parameters: ClassVar[type[Any]]  # what `fit` returns, a `Parameters`

    def fit(self, past: Asset) -> Any:
        """Its parameters: a pure function of the past."""
        ...

    def law(self, parameters: Any, asset: Asset, rows: np.ndarray) -> Law:
        """The laws of consecutive rows, each a function of the parameters and the returns before it."""
        ...


Fit = Callable[[Classic, Asset], Any]


def annual_refits(first_year: int, last_year: int) -> list[Refit]:
    """A refit each New Year from `first_year` to `last_year`, on everything before it, for the year that begins."""
    new_years = np.arange(first_year - 1970, last_year - 1970 + 2).astype("datetime64[Y]").astype("datetime64[ns]")
    return [Refit(begin, begin, end) for begin, end in pairwise(new_years)]


def scored_rows(asset: Asset, refits: Sequence[Refit]) -> np.ndarray:
    """The rows that the laws of a walk-forward describe, in time order: those of refits with enough to fit to."""
    return np.concatenate([np.empty(0, np.int64), *(rows for _, rows in _scored(asset, refits))])


def walk_forward(classic: Classic, asset: Asset, refits: Sequence[Refit], fit: Fit | None = None) -> Law:
    """The one-step-ahead laws of `scored_rows`.

    `fit(classic, past)` may stand in for `classic.fit(past)`, to look up what was fitted before. Raises BadInput where
    no row can be scored.
    """
    fit = fit or (lambda classic, past: classic.fit(past))
    laws = [classic.law(fit(classic, past), asset, rows) for past, rows in _scored(asset, refits)]
    if not laws:
        raise BadInput(
            f"{asset.name}: no refit has {WARMUP + MIN_TRAINING_RETURNS} returns before it and rows to score after it; "
            "give a longer history or later dates"
        )
    return concatenate(laws)


def _scored(asset: Asset, refits: Sequence[Refit]) -> Iterator[tuple[Asset, np.ndarray]]:
    for refit in refits:
        n_past, begin, end = np.searchsorted(asset.times, refit)
        if begin < end and n_past >= WARMUP + MIN_TRAINING_RETURNS:
            yield asset.until(n_past), np.arange(begin, end)
