"""The seed's `all_tokens.txt`: ids without prices."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data_pipeline.dataset import TokenDataset, describe, manifest_head, sealed, token_dtype
from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import TokenIds


def read_token_file(path: str | Path, vocab_size: int) -> TokenDataset:
    """The seed's `all_tokens.txt`: space-separated ids, one stream; 80 % train, 10 % validate, 10 % test, in order.

    Raises BadInput for text that is no id and for ids outside the vocabulary.
    """
    ids = parse_ids(Path(path).read_text(encoding="utf-8", errors="replace"), vocab_size, str(path), "--vocab_size")
    if len(ids) < 10:
        raise BadInput(f"{path}: {len(ids)} tokens, too few to split; the file holds space-separated integers")
    segments = np.array([[0, 0, int(0.8 * len(ids)), int(0.9 * len(ids)), len(ids)]], np.int64)
    manifest = manifest_head(str(path), ("numpy",)) | {
        "assets": [{"unique_id": Path(path).stem}],
        "splits": {"train_share": 0.8, "validation_share": 0.1},
    }
    tokens, tokenizer = ids.astype(token_dtype(vocab_size)), TokenIds(vocab_size)
    described = {"tokens": describe(tokens), "segments": describe(segments)}
    return TokenDataset(tokens, segments, tokenizer, sealed(manifest, tokenizer, described))


def parse_ids(text: str, vocab_size: int, where: str, vocab_flag: str | None = None) -> np.ndarray:
    """Space-separated token ids, int64. Raises BadInput naming the first word that is no id in [0, vocab_size).

    `vocab_flag` is the flag that would widen the vocabulary, where there is one.
    """
    words = text.split()
    bad = next((word for word in words if not re.fullmatch(r"-?[0-9]{1,18}", word)), None)
    if bad is not None:
        raise BadInput(f"{where}: {bad[:40]!r} is not a token id; ids are space-separated integers like 80 81 83")
    ids = np.array(words, dtype=np.int64)
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        place, largest = int(np.argmax(outside)), int(ids.max())
        mend = f"set {vocab_flag} {largest + 1}" if vocab_flag and ids.min() >= 0 else "mend the ids"
        raise BadInput(f"{where}: token {ids[place]} at position {place} is outside [0, {vocab_size}); {mend}")
    return ids
