"""What will be written where: the fitted tokenizer, and the rows of every asset, in one of two layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.dataset import manifest_head, token_dtype
from data_pipeline.engine import Mapper, merged
from data_pipeline.errors import BadInput
from data_pipeline.rows import fill, input_names, place
from data_pipeline.shards import Shard
from data_pipeline.splits import DayCounts, borders_of, split_dates
from data_pipeline.tokenizers import KINDS, Fitted, ReturnTokenizer, VQVAETokenizer, special
from data_pipeline.tokenizers.returns import Training
from data_pipeline.tokenizers.scaling import Rolling, Scaling
from data_pipeline.volatility import WARMUP

VQVAE_RETURNS, LEAST_VQVAE_RETURNS = 1_000_000, 64  # training returns a VQ-VAE looks at: in all, of one asset

PATCH = 2  # returns that make one token of a VQ-VAE: the original's

Span = tuple[int, int]


class Places(NamedTuple):
    """Where rows go."""

    rows: Sequence[Span | np.ndarray]  # of each shard: [low, high), or the number of each row
    segments: np.ndarray  # (S, 5)
    pieces: Sequence[int]  # segments of each shard
    dates: np.ndarray | None = None  # of the blocks of an interleaved dataset


class Writer(NamedTuple):
    """Everything that decides what is in a row."""

    tokenizer: Fitted
    borders: np.ndarray  # (2,) first instants after training and after validation
    special_tokens: bool
    inputs: list[str]

    def write(self, arrays: Mapping[str, np.ndarray], shard: Shard, where: Span | np.ndarray) -> None:
        """Write the rows of one shard."""
        series = shard.load(patch_of(self.tokenizer))
        placed = place(series, self.borders, self.special_tokens)
        rows = slice(*where) if isinstance(where, tuple) else where
        fill(arrays, rows, series, self.tokenizer, placed, self.inputs)
        if not isinstance(where, tuple):  # side by side, others are trained on while this one warms up
            arrays["tokens"][where[:WARMUP]] = self.tokenizer.vocab_size + special.MISSING


class Plan(NamedTuple):
    """Everything that decides what is written, and where."""

    writer: Writer
    shards: Sequence[Shard]
    places: Places
    manifest: dict[str, Any]

    @property
    def arrays(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Type and shape of every array but the segments, by name."""
        n, real = int(self.places.segments[-1, -1]), np.dtype(np.float64)
        n_inputs = len(self.writer.inputs)
        vocab_size = self.writer.tokenizer.vocab_size + len(self.manifest["special_tokens"])
        spec = {
            "tokens": (token_dtype(vocab_size), (n,)),
            "times": (np.dtype("datetime64[ns]"), (n,)),
            **dict.fromkeys(("closes", "returns", "volatility"), (real, (n,))),
            "inputs": (np.dtype(np.float32), (n, n_inputs)),
            "log_range": (np.dtype(np.float32), (n,)),
        }
        tokenizer = self.writer.tokenizer
        rolling = isinstance(tokenizer, ReturnTokenizer) and isinstance(tokenizer.scaling, Rolling)
        return spec | ({"known": (real, (n, 2))} if rolling else {})

    def prefill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write what no asset will: the rows of an interleaved dataset at which an asset has no bar."""
        if self.places.dates is None:
            return
        block = len(self.shards) + 1
        arrays["tokens"][:] = self.writer.tokenizer.vocab_size + special.MISSING
        arrays["tokens"][::block] = self.writer.tokenizer.vocab_size + special.SESSION_OPEN
        arrays["times"][:] = np.repeat(self.places.dates, block)
        for name in set(arrays) & {"closes", "returns", "volatility", "log_range", "known"}:
            arrays[name][:] = np.nan
        arrays["inputs"][:] = 0


def make_plan(
    shards: Sequence[Shard],
    dated: DayCounts,
    config: DataConfig,
    vocab_size: int,
    tokenizer: Fitted | None,
    mapper: Mapper,
) -> Plan:
    """Split by date, fit the tokenizer where none is given, and give every asset its rows.

    Raises BadInput for dates out of order, too little data to fit, and bars that cannot stand side by side.
    """
    given = tokenizer is not None  # nothing is fitted: the data may lie wholly behind the training dates
    train_end, validation_end = split_dates(dated, config.train_end, config.validation_end, anywhere=given)
    borders = borders_of(train_end, validation_end)
    about: dict[str, Any] = {"options": config.options()}
    if tokenizer is None and config.tokenizer == VQVAETokenizer.kind:
        tokenizer, about["reconstruction"] = _fit_vqvae(shards, borders[0], vocab_size, mapper)
    elif tokenizer is None:
        tokenizer = _fit(shards, borders[0], config, vocab_size, mapper)
    interleaved = config.layout == "interleaved"
    if interleaved:
        places = _side_by_side(shards, borders)
    else:
        places = _one_by_one(shards, borders, config.special_tokens, patch_of(tokenizer), mapper)
    if not given and not (places.segments[:, 2] > places.segments[:, 1]).any():
        raise BadInput(f"{config.data}: the warm-up leaves no training date; give more history or a later --train_end")
    about["inputs"] = input_names(config.ranges, config.clock)
    about["special_tokens"] = list(special.NAMES) if config.special_tokens or interleaved else []
    about["assets"] = [shard.about | {"pieces": n} for shard, n in zip(shards, places.pieces, strict=True)]
    about["splits"] = {"train_end": train_end, "validation_end": validation_end}
    writer = Writer(tokenizer, borders, config.special_tokens, about["inputs"])
    return Plan(writer, shards, places, manifest_head(config.data) | about)


def patch_of(tokenizer: Fitted | str) -> int:
    """Returns that make one token, of a tokenizer or of the kind that is to be fitted."""
    if isinstance(tokenizer, VQVAETokenizer):
        return tokenizer.patch
    return PATCH if tokenizer == VQVAETokenizer.kind else 1


def _fit(
    shards: Sequence[Shard], train_end: np.datetime64, config: DataConfig, vocab_size: int, mapper: Mapper
) -> ReturnTokenizer:
    """Fit to sketches of the returns before `train_end`."""
    scaling = KINDS[config.tokenizer].scaling(config.signal)
    found = mapper(partial(_training, train_end, scaling), shards)
    return ReturnTokenizer.of(config.tokenizer, merged(Training.merged, found), vocab_size, config.signal)


def _fit_vqvae(
    shards: Sequence[Shard], train_end: np.datetime64, vocab_size: int, mapper: Mapper
) -> tuple[VQVAETokenizer, dict[str, float]]:
    """Fit to the last returns of every asset before `train_end`, and say how well these are reconstructed."""
    share = max(VQVAE_RETURNS // len(shards), LEAST_VQVAE_RETURNS)
    returns = list(mapper(partial(_last_training_returns, train_end, share), shards))
    tokenizer = VQVAETokenizer.fit(returns, codes=vocab_size, patch=PATCH)
    return tokenizer, tokenizer.reconstruction(returns)


def _training(train_end: np.datetime64, scaling: Scaling, shard: Shard) -> Training:
    series = shard.load()
    return Training.of(series.log_returns[: np.searchsorted(series.times, train_end)], scaling)


def _last_training_returns(train_end: np.datetime64, most: int, shard: Shard) -> np.ndarray:
    series = shard.load()
    end = int(np.searchsorted(series.times, train_end))
    return series.log_returns[max(0, end - most) : end]


def _one_by_one(
    shards: Sequence[Shard], borders: np.ndarray, special_tokens: bool, patch: int, mapper: Mapper
) -> Places:
    """One asset after another."""
    rows, segments, low = [], [], 0
    for found in mapper(partial(_segments, borders, special_tokens, patch), shards):
        high = low + int(found[-1, -1])
        rows.append((low, high))
        segments.append(low + found)
        low = high
    return Places(rows, np.concatenate(segments), [len(s) for s in segments])


def _segments(borders: np.ndarray, special_tokens: bool, patch: int, shard: Shard) -> np.ndarray:
    return place(shard.load(patch), borders, special_tokens).segments


def _side_by_side(shards: Sequence[Shard], borders: np.ndarray) -> Places:
    """A block per date: `session_open`, then every asset in its column. Begins when the first has warmed up.

    Raises BadInput for bars of unlike length: a day's bar is stamped before the hours it is made of.
    """
    intervals = sorted({shard.about.get("interval", "one") for shard in shards})
    if len(intervals) > 1:
        raise BadInput(f"bars of {', '.join(intervals)} cannot stand side by side; choose one by --timeframes")
    times = [shard.load().times for shard in shards]
    dates = np.unique(np.concatenate(times))
    block = len(shards) + 1
    rows = [np.searchsorted(dates, t) * block + 1 + column for column, t in enumerate(times)]
    train = np.searchsorted(dates, min(t[WARMUP] for t in times))
    ends = np.maximum(np.searchsorted(dates, borders), train)
    segments = block * np.array([[0, train, *ends, len(dates)]])
    return Places(rows, segments, [1] + [0] * (len(shards) - 1), dates)
