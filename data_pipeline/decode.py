"""Prices to tables of tokens, and tokens back to returns and prices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pandas as pd

from data_pipeline.config import DataConfig
from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.rows import columns
from data_pipeline.shards import check_timeframes, read_part
from data_pipeline.sources import open_source
from data_pipeline.tokenizers import Fitted, ReturnTokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP


def token_frames(
    config: DataConfig, tokenizer: Fitted, intervals: Collection[str], say: Callable[[str], None]
) -> Iterator[pd.DataFrame]:
    """A table per asset and timeframe of `config.data`, a row per token behind the warm-up.

    Columns `unique_id, ds, token, log_return, close`. Said is which asset is left out because it does not outlast the
    warm-up, and which bars are of none of the `intervals` that the tokenizer was fitted on. Raises BadInput when no
    asset is left.
    """
    check_timeframes(config)
    source, found = open_source(config.data, config.files), False
    for part in source.parts():
        for reading in read_part(source, part, config):
            for line in reading.notes:
                say(line)
            series = reading.shard.load(1 if isinstance(tokenizer, ReturnTokenizer) else tokenizer.patch)
            if len(series) <= WARMUP:
                say(f"{series.unique_id}: left out, {len(series)} returns do not outlast the warm-up of {WARMUP}")
                continue
            interval = reading.shard.about["interval"]
            if interval not in intervals:
                say(f"{series.unique_id}: bars of {interval}; the tokenizer was fitted on {', '.join(intervals)}")
            tokens, market = columns(series, tokenizer, INPUT_NAMES)
            table = {"ds": market.times, "token": tokens, "log_return": market.returns, "close": market.closes}
            found = True
            yield pd.DataFrame({"unique_id": series.unique_id} | table).iloc[WARMUP:]
    if not found:
        raise BadInput(f"{config.data}: no asset outlasts the warm-up of {WARMUP} returns; give more history")


def decoded_frame(dataset: TokenDataset) -> pd.DataFrame:
    """One row per return behind the warm-up, special tokens left out.

    Columns `unique_id, ds, token, log_return, close`, the real ones, and `decoded_log_return, decoded_close`: the
    representative return of the token, and the price it leads to from the real one before. Where a token stands for
    several returns, the decoded one is their sum.

    Raises BadInput for bare token ids, which stand for nothing.
    """
    if dataset.market is None or not isinstance(dataset.tokenizer, Fitted):
        raise BadInput(f"{dataset.manifest['source']}: bare token ids stand for no returns; prepare prices instead")
    frames = []
    for asset, unique_id in enumerate(dataset.assets):
        rows = dataset.asset_rows(asset)
        tokens, returns = np.asarray(dataset.tokens[rows]), np.asarray(dataset.market.returns[rows])
        closes = np.asarray(dataset.market.closes[rows])
        if isinstance(dataset.tokenizer, ReturnTokenizer):
            decoded = dataset.tokenizer.decode(tokens, np.asarray(dataset.market.known_before[rows]))
        else:
            decoded = dataset.tokenizer.decode(tokens).reshape(len(tokens), -1).sum(axis=1)
        columns = {
            "unique_id": unique_id,
            "ds": np.asarray(dataset.market.times[rows]),
            "token": tokens,
            "log_return": returns,
            "close": closes,
            "decoded_log_return": decoded,
            "decoded_close": closes * np.exp(decoded - returns),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def decode_ids(tokenizer: Fitted, tokens: np.ndarray, price: float) -> pd.DataFrame:
    """Returns and prices of tokens that happen after a long calm, from `price` on: volatility answers to each return.

    Columns `token, decoded_log_return, decoded_close`; a row per return.
    """
    if isinstance(tokenizer, ReturnTokenizer):
        state, returns = tokenizer.calm_state(), np.empty(len(tokens))
        for t, token in enumerate(tokens):
            state, _, returns[t] = tokenizer.step(state, tokenizer.bins.values[token])
    else:
        returns = tokenizer.decode(tokens)
        tokens = np.repeat(tokens, tokenizer.patch)
    closes = price * np.exp(np.cumsum(returns))
    return pd.DataFrame({"token": tokens, "decoded_log_return": returns, "decoded_close": closes})
