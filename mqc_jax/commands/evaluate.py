"""`evaluate`: the score of a run on dates it never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, DataConfig, TokenDataset, open_dataset, prepare
from data_pipeline.dataset import is_dataset
from data_pipeline.tokenizers import TokenIds
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import parse
from mqc_jax.run import Run, load_run, open_run_dataset, read_metrics

LAWS = ("unigram", "adaptive_unigram", "token_histogram")


@dataclass(frozen=True)
class EvaluateFlags:
    """Score a run beside the laws it has to beat. Training dates are never scored."""

    checkpoint: str = "runs/daily"
    """Run directory."""
    split: Literal["test", "validation"] = "test"
    """Which dates to score."""
    data_file: str | None = None
    """Score these prices or tokens instead, cut by the run's tokenizer and at the run's dates."""
    seq_len: int | None = None
    """Length of the windows; default: the model's context. Each layer looks back that context at most."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> EvaluateFlags:
    given = parse(EvaluateFlags, argv, "evaluate.py")
    if given.seq_len is not None and given.seq_len < 1:
        raise BadInput(f"--seq_len {given.seq_len} must be 1 or more")
    return given


def run(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Score and print."""
    from mqc_jax.evaluation import evaluate
    from mqc_jax.model import count_parameters

    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    if flags.data_file is None:
        dataset = open_run_dataset(flags.checkpoint, loaded.config)
    else:
        with TemporaryDirectory() as place:
            dataset = _other_data(flags.data_file, loaded, Path(place) / "dataset", console)
    context = loaded.config.model.sequence_len
    if flags.seq_len is not None and flags.seq_len > context:
        console.print(f"windows of {flags.seq_len}: longer than in training; each layer looks back {context} tokens")
    figures = evaluate(loaded.model, dataset, flags.split, seq_len=flags.seq_len)
    if dataset.market is not None and not dataset.tokenizer.exact_likelihood:
        console.print(f"{dataset.tokenizer.kind} tokens have no likelihood of returns: scored as mere ids")
    lines = read_metrics(flags.checkpoint)
    n_parameters = count_parameters(loaded.model)
    _print(figures, f"{flags.checkpoint} on {dataset.manifest['source']}, {n_parameters:,} parameters", console)
    return {
        "run": flags.checkpoint,
        "source": dataset.manifest["source"],
        "splits": dataset.manifest["splits"],
        "n_parameters": n_parameters,
        "train_seconds": lines[-1]["seconds"] if lines else None,
        flags.split: figures,
    }


def _other_data(source: str, run: Run, place: Path, console: Console) -> TokenDataset:
    """Cut into memory-mapped arrays, which outlive the files' names."""
    if is_dataset(Path(source)):
        dataset = open_dataset(source)
    elif isinstance(run.tokenizer, TokenIds):
        if Path(source).suffix != ".txt":
            raise BadInput(f"--data_file {source}: this run knows bare token ids only; give a .txt file of them")
        dataset = prepare(DataConfig(source), place, vocab_size=run.config.model.vocab_size)
    else:
        dataset = prepare(replace(run.config.data, data=source), place, tokenizer=run.tokenizer, say=console.print)
    parts = (
        ("special_tokens", "inputs") if isinstance(run.tokenizer, TokenIds) else ("special_tokens", "inputs", "splits")
    )
    same = all(dataset.manifest.get(part) == run.manifest.get(part) for part in parts)
    if not same or dataset.tokenizer.to_json() != run.tokenizer.to_json():
        raise BadInput(f"--data_file {source}: its tokens were cut in another way; give the prices themselves")
    return dataset


def _print(figures: dict[str, Any], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left", box=None)
    table.add_column(f"{figures['split']}, {figures['n_targets']:,} tokens")
    table.add_column("model", justify="right")
    for law in LAWS:
        table.add_column(law.replace("_", " "), justify="right")
    nats = [figures["nats_per_token"], *(figures[f"{law}_nats_per_token"] for law in LAWS)]
    table.add_row("cross-entropy, nats/token", *(f"{n:.4f}" for n in nats))
    table.add_row("perplexity", *(f"{math.exp(n):.2f}" for n in nats))
    table.add_row("next-token accuracy", f"{figures['top1_accuracy']:.2%}")
    table.add_row("top-5 accuracy", f"{figures['top5_accuracy']:.2%}")
    console.print(table)
    shared = figures.get("shared_bins")
    on = f", {shared['n_bins']} shared bins" if shared else ""
    for law in LAWS:
        bits, error = (figures.get(f"bits_gained_over_{law}{part}") for part in ("", "_standard_error"))
        spread = "" if error is None else f" (standard error {error:.4f})"
        verdict = "" if error is None or bits > 1.96 * error else ": no edge over it"
        console.print(f"bits gained per token over the {law.replace('_', ' ')}{on}: {bits:+.4f}{spread}{verdict}")
