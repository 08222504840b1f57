"""`data prepare`: prices to token datasets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipeline import BadInput, DataConfig, prepare
from data_pipeline.dataset import is_dataset
from data_pipeline.engine import Engine
from mqc_jax.commands.contents import contents
from mqc_jax.flags import parse


@dataclass(frozen=True)
class PrepareFlags:
    """Cut prices into tokens and write a token dataset, ready for `train.py --data DIR`."""

    out: str
    """Directory to write; it must not exist."""
    data: DataConfig = field(default_factory=DataConfig)
    vocab_size: int = 128
    """Number of bins; of a text file of tokens, the bound on their ids."""
    workers: int = 1
    """Processes that read and write, an asset each at a time; 0: one per core. The dataset does not depend on it."""
    engine: Engine = "local"
    """'local', or 'ray' for the Ray cluster of this machine (extra 'ray')."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> PrepareFlags:
    given = parse(PrepareFlags, argv, "mqc data prepare")
    if given.workers < 0:
        raise BadInput(f"--workers {given.workers} must be 0 (one per core) or more")
    return given


def run(flags: PrepareFlags, console: Console) -> dict[str, Any]:
    """Prepare, write, and say what is in it."""
    data = flags.data
    if is_dataset(Path(data.data)):
        raise BadInput(f"{data.data} is a token dataset already; give the prices it was made of")
    dataset = prepare(
        data,
        Path(flags.out),
        vocab_size=flags.vocab_size,
        engine=flags.engine,
        workers=flags.workers or os.cpu_count() or 1,
        say=console.print,
    )
    figures: dict[str, Any] = {"dataset": flags.out, "assets": dataset.assets, "tokenizer": dataset.tokenizer.kind}
    figures |= {f"{split}_tokens": dataset.count(split) for split in ("train", "validation", "test")}
    console.print(f"{flags.out}: {contents(dataset)}")
    found = dataset.manifest.get("reconstruction")
    if found is not None:
        figures["reconstruction"] = found
        console.print(
            f"the codes explain {found['r2']:.2%} of the training returns' variance and {found['r2_absolute']:.2%} of "
            f"their size's; {found['codes_used_share']:.0%} of them are used"
        )
    return figures
