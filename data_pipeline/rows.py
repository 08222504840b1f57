"""From returns of one asset to rows of a dataset: a token per return, what is known beside it, where its pieces are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.tokenizers import Fitted, ReturnTokenizer, special
from data_pipeline.tokenizers.scaling import Rolling
from data_pipeline.volatility import INPUT_NAMES, RANGE_NAMES, WARMUP, filter_returns, range_inputs

CLOCK_NAMES = ("log_gap", "log_pause_ahead", "opens_ahead")  # ln(1 + bars missing before it); `shards.clock_ahead`


class Market(NamedTuple):
    """What is known about each row beside its token. Rows of special tokens have no return and no price: NaN."""

    times: np.ndarray  # (N,) datetime64[ns] at which the bar that ends the return is complete; a date, for daily bars
    closes: np.ndarray  # (N,) its price
    returns: np.ndarray  # (N,) log returns
    volatility: np.ndarray  # (N,) known before each return
    inputs: np.ndarray  # (N, F) float32, known after the return
    log_range: np.ndarray  # (N,) float32, ln ln (high / low) of the bar, NaN where there is none
    known: np.ndarray | None = None  # (N, 2) what a rolling tokenizer's bins depend on; the others need volatility only

    @property
    def known_before(self) -> np.ndarray:
        """What the bins of each row depend on, as tokenizers take it."""
        return self.volatility if self.known is None else self.known


class Placed(NamedTuple):
    """Where the rows of T returns go, and the pieces they form; row numbers count from the asset's first."""

    row: np.ndarray  # (T,) row of each return
    owner: np.ndarray  # (N,) the return each row belongs to
    special: np.ndarray  # (N,) special token, −1 for a return
    segments: np.ndarray  # (S, 5): begin, train, validation, test, end of each piece


def place(series: ReturnSeries, borders: np.ndarray, special_tokens: bool) -> Placed:
    """Rows and pieces of an asset with more than WARMUP returns; `borders` (2,) end its training and validation.

    The first WARMUP returns belong to the first piece, before its training rows.
    """
    starts = series.piece_starts.copy()
    starts[:WARMUP] = False
    starts[WARMUP] = True
    before = np.zeros((len(series), 0), bool)
    if special_tokens:
        nothing = np.zeros(len(series), bool)
        gaps = nothing if series.gaps is None else series.gaps > 0
        before = special.marks(starts, gaps, nothing if series.opens is None else series.opens)
        before[:WARMUP] = False
    row, owner, tokens = special.interleave(before)
    first = np.append(row - before.sum(axis=1), len(owner))  # row at which each return's own rows begin
    piece = np.flatnonzero(starts)
    low, high = first[piece], first[np.append(piece[1:], len(series))]
    cuts = first[np.searchsorted(series.times, borders)]
    segments = np.stack([low, low, *np.clip(cuts[:, None], low, high), high], axis=1)
    segments[0, 0] = 0
    return Placed(row, owner, tokens, segments)


def input_names(ranges: bool, clock: bool) -> list[str]:
    """The float inputs of a dataset with these options."""
    return [*INPUT_NAMES, *RANGE_NAMES * ranges, *CLOCK_NAMES * clock]


def columns(series: ReturnSeries, tokenizer: Fitted, inputs: Sequence[str]) -> tuple[np.ndarray, Market]:
    """Tokens of an asset's T returns, and what is known beside them; `inputs` as `input_names` gives them."""
    filtered = filter_returns(series.log_returns, tokenizer.typical_volatility)
    known = None
    if isinstance(tokenizer, ReturnTokenizer):
        known = tokenizer.known_before(series.log_returns, filtered.volatility)
        tokens = tokenizer.encode(series.log_returns, known)
        known = known if isinstance(tokenizer.scaling, Rolling) else None
    else:
        tokens = tokenizer.encode(series.log_returns if series.fine_returns is None else series.fine_returns)
    log_range = np.full(len(series), np.nan) if series.log_range is None else series.log_range
    log_range = log_range.astype(np.float32)
    parts = [filtered.inputs]
    if RANGE_NAMES[0] in inputs:
        parts.append(range_inputs(log_range.astype(np.float64), series.log_returns))
    if CLOCK_NAMES[0] in inputs:
        parts.append(np.zeros((len(series), len(CLOCK_NAMES)), np.float32) if series.clock is None else series.clock)
    inputs_TF = np.concatenate(parts, axis=1)
    return tokens, Market(
        series.times, series.closes, series.log_returns, filtered.volatility, inputs_TF, log_range, known
    )


def fill(
    arrays: Mapping[str, np.ndarray],
    rows: slice | np.ndarray,
    series: ReturnSeries,
    tokenizer: Fitted,
    placed: Placed,
    inputs: Sequence[str],
) -> None:
    """Write an asset's rows into the arrays of a dataset, by name, at `rows`."""
    tokens, market = columns(series, tokenizer, inputs)
    if len(placed.owner) == len(series):  # no special tokens
        arrays["tokens"][rows] = tokens
        for name, column in market._asdict().items():
            if column is not None:
                arrays[name][rows] = column
        return
    mark = placed.special >= 0
    arrays["tokens"][rows] = np.where(mark, tokenizer.vocab_size + placed.special, tokens[placed.owner])
    for name, column in market._asdict().items():
        if column is None:
            continue
        spread = column[placed.owner]
        if name in ("closes", "returns", "log_range"):
            spread = np.where(mark, np.nan, spread)
        if name == "inputs":  # what was known after the return before
            spread = np.where(mark[:, None], column[np.maximum(placed.owner - 1, 0)], spread)
        arrays[name][rows] = spread
