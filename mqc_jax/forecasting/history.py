"""What paths go on from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_pipeline import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import ReturnTokenizer, Tokenizer
from data_pipeline.volatility import INPUT_NAMES, WARMUP, VolatilityState


class History(NamedTuple):
    """What a path goes on from: the last tokens, the inputs beside them, and the volatility after them."""

    tokens: np.ndarray  # (T,) int32
    inputs: np.ndarray | None  # (T, F)
    state: VolatilityState | None

    @classmethod
    def of_returns(cls, tokenizer: ReturnTokenizer, log_returns: np.ndarray, length: int) -> History:
        """The last `length` steps of one asset's log returns. Raises BadInput when they do not outlast the warm-up."""
        if len(log_returns) <= WARMUP:
            raise BadInput(f"{len(log_returns)} returns of history; more than {WARMUP} are needed to know volatility")
        filtered = tokenizer.filter(log_returns)
        tokens = tokenizer.encode(log_returns).astype(np.int32)
        kept = slice(max(WARMUP, len(tokens) - length), None)
        return cls(tokens[kept], filtered.inputs[kept], filtered.state)

    @classmethod
    def of_rows(cls, dataset: TokenDataset, asset: int, last: int, length: int) -> History:
        """At most `length` rows of an asset up to row `last`, special tokens included, none from before a break."""
        segments = dataset.asset_segments(asset)
        piece = segments[np.searchsorted(segments[:, 4], last, side="right")]
        kept = slice(max(piece[1], last + 1 - length), last + 1)
        tokens = np.asarray(dataset.tokens[kept], np.int32)
        if dataset.market is None or not isinstance(dataset.tokenizer, ReturnTokenizer):
            return cls(tokens, None if dataset.market is None else np.asarray(dataset.market.inputs[kept]), None)
        returns = np.asarray(dataset.market.returns[segments[0, 0] : last + 1])
        state = dataset.tokenizer.filter(returns[np.isfinite(returns)]).state  # special tokens have no return
        return cls(tokens, np.asarray(dataset.market.inputs[kept]), state)

    @classmethod
    def of_tokens(cls, tokenizer: Tokenizer, tokens: np.ndarray) -> History:
        """Tokens that happen after a long calm at the training data's typical volatility."""
        if not isinstance(tokenizer, ReturnTokenizer):
            return cls(tokens, None, None)
        state, inputs = tokenizer.calm_state(), np.empty((len(tokens), len(INPUT_NAMES)))
        for t, token in enumerate(tokens):
            state, inputs[t], _ = tokenizer.step(state, tokenizer.bins.values[token])
        return cls(tokens, inputs.astype(np.float32), state)
