"""`data`: prices to token datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from data_pipeline import BadInput, prepare, write_dataset
from mqc_jax.config import DataConfig
from mqc_jax.flags import parse

USAGE = "usage: mqc data prepare --data PRICES --out DIR [flags]; see 'mqc data prepare --help'"


@dataclass(frozen=True)
class PrepareFlags:
    """Cut prices into tokens and write a token dataset, ready for `train.py --data DIR`."""

    out: str
    """Directory to write; it must not exist."""
    data: DataConfig = field(default_factory=DataConfig)
    vocab_size: int = 128
    """Bound on the ids of a text file of tokens."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> PrepareFlags:
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        raise SystemExit(0)
    if not argv or argv[0] != "prepare":
        raise BadInput(f"mqc data: {f'unknown command {argv[0]}' if argv else 'no command'}; {USAGE}")
    return parse(PrepareFlags, argv[1:], "mqc data prepare")


def run(flags: PrepareFlags, console: Console) -> dict[str, Any]:
    """Prepare, write, and say what is in it."""
    data = flags.data
    dataset = prepare(
        data.data,
        tokenizer=data.tokenizer,
        vocab_size=flags.vocab_size,
        train_end=data.train_end,
        validation_end=data.validation_end,
    )
    write_dataset(dataset, flags.out)
    figures: dict[str, Any] = {"dataset": flags.out, "assets": dataset.assets, "tokenizer": dataset.tokenizer.kind}
    figures |= {f"{split}_tokens": len(dataset.rows(split)) for split in ("train", "validation", "test")}
    console.print(
        f"{flags.out}: {', '.join(dataset.assets)}; {figures['train_tokens']:,} training, "
        f"{figures['validation_tokens']:,} validation, {figures['test_tokens']:,} test tokens"
    )
    return figures
