"""`data analyze`: what a stream of tokens is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_pipeline import BadInput, TokenDataset, open_dataset, read_token_file
from data_pipeline.dataset import is_dataset
from mqc_jax.flags import check_picture, check_seed, parse


@dataclass(frozen=True)
class AnalyzeFlags:
    """Use of the vocabulary, entropy, transitions, frequent runs and outliers of tokens, beside shuffled ones."""

    data: str
    """A token dataset, a run, or a text file of token ids."""
    vocab_size: int = 128
    """Bound on the ids of a text file."""
    plot: str | None = None
    """Also draw the analysis to this PNG file."""
    seed: int = 0
    """Seed of the shuffles."""
    json: str | None = None
    """Also write the analysis to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> AnalyzeFlags:
    given = parse(AnalyzeFlags, argv, "mqc data analyze")
    check_seed(given.seed)
    if given.plot is not None:
        check_picture(given.plot, "--plot")
    return given


def run(flags: AnalyzeFlags, console: Console) -> dict[str, Any]:
    """Open, analyze, print, draw."""
    from data_pipeline.analyze import analyze
    from data_pipeline.analyze_report import analysis_chart, print_analysis

    dataset = _tokens(flags)
    stretches = [_bins_of(dataset, low, high) for _, low, _, _, high in dataset.segments]
    market = dataset.market
    owners = dataset.assets_of(np.array([rows[0] if len(rows) else 0 for rows in stretches]))
    found = analyze(
        [dataset.tokens[rows] for rows in stretches],
        dataset.tokenizer.vocab_size,
        returns=None if market is None else [market.returns[rows] for rows in stretches],
        times=None if market is None else [market.times[rows] for rows in stretches],
        names=[dataset.assets[owner] for owner in owners],
        seed=flags.seed,
    )
    print_analysis(found, console)
    if flags.plot is not None:
        analysis_chart(Path(flags.plot), found, f"{dataset.manifest['source']}: {dataset.tokenizer.kind} tokens")
    return found.to_json()


def _tokens(flags: AnalyzeFlags) -> TokenDataset:
    path = Path(flags.data)
    if path.suffix == ".txt" and path.is_file():
        return read_token_file(path, flags.vocab_size)
    dataset = open_dataset(path / "dataset" if is_dataset(path / "dataset") else path)
    if dataset.interleaved:
        raise BadInput(f"{flags.data}: assets stand side by side in it; analyze one prepared with --layout by_asset")
    return dataset


def _bins_of(dataset: TokenDataset, low: int, high: int) -> np.ndarray:
    """The rows of a piece that are returns: special tokens are left out."""
    rows = np.arange(low, high)
    return rows[dataset.tokens[rows] < dataset.tokenizer.vocab_size]
