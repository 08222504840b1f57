"""Returns to tokens and back."""

from __future__ import annotations

from typing import Any

from data_pipeline.errors import DamagedData
from data_pipeline.tokenizers.ids import TokenIds
from data_pipeline.tokenizers.returns import KINDS, ReturnTokenizer
from data_pipeline.tokenizers.vqvae import VQVAETokenizer

Fitted = ReturnTokenizer | VQVAETokenizer
Tokenizer = Fitted | TokenIds


def tokenizer_from_json(fields: dict[str, Any], where: str) -> Tokenizer:
    """Rebuild what `to_json` wrote. Raises DamagedData naming the file when it is not that."""
    try:
        others: dict[str, Any] = {TokenIds.kind: TokenIds, VQVAETokenizer.kind: VQVAETokenizer}
        return others.get(fields["kind"], ReturnTokenizer).from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedData(f"{where}: not a tokenizer of this version ({error!r}); prepare or train again") from None


__all__ = ["KINDS", "Fitted", "ReturnTokenizer", "TokenIds", "Tokenizer", "VQVAETokenizer", "tokenizer_from_json"]
