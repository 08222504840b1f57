"""Returns to tokens and back."""

from __future__ import annotations

from typing import Any

from data_pipeline.errors import DamagedData
from data_pipeline.tokenizers.base import ReturnTokenizer
from data_pipeline.tokenizers.ids import TokenIds
from data_pipeline.tokenizers.quantile import QuantileTokenizer
from data_pipeline.tokenizers.volatility import VolatilityTokenizer

Tokenizer = ReturnTokenizer | TokenIds
RETURN_TOKENIZERS: dict[str, type[ReturnTokenizer]] = {
    tokenizer.kind: tokenizer for tokenizer in (QuantileTokenizer, VolatilityTokenizer)
}


def tokenizer_from_json(fields: dict[str, Any], where: str) -> Tokenizer:
    """Rebuild what `to_json` wrote. Raises DamagedData naming the file when it is not that."""
    kinds: dict[str, Any] = {**RETURN_TOKENIZERS, TokenIds.kind: TokenIds}
    try:
        return kinds[fields["kind"]].from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedData(f"{where}: not a tokenizer ({error!r}); prepare the dataset again") from None
