"""A token dataset in one line."""

from __future__ import annotations

from data_pipeline import TokenDataset
from data_pipeline.dataset import SPLITS

NAMED = 4  # assets


def contents(dataset: TokenDataset) -> str:
    """Assets, tokenizer, and the tokens that count in each split."""
    assets = dataset.assets
    if len(assets) > NAMED + 1:
        assets = [*assets[:NAMED], f"… {len(assets):,} in all"]
    sizes = ", ".join(f"{dataset.count(split):,} {split}" for split in SPLITS)
    return f"{', '.join(assets)}; {dataset.tokenizer.kind} tokens: {sizes}"
