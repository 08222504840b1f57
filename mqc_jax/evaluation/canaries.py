"""Canaries: experiments that an honest score survives, and one that has seen the future does not.

With every evaluation, in this order:

splits         every row is trained on or scored in the split of its date, and no training window reaches further
tokenizer      fitted again to the training dates alone, it is the same
history        other returns from one bar on leave all that was known before that bar as it was
predictions    so do other tokens and inputs: nothing that was predicted before changes in a single bit
gain, top1_accuracy, direction    alarms: nobody has honestly been so good

In tests, because they train: `shuffled_canary`, and `floor_canary` on a known answer.

Axis letters: W windows  T time  N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from data_pipeline import DataConfig, build_dataset
from data_pipeline.bars import ReturnSeries
from data_pipeline.dataset import SPLITS, Split, TokenDataset
from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.rows import Market, columns, input_names
from data_pipeline.splits import borders_of
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP
from mqc_jax.config import Config
from mqc_jax.evaluation.baselines import token_histogram
from mqc_jax.evaluation.known_answer.floors import batch_means, below_floor
from mqc_jax.evaluation.scores import hac_standard_error, mean_by_date
from mqc_jax.model import GPT
from mqc_jax.training.batches import scoring_windows, training_batch
from mqc_jax.training.ensemble import Ensemble, pooled_probabilities
from mqc_jax.training.validate import BATCH, predictions

CUTS = 4  # bars per asset from which on its returns are changed
MOST_ASSETS = 8  # whose history, and segments whose training windows, are looked at
MOST_FITTED = 2_000_000  # rows to which a tokenizer is fitted again
SAME_FIT, SAME_FIGURE = 1e-9, 1e-5  # relative: two machines may round differently
FORESIGHT = 0.8  # rank correlation of an input with the next return, or its size, that no clock has
SHUFFLED_ERRORS = 2.0  # standard errors

Predict = Callable[[TokenDataset, Split], tuple[np.ndarray, np.ndarray]]  # rows (N,), (log) probabilities (N, V)


class Canary(NamedTuple):
    """The outcome of one experiment."""

    name: str
    passed: bool | None  # None: it could not be made
    detail: str  # what was found, and where to look
    alarm: bool = False  # only a warning: too good, but not proven wrong


class Figures(NamedTuple):
    """What alarms look at; None or NaN where it is not known."""

    gain: float | None = None  # nats per return over the adaptive unigram
    top1_accuracy: float | None = None
    direction_right: float | None = None  # share of the returns that moved


class Limits(NamedTuple):
    """Above these, figures are implausible."""

    gain: float
    top1_accuracy: float  # or twice the share of the commonest token, if that is more
    direction_right: float


DAILY = Limits(0.25, 0.05, 0.57)
INTRADAY = Limits(0.60, 0.05, 0.65)  # seasons of the day are worth a lot, and prices bounce between bid and ask


def run_canaries(
    predict: Predict,
    dataset: TokenDataset,
    split: Split,
    context: int,
    *,
    figures: Figures | None = None,
    own_tokenizer: bool = True,
) -> list[Canary]:
    """Make every experiment that needs no training.

    Args:
      predict: the model that is scored: `predictor(gpt, length)` or `partial(pooled_probabilities, members)`.
      dataset: what it is scored on.
      split: the part of it that is scored, with a row at least.
      context: length of the windows it is scored in.
      figures: its scores; without them there are no alarms.
      own_tokenizer: whether the tokenizer was fitted to this dataset.
    """
    found = data_canaries(dataset, context, own_tokenizer=own_tokenizer)
    found.append(predictions_canary(predict, dataset, split, context))
    return found + ([] if figures is None else alarms(figures, dataset))


def data_canaries(dataset: TokenDataset, context: int, *, own_tokenizer: bool = True) -> list[Canary]:
    """The experiments that need no model."""
    return [
        splits_canary(dataset, context),
        tokenizer_canary(dataset) if own_tokenizer else _skipped("tokenizer", "it was fitted to other data or dates"),
        history_canary(dataset),
    ]


def predictor(model: GPT, length: int) -> Predict:
    """How evaluation asks a single model, in windows of `length`."""

    def predict(dataset: TokenDataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
        rows, log_probabilities = zip(*predictions(model, dataset, split, length), strict=True)
        return np.concatenate(rows), np.concatenate(log_probabilities)

    return predict


def summary(canaries: Sequence[Canary]) -> list[str]:
    """One line for all, and one for each that did not stay silent."""
    made = [canary for canary in canaries if canary.passed is not None]
    loud = [canary for canary in made if not canary.passed]
    skipped = ", ".join(canary.name for canary in canaries if canary.passed is None)
    head = f"canaries: {len(made) - len(loud)} of {len(made)} silent" + (f"; not run: {skipped}" if skipped else "")
    return [head, *(f"{'warning' if canary.alarm else 'leak'}: {canary.name}: {canary.detail}" for canary in loud)]


def as_json(canaries: Sequence[Canary]) -> list[dict[str, Any]]:
    return [canary._asdict() for canary in canaries]


def refuse_leaks(canaries: Sequence[Canary]) -> None:
    """Raise DamagedData, with all outcomes as its figures, if any experiment but an alarm failed."""
    leaks = [canary for canary in canaries if canary.passed is False and not canary.alarm]
    if leaks:
        error = DamagedData("leak: " + "; ".join(f"{canary.name}: {canary.detail}" for canary in leaks))
        error.figures = {"canaries": as_json(canaries)}
        raise error


def splits_canary(dataset: TokenDataset, context: int) -> Canary:
    """Are dates where the manifest says, and do training windows end where training does?"""
    name, market = "splits", dataset.market
    if market is None:
        return _skipped(name, "bare tokens have no dates")
    ends = dataset.manifest["splits"]
    borders = borders_of(ends["train_end"], ends["validation_end"])

    def misplaced(rows: np.ndarray, split: Split, role: str) -> Iterator[str]:
        found = np.searchsorted(borders, market.times[rows], side="right")
        for row in rows[found != SPLITS.index(split)][:1]:
            yield f"{_place(dataset, row)} is {role}, train_end is {ends['train_end']}, validation_end " + (
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
    batches = [
        training_batch(numbered, starts[[k]], context, 1, seed=0, step=0, inputs=False)
        for k in last[_spread(len(last), MOST_ASSETS)]
    ]
    return np.unique([np.asarray(batch.tokens) for batch in batches])


def tokenizer_canary(dataset: TokenDataset) -> Canary:
    """Is the tokenizer the one that the returns up to the end of training give?"""
    name, tokenizer = "tokenizer", dataset.tokenizer
    if dataset.market is None or not isinstance(tokenizer, ReturnTokenizer):
        return _skipped(name, f"{tokenizer.kind} tokens cannot be fitted again here")
    if len(dataset.tokens) > MOST_FITTED:
        return _skipped(name, f"{len(dataset.tokens):,} rows are too many to fit it again")
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
        return _skipped(name, f"{tokenizer.kind} tokens cannot be cut again from single returns")
    options = dataset.manifest.get("options", {})
    inputs = input_names(bool(options.get("ranges")), bool(options.get("clock")))
    if market.inputs.shape[1] != len(inputs):
        found = f"{market.inputs.shape[1]} input columns, {len(inputs)} can be derived; prepare the dataset again"
        return Canary(name, False, found)
    assets = _spread(len(dataset.assets), MOST_ASSETS)
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
    stored = _known(np.asarray(dataset.tokens[rows]), _at(market, rows))
    hidden = stored["tokens"] >= tokenizer.vocab_size  # side by side, an asset's warm-up
    stored["tokens"] = np.where(hidden, derived["tokens"], stored["tokens"])
    for what, there in stored.items():
        slack = 0 if what == "tokens" else SAME_FIGURE * (np.abs(derived[what]) + np.nanstd(derived[what], axis=0))
        for t in _first(~(np.abs(there.astype(float) - derived[what]) <= slack)):
            yield f"{what} at {_place(dataset, rows[t])} are not what its returns give; prepare the dataset again"
    for cut in np.linspace(WARMUP, len(series) - 2, CUTS).astype(int):
        other = _known(*columns(_other_future(series, cut), tokenizer, inputs))
        for what, there in derived.items():
            known = cut + 1 + (what in ("volatility", "bin edges"))  # these are known a bar ahead
            for t in _first(_differs(there[:known], other[what][:known])):
                yield f"{what} at {_place(dataset, rows[t])} change with returns from " + (
                    f"{_place(dataset, rows[cut + 1])} on; make them depend on earlier returns only"
                )
    yield from _foretelling(dataset, market, rows)
    for row in _telling_marks(dataset, market, number, rows):
        yield f"inputs of the special token at {_place(dataset, row)} are not those of the return before; prepare again"


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
    return marks[_first((market.inputs[marks] != market.inputs[before]) & (market.inputs[marks] != 0))]


def predictions_canary(predict: Predict, dataset: TokenDataset, split: Split, context: int) -> Canary:
    """Do predictions stay the same, bit by bit, when the tokens and inputs behind their contexts change?"""
    windows_WT = scoring_windows(dataset, split, context).rows
    windows_WT = windows_WT[_spread(len(windows_WT), BATCH)]
    size, n_scored = context + 1, max(1, context // 2)
    pieces, rng = _pieces(dataset, windows_WT, n_scored), np.random.default_rng(0)
    cut_W = rng.integers(context - n_scored, context, len(windows_WT))
    rows_N, before_NV = predict(pieces, "test")
    again_N, after_NV = predict(_other_futures(pieces, (np.arange(size) > cut_W[:, None]).ravel(), rng), "test")
    if not np.array_equal(rows_N, again_N):
        return Canary("predictions", False, "which rows are scored changes with later tokens; score them in any case")
    known_N = rows_N % size <= cut_W[rows_N // size] + 1
    for n in _first(_differs(before_NV, after_NV) & known_N[:, None]):
        window, place = windows_WT[rows_N[n] // size], cut_W[rows_N[n] // size] + 1
        detail = f"that of {_place(dataset, window[rows_N[n] % size])} changes with the tokens and inputs from " + (
            f"{_place(dataset, window[place])} on; make the model causal"
        )
        return Canary("predictions", False, detail)
    return Canary("predictions", True, f"{int(known_N.sum())} of them in {len(windows_WT)} windows stayed the same")


def _pieces(dataset: TokenDataset, windows_WT: np.ndarray, n_scored: int) -> TokenDataset:
    """A dataset of these windows only, each a piece of its own whose last rows are its test."""
    rows, size = windows_WT.ravel(), windows_WT.shape[1]
    begin = size * np.arange(len(windows_WT))
    test = begin + size - n_scored
    market = None if dataset.market is None else _at(dataset.market, rows)
    segments = np.stack([begin, begin, test, test, begin + size], axis=1)
    return replace(dataset, tokens=np.asarray(dataset.tokens[rows]), segments=segments, market=market)


def _at(market: Market, rows: np.ndarray) -> Market:
    return market._replace(**{name: column[rows] for name, column in market._asdict().items() if column is not None})


def _other_futures(dataset: TokenDataset, future_N: np.ndarray, rng: np.random.Generator) -> TokenDataset:
    """The same with another token and other inputs in every `future` row; tokens that mark time stay."""
    bins = dataset.tokenizer.vocab_size
    moved_N = np.flatnonzero(future_N & (dataset.tokens < bins))
    tokens = dataset.tokens.copy()
    tokens[moved_N] = (tokens[moved_N].astype(np.int64) + rng.integers(1, bins, len(moved_N))) % bins
    market = dataset.market
    if market is not None:
        noise = rng.normal(size=market.inputs.shape).astype(market.inputs.dtype)
        market = market._replace(inputs=np.where(future_N[:, None], noise - market.inputs, market.inputs))
    return replace(dataset, tokens=tokens, market=market)


def alarms(figures: Figures, dataset: TokenDataset) -> list[Canary]:
    """Warnings of scores that are too good; none on synthetic data, which may be as predictable as they like."""
    if str(dataset.manifest["source"]).startswith("synthetic"):
        return [_skipped(name, "synthetic data may be predictable", alarm=True) for name in _ALARMS]
    limits = limits_of(dataset)
    common = float(np.max(token_histogram(dataset)))
    limits = limits._replace(top1_accuracy=max(limits.top1_accuracy, 2 * common))
    found = []
    for (name, look_for), figure, limit in zip(_ALARMS.items(), figures, limits, strict=True):
        if figure is None or np.isnan(figure):
            found.append(_skipped(name, "not known", alarm=True))
            continue
        passed = bool(figure <= limit)
        detail = f"{figure:.3f}, at most {limit:.3f} is plausible" + ("" if passed else f"; {look_for}")
        found.append(Canary(name, passed, detail, alarm=True))
    return found


_ALARMS = {
    "gain": "nats over the adaptive unigram: look for inputs that know the return, and for test dates in training",
    "top1_accuracy": "look for tokens that repeat each other, as those of overlapping or smoothed returns do",
    "direction": "look for prices stamped before they were known, and for assets that lag others in the panel",
}


def limits_of(dataset: TokenDataset) -> Limits:
    """By the shortest bars in it."""
    intervals = {asset.get("interval", "1d") for asset in dataset.manifest["assets"]}
    return DAILY if all(interval.endswith(("d", "w", "mo")) for interval in intervals) else INTRADAY


def shuffled_canary(
    dataset: TokenDataset, config: Config, *, seeds: Sequence[int] = (0,), n_steps: int = 60, seed: int = 0
) -> Canary:
    """Train on returns without order, and see whether anything is gained over the histogram of their tokens.

    `config` is best a small model's. Tokens are quantiles of raw returns: those scaled by a volatility are predictable
    even then, from its errors.
    """
    cut = shuffled(dataset, config.data, config.model.vocab_size, seed)
    ensemble = Ensemble(config, cut, seeds)
    ensemble.advance(n_steps)
    rows_N, masses_NV = pooled_probabilities(ensemble.members, cut, "test")
    tokens_N = np.asarray(cut.tokens[rows_N], np.int64)
    assert cut.market is not None
    gain_N = np.log(masses_NV[np.arange(len(rows_N)), tokens_N]) - np.log(token_histogram(cut)[tokens_N])
    by_date = mean_by_date(gain_N, cut.market.times[rows_N])
    gain, error = float(by_date.mean()), hac_standard_error(by_date)
    detail = f"a gain of {gain:.4f} nats (standard error {error:.4f}) where there is nothing to gain"
    return Canary("shuffled", gain <= SHUFFLED_ERRORS * error, detail)


def shuffled(dataset: TokenDataset, data: DataConfig, vocab_size: int, seed: int = 0) -> TokenDataset:
    """The returns of all assets, each in units of its standard deviation, dealt out again in random order."""
    series = [dataset.series(number) for number in range(len(dataset.assets))]
    deviations = [one.log_returns.std() for one in series]
    pooled = np.concatenate([one.log_returns / deviation for one, deviation in zip(series, deviations, strict=True)])
    dealt = np.random.default_rng(seed).permutation(pooled) * np.median(deviations)
    ends = np.cumsum([len(one) for one in series])[:-1]
    parts = [replace(one, log_returns=r) for one, r in zip(series, np.split(dealt, ends), strict=True)]
    cut = replace(data, tokenizer="quantile", signal="log_return", timeframes=None, **dataset.manifest["splits"])
    return build_dataset(parts, cut, vocab_size=vocab_size)


def floor_canary(model_nats_N: np.ndarray, true_nats_N: np.ndarray) -> Canary:
    """Is a model better than the law its data were drawn from? Losses of the same tokens in the same order."""
    gain = batch_means(true_nats_N - model_nats_N)
    detail = f"a gain of {gain.nats:.4f} nats (standard error {gain.standard_error:.4f}) over the true law"
    return Canary("floor", not below_floor(model_nats_N, true_nats_N), detail)


def _skipped(name: str, why: str, *, alarm: bool = False) -> Canary:
    return Canary(name, None, f"not run: {why}", alarm)


def _spread(n: int, most: int) -> np.ndarray:
    """At most so many of n places, from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def _differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a != b) & ~((a != a) & (b != b))


def _first(wrong: np.ndarray) -> np.ndarray:
    """The first row with anything wrong in it, (1,) or (0,)."""
    return np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[:1]


def _place(dataset: TokenDataset, row: Any) -> str:
    """Where the user finds a row."""
    if dataset.market is None:
        return f"row {row}"
    time = str(dataset.market.times[row])[:16].removesuffix("T00:00")
    number = int(dataset.assets_of(np.array([row]))[0])
    return f"{dataset.assets[number]} {time}" if number >= 0 else time
