"""`evaluate`: the score of a run on dates it never saw."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, DataConfig, TokenDataset, open_dataset, prepare
from data_pipeline.dataset import is_dataset
from data_pipeline.tokenizers import TokenIds
from mqc_jax.commands.device import Device, use_device
from mqc_jax.commands.scoreboard import check_overlap, show
from mqc_jax.flags import check_range, parse
from mqc_jax.run import Run, load_run, open_run_dataset, read_metrics

if TYPE_CHECKING:
    from mqc_jax.evaluation.canaries import Canary

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
    scoreboard: bool = True
    """Stand the run beside GARCH and the other classics on the same rows."""
    walk_forward: str | None = None
    """Refit the run's configuration and all classics every New Year of these years, like 2005:2018, and score them."""
    n_members: int = 5
    """Seeds that are pooled in each refit of --walk_forward."""
    allow_overlap: bool = False
    """Score dates that the run has seen, and say so in the first line."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> EvaluateFlags:
    given = parse(EvaluateFlags, argv, "evaluate.py")
    if given.seq_len is not None and given.seq_len < 1:
        raise BadInput(f"--seq_len {given.seq_len} must be 1 or more")
    check_range(given, n_members=100)
    if given.walk_forward is not None:
        parse_years(given.walk_forward)
    return given


def parse_years(text: str) -> tuple[int, int]:
    """First and last year of a text like 2005:2018."""
    match = re.fullmatch(r"([0-9]{4}):([0-9]{4})", text)
    if not match or not int(match[1]) <= int(match[2]):
        raise BadInput(f"--walk_forward {text}: give a first and a last year, like 2005:2018")
    return int(match[1]), int(match[2])


def run(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Score and print."""
    from mqc_jax.evaluation import evaluate
    from mqc_jax.evaluation.canaries import as_json, summary
    from mqc_jax.model import count_parameters

    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    if flags.data_file is None:
        dataset = open_run_dataset(flags.checkpoint, loaded.config)
    else:
        with TemporaryDirectory() as place:
            dataset = _other_data(flags.data_file, loaded, Path(place) / "dataset", console)
    if flags.walk_forward is not None:
        return _walk(flags, loaded, dataset, parse_years(flags.walk_forward), console)
    context = loaded.config.model.sequence_len
    if flags.seq_len is not None and flags.seq_len > context:
        console.print(f"windows of {flags.seq_len}: longer than in training; each layer looks back {context} tokens")
    seq_len = flags.seq_len or context
    overlap = _overlap(flags, loaded, dataset)
    if overlap:
        console.print(f"WARNING: {overlap}")
    figures = evaluate(loaded.model, dataset, flags.split, seq_len=seq_len)
    canaries = _refuse_leaks(flags, loaded, dataset, seq_len)
    if dataset.market is not None and not dataset.tokenizer.exact_likelihood:
        console.print(f"{dataset.tokenizer.kind} tokens have no likelihood of returns: scored as mere ids")
    lines = read_metrics(flags.checkpoint)
    n_parameters = count_parameters(loaded.model)
    _print(figures, f"{flags.checkpoint} on {dataset.manifest['source']}, {n_parameters:,} parameters", console)
    canaries += _alarms(figures, dataset)
    for line in summary(canaries):
        console.print(line)
    models = _models(flags, loaded, dataset, seq_len, overlap, console) if flags.scoreboard else {}
    return {
        "run": flags.checkpoint,
        "source": dataset.manifest["source"],
        "splits": dataset.manifest["splits"],
        "n_parameters": n_parameters,
        "train_seconds": lines[-1]["seconds"] if lines else None,
        flags.split: figures,
        "canaries": as_json(canaries),
        **({"models": models} if models else {}),
    }


def _overlap(flags: EvaluateFlags, run: Run, dataset: TokenDataset) -> str | None:
    rows = dataset.rows(flags.split)
    if dataset.market is None or not len(rows) or not run.manifest["splits"].get("train_end"):
        return None
    first = str(np.asarray(dataset.market.times[rows]).min().astype("datetime64[D]"))
    return check_overlap(run, first, flags.split, flags.allow_overlap)


def _refuse_leaks(flags: EvaluateFlags, run: Run, dataset: TokenDataset, seq_len: int) -> list[Canary]:
    from mqc_jax.evaluation.canaries import predictor, refuse_leaks, run_canaries

    predict = predictor(run.model, seq_len)
    own = flags.data_file is None
    canaries = run_canaries(predict, dataset, flags.split, run.config.model.sequence_len, own_tokenizer=own)
    refuse_leaks(canaries)
    return [canary for canary in canaries if not canary.alarm]


def _alarms(figures: dict[str, Any], dataset: TokenDataset) -> list[Canary]:
    from mqc_jax.evaluation.canaries import Figures, alarms

    gain = figures.get("bits_gained_over_adaptive_unigram", math.nan) * math.log(2)
    return alarms(Figures(gain, figures["top1_accuracy"], None), dataset)


def _models(
    flags: EvaluateFlags, run: Run, dataset: TokenDataset, seq_len: int, overlap: str | None, console: Console
) -> dict[str, Any] | None:
    """The scoreboard's figures, or none where there is nothing to compare."""
    from mqc_jax.evaluation.contest import frozen_contest

    what = [] if flags.split == "test" else [flags.split]
    what += [] if flags.data_file is None else [re.sub(r"\W+", "-", Path(flags.data_file).stem)]
    place = Path(flags.checkpoint) / "-".join(["scoreboard", *what])
    cache = Path(flags.checkpoint) / "cache"
    try:
        with console.status("fitting the classics"):
            contest = frozen_contest(
                run.model, dataset, flags.split, seq_len=seq_len, cache=cache, say=lambda line: None
            )
    except BadInput as error:
        console.print(f"no scoreboard: {error}")
        return None
    return show(contest, run, flags.checkpoint, place, run.manifest["splits"]["train_end"], overlap, console)


def _walk(
    flags: EvaluateFlags, run: Run, dataset: TokenDataset, years: tuple[int, int], console: Console
) -> dict[str, Any]:
    from mqc_jax.evaluation.contest import walking_contest

    place = Path(flags.checkpoint) / f"walk-forward-{years[0]}-{years[1]}"
    cache = Path(flags.checkpoint) / "cache"
    seeds = range(run.config.train.seed, run.config.train.seed + flags.n_members)
    contest = walking_contest(run.config, dataset, years, seeds=seeds, cache=cache, say=console.print)
    console.print(f"{flags.n_members} members, {contest.n_epochs} epochs in every refit")
    trained_to = f"the end of the year before each scored one, {flags.n_members} members"
    return {
        "run": flags.checkpoint,
        "source": dataset.manifest["source"],
        "years": list(years),
        "n_members": flags.n_members,
        "n_epochs": contest.n_epochs,
        "models": show(contest, run, flags.checkpoint, place, trained_to, None, console),
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
