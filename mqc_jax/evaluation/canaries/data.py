"""Experiments that need no model: dates, the tokenizer, and what stands beside each return.

Axis letters: W windows  T time  N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from data_pipeline.bars import ReturnSeries
from data_pipeline.dataset import SPLITS, Split, TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.rows import Market, columns, input_names
from data_pipeline.splits import borders_of
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP
from mqc_jax.config import ModelConfig
from mqc_jax.evaluation.canaries.canary import Canary, differs, first_of, place_of, skipped, spread
from mqc_jax.training.batches import Feed, draw_windows, read_windows

CUTS = 4  # bars per asset from which on its returns are changed
MOST_ASSETS = 8  # whose history, and segments whose training windows, are looked at
MOST_FITTED = 2_000_000  # rows to which a tokenizer is fitted again
SAME_FIT, SAME_FIGURE = 1e-9, 1e-5  # relative: two machines may round differently
FORESIGHT = 0.8  # rank correlation of an input with the next return, or its size, that no clock has


def splits_canary(dataset: TokenDataset, context: int) -> Canary:
    """Are dates where the manifest says, and do training windows end where training does?"""
    name, market = "splits", dataset.market
    if market is None:
        return skipped(name, "bare tokens have no dates")
    ends = dataset.manifest["splits"]
    borders = borders_of(ends["train_end"], ends["validation_end"])

    def misplaced(rows: np.ndarray, split: Split, role: str) -> Iterator[str]:
        found = np.searchsorted(borders, market.times[rows], side="right")
        for row in rows[found != SPLITS.index(split)][:1]:
            yield f"{place_of(dataset, row)} is {role}, train_end is {ends['train_end']}, validation_end " + (
                f"{ends['validation_end']}; prepare the dataset again"
            )

    for split in SPLITS:
        rows = np.concatenate([np.arange(low, high) for low, high in dataset.spans(split)])
        for detail in misplaced(rows, split, f"in the {split} split"):
            return Canary(name, False, detail)
    for detail in misplaced(_trained_on(dataset, context), "train", "in a training window"):
        return Canary(name, False, detail)
    return Canary(name, True, f"training ends {ends['train_end']}, validation {ends['validation_end']}")


def _trained_on(dataset: TokenDataset, context: int) -> np.ndarray:
    """The rows in the last training window of some segments: batches of a dataset whose tokens are row numbers."""
    if (dataset.segments[:, 2] - dataset.segments[:, 1]).max(initial=0) <= context:
        return np.empty(0, np.int64)
    bare = dataset.manifest | {"special_tokens": []}
    numbered = replace(dataset, tokens=np.arange(len(dataset.tokens)), manifest=bare)
    starts = numbered.window_starts(context)
    segment = np.searchsorted(dataset.segments[:, 4], starts, side="right")
    last = np.flatnonzero(np.diff(segment, append=-1))
    feed, config = Feed(numbered, inputs=False), ModelConfig(sequence_len=context)
    chosen = last[spread(len(last), MOST_ASSETS)]
    windows = [draw_windows(numbered, starts[[k]], context, 1, seed=0, steps=[0]).at(0) for k in chosen]
    read = [read_windows(*feed(one, context), config) for one in windows]
    return np.unique([np.asarray(batch.tokens) for batch in read])


def tokenizer_canary(dataset: TokenDataset) -> Canary:
    """Is the tokenizer the one that the returns up to the end of training give?"""
    name, tokenizer = "tokenizer", dataset.tokenizer
    if dataset.market is None or not isinstance(tokenizer, ReturnTokenizer):
        return skipped(name, f"{tokenizer.kind} tokens cannot be fitted again here")
    if len(dataset.tokens) > MOST_FITTED:
        return skipped(name, f"{len(dataset.tokens):,} rows are too many to fit it again")
    train_end = dataset.manifest["splits"]["train_end"]
    border = borders_of(train_end, train_end)[0]
    series = [dataset.series(number) for number in range(len(dataset.assets))]
    signal = dataset.manifest.get("options", {}).get("signal", "log_return")

    def deviation(pasts: Sequence[np.ndarray]) -> float:
        again = ReturnTokenizer.fit(tokenizer.kind, [past for past in pasts if len(past)], tokenizer.vocab_size, signal)
        return max(np.abs(a / b - 1).max() for a, b in zip(_fitted(again), _fitted(tokenizer), strict=True))

    try:
        found = deviation([one.log_returns[one.times < border] for one in series])
    except BadInput as error:
        return Canary(name, False, f"not fitted to the returns up to {train_end}: {error}")
    if found <= SAME_FIT:
        return Canary(name, True, f"the returns up to {train_end} give it")
    of_all = deviation([one.log_returns for one in series]) <= SAME_FIT
    by = "all dates give it" if of_all else f"they give other bins, by up to {found:.1e} of a bound or share"
    return Canary(name, False, f"not fitted to the returns up to {train_end}: {by}; prepare the dataset again")


def _fitted(tokenizer: ReturnTokenizer) -> tuple[np.ndarray, ...]:
    shift = np.abs(tokenizer.bins.edges).max()  # an edge may be at 0
    return tokenizer.bins.edges + 2 * shift, tokenizer.bins.masses, np.array([tokenizer.typical_volatility])


def history_canary(dataset: TokenDataset) -> Canary:
    """Is what stands beside the returns what they give, and does it depend on earlier ones only?"""
    name, tokenizer, market = "history", dataset.tokenizer, dataset.market
    if market is None or not isinstance(tokenizer, ReturnTokenizer):
        return skipped(name, f"{tokenizer.kind} tokens cannot be cut again from single returns")
    options = dataset.manifest.get("options", {})
    inputs = input_names(bool(options.get("ranges")), bool(options.get("clock")))
    if market.inputs.shape[1] != len(inputs):
        found = f"{market.inputs.shape[1]} input columns, {len(inputs)} can be derived; prepare the dataset again"
        return Canary(name, False, found)
    assets = spread(len(dataset.assets), MOST_ASSETS)
    for number in assets:
        for detail in _history_leaks(dataset, market, tokenizer, int(number), inputs):
            return Canary(name, False, detail)
    return Canary(name, True, f"{CUTS} other futures of {len(assets)} assets leave their pasts alone")


def _history_leaks(
    dataset: TokenDataset, market: Market, tokenizer: ReturnTokenizer, number: int, inputs: list[str]
) -> Iterator[str]:
    """Sentences on what is wrong with one asset's columns."""
    series, rows = dataset.series(number), dataset.history_rows(number)
    derived = _known(*columns(series, tokenizer, inputs))
    stored = _known(np.asarray(dataset.tokens[rows]), at(market, rows))
    hidden = stored["tokens"] >= tokenizer.vocab_size  # side by side, an asset's warm-up
    stored["tokens"] = np.where(hidden, derived["tokens"], stored["tokens"])
    for what, there in stored.items():
        slack = 0 if what == "tokens" else SAME_FIGURE * (np.abs(derived[what]) + np.nanstd(derived[what], axis=0))
        for t in first_of(~(np.abs(there.astype(float) - derived[what]) <= slack)):
            yield f"{what} at {place_of(dataset, rows[t])} are not what its returns give; prepare the dataset again"
    for cut in np.linspace(WARMUP, len(series) - 2, CUTS).astype(int):
        other = _known(*columns(_other_future(series, cut), tokenizer, inputs))
        for what, there in derived.items():
            known = cut + 1 + (what in ("volatility", "bin edges"))  # these are known a bar ahead
            for t in first_of(differs(there[:known], other[what][:known])):
                yield f"{what} at {place_of(dataset, rows[t])} change with returns from " + (
                    f"{place_of(dataset, rows[cut + 1])} on; make them depend on earlier returns only"
                )
    yield from _foretelling(dataset, market, rows)
    for row in _telling_marks(dataset, market, number, rows):
        yield f"inputs of the special token at {place_of(dataset, row)} are not the last return's; prepare again"


def _known(tokens: np.ndarray, market: Market) -> dict[str, np.ndarray]:
    """What is known of each return beside itself."""
    return {
        "tokens": tokens,
        "inputs": market.inputs,
        "volatility": market.volatility,
        "bin edges": market.known_before,
    }


def _other_future(series: ReturnSeries, cut: int) -> ReturnSeries:
    """The same asset with other returns and ranges behind row `cut`, wilder than its own."""
    rng = np.random.default_rng(cut)
    returns = series.log_returns.copy()
    scale = 3 * (returns[: cut + 1].std() or 0.01)
    returns[cut + 1 :] = scale * rng.standard_t(3, len(returns) - cut - 1)
    returns[cut + 1] = -10 * scale  # straight away
    log_range = None if series.log_range is None else series.log_range + 2 * (np.arange(len(series)) > cut)
    return replace(series, log_returns=returns, log_range=log_range)


def _foretelling(dataset: TokenDataset, market: Market, rows: np.ndarray) -> Iterator[str]:
    """The inputs that are no function of returns, so cannot be derived again, must not go with the next one."""
    following = market.returns[rows[1:]]
    for column in range(len(INPUT_NAMES), market.inputs.shape[1]):
        ranks = rankdata(market.inputs[rows[:-1], column])
        for what in (following, np.abs(following)):
            with np.errstate(invalid="ignore"):
                correlation = np.corrcoef(ranks, rankdata(what))[0, 1]
            if abs(correlation) > FORESIGHT:
                asset, name = dataset.assets[dataset.assets_of(rows[:1])[0]], dataset.manifest["inputs"][column]
                yield f"{name} of {asset} has rank correlation {correlation:.2f} with the next return; leave it out"


def _telling_marks(dataset: TokenDataset, market: Market, number: int, rows: np.ndarray) -> np.ndarray:
    """The first row of a special token, if any, whose inputs are neither none nor those of the return before."""
    if not dataset.n_special or dataset.interleaved:
        return rows[:0]
    segments = dataset.asset_segments(number)
    marks = np.setdiff1d(np.arange(max(segments[0, 0], rows[0] + 1), segments[-1, 4]), rows)
    before = rows[np.searchsorted(rows, marks) - 1]
    return marks[first_of((market.inputs[marks] != market.inputs[before]) & (market.inputs[marks] != 0))]


def at(market: Market, rows: np.ndarray) -> Market:
    return market._replace(**{name: column[rows] for name, column in market._asdict().items() if column is not None})
