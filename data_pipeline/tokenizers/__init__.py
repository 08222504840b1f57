"""Returns to tokens and back."""

from __future__ import annotations

from typing import Any

from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.tokenizers.ids import TokenIds
from data_pipeline.tokenizers.returns import KINDS, ReturnTokenizer, check_bins
from data_pipeline.tokenizers.vqvae import VQVAETokenizer
from data_pipeline.tokenizers.vqvae.tokenizer import RANGES

Fitted = ReturnTokenizer | VQVAETokenizer
Tokenizer = Fitted | TokenIds


def check_vocab_size(kind: str, vocab_size: int) -> None:
    """Raise BadInput unless a tokenizer of this kind can have so many tokens: known before any price is read."""
    if kind in KINDS:
        return check_bins(kind, vocab_size)
    least, most = RANGES["codes"]
    if not least <= vocab_size <= most:
        raise BadInput(f"--vocab_size {vocab_size} must be from {least} to {most}")


def tokenizer_from_json(fields: dict[str, Any], where: str) -> Tokenizer:
    """Rebuild what `to_json` wrote. Raises DamagedData naming the file when it is not that."""
    try:
        others: dict[str, Any] = {TokenIds.kind: TokenIds, VQVAETokenizer.kind: VQVAETokenizer}
        return others.get(fields["kind"], ReturnTokenizer).from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedData(f"{where}: not a tokenizer of this version ({error!r}); prepare or train again") from None


__all__ = [
    "KINDS",
    "Fitted",
    "ReturnTokenizer",
    "TokenIds",
    "Tokenizer",
    "VQVAETokenizer",
    "check_vocab_size",
    "tokenizer_from_json",
]
