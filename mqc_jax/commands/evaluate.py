"""`evaluate`: the score of a run on dates it never saw."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, DataConfig, TokenDataset, open_dataset, prepare
from data_pipeline.dataset import is_dataset
from data_pipeline.splits import parse_day
from data_pipeline.tokenizers import TokenIds
from mqc_jax.commands.device import Device, use_device
from mqc_jax.commands.realism import draw_and_compare
from mqc_jax.commands.scoreboard import Seen, scored_since, show, what_was_seen
from mqc_jax.commands.walk import Walk, parse_years, walk_forward
from mqc_jax.flags import check_range, parse
from mqc_jax.run import Run, load_run, open_run_dataset, read_metrics

if TYPE_CHECKING:
    from mqc_jax.evaluation.canaries import Canary
    from mqc_jax.evaluation.contest import Entrant

MOST_PATHS = 1_000
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
    beside: str | None = None
    """Other runs on the same prices, like runs/a,runs/b, which get a row each on the scoreboard."""
    n_paths: int = 0
    """Also simulate so many paths of the scored dates, 20 or more, and compare how they and the real returns behave."""
    walk_forward: str | None = None
    """Refit the run's configuration and all classics every New Year of these years, like 2005:2018, and score them."""
    n_members: int = 5
    """Seeds that are pooled in each refit of --walk_forward."""
    since: str | None = None
    """Score the test dates from this one on, like 2016-01-01; default: all that the run has not seen."""
    allow_overlap: bool = False
    """With --since: score dates that the run has seen, and say so in the first line."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> EvaluateFlags:
    from mqc_jax.evaluation.stylized_facts import LEAST_PATHS

    given = parse(EvaluateFlags, argv, "evaluate.py")
    if given.seq_len is not None and given.seq_len < 1:
        raise BadInput(f"--seq_len {given.seq_len} must be 1 or more")
    check_range(given, n_members=100)
    if given.n_paths and not LEAST_PATHS <= given.n_paths <= MOST_PATHS:
        raise BadInput(f"--n_paths {given.n_paths}: give {LEAST_PATHS} to {MOST_PATHS:,}, or 0 for none")
    if given.since is not None:
        parse_day(given.since, "--since")
        if given.split != "test":
            raise BadInput(f"--since says where the test begins; leave out --split {given.split}")
    names = [Path(path).name for path in _paths(given.beside)]
    if len(set(names)) < len(names):
        raise BadInput(f"--beside {given.beside}: two folders of one name would share a row; rename one")
    if given.walk_forward is not None:
        parse_years(given.walk_forward)
        defaults = EvaluateFlags()
        for name in ("split", "seq_len", "scoreboard", "beside", "n_paths", "allow_overlap"):
            if getattr(given, name) != getattr(defaults, name):
                raise BadInput(f"--walk_forward scores whole years of its own refits; leave out --{name}")
    return given


def _paths(text: str | None) -> list[str]:
    return [path.strip() for path in (text or "").split(",") if path.strip()]


def run(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Score and print."""
    from mqc_jax.evaluation import evaluate
    from mqc_jax.evaluation.canaries import as_json, summary
    from mqc_jax.evaluation.contest import Entrant
    from mqc_jax.model import count_parameters

    use_device(flags.device)
    loaded = load_run(flags.checkpoint)
    dataset = _data(flags, flags.checkpoint, loaded, console)
    context = loaded.config.model.sequence_len
    seq_len = flags.seq_len or context
    if flags.walk_forward is not None:
        canaries = _refuse_leaks(flags, loaded, dataset, seq_len)
        years = parse_years(flags.walk_forward)
        place = report_folder(flags, "walk-forward", *map(str, years), f"{flags.n_members}-members")
        walk = Walk(flags.checkpoint, place, years, flags.n_members, flags.since)
        return walk_forward(walk, loaded, dataset, canaries, console)
    if flags.since is not None:
        dataset = scored_since(dataset, flags.since)
    beside = {Path(path).name: _entrant(flags, path, console) for path in _paths(flags.beside)}
    seen = what_was_seen(loaded, flags.checkpoint, dataset, flags.split, flags.allow_overlap)
    console.print(seen.line)
    if flags.seq_len is not None and flags.seq_len > context:
        console.print(f"windows of {flags.seq_len}: longer than in training; each layer looks back {context} tokens")
    figures = evaluate(loaded.model, dataset, flags.split, seq_len=seq_len)
    canaries = _refuse_leaks(flags, loaded, dataset, seq_len)
    if dataset.market is not None and not dataset.tokenizer.exact_likelihood:
        console.print(f"{dataset.tokenizer.kind} tokens have no likelihood of returns: scored as mere ids")
    lines = read_metrics(flags.checkpoint)
    n_parameters = count_parameters(loaded.model)
    _print(figures, f"{flags.checkpoint} on {dataset.manifest['source']}, {n_parameters:,} parameters", console)
    paths = {}
    if flags.n_paths:
        paths = draw_and_compare(loaded, flags.checkpoint, dataset, flags.split, flags.n_paths, console)
    entrant = Entrant(loaded.model, dataset, seq_len)
    models = _models(flags, entrant, beside, seen, paths, console) if flags.scoreboard else None
    canaries += _alarms(figures, models, dataset)
    for line in summary(canaries):
        console.print(line)
    return {
        "run": flags.checkpoint,
        "source": dataset.manifest["source"],
        "splits": dataset.manifest["splits"],
        "n_parameters": n_parameters,
        "train_seconds": lines[-1]["seconds"] if lines else None,
        flags.split: figures,
        "canaries": as_json(canaries),
        **({"models": models} if models else {}),
        **({"paths": paths} if paths else {}),
    }


def _data(flags: EvaluateFlags, path: str, run: Run, console: Console) -> TokenDataset:
    if flags.data_file is None:
        return open_run_dataset(path, run.config)
    with TemporaryDirectory() as place:
        return _other_data(flags.data_file, run, Path(place) / "dataset", console)


def _entrant(flags: EvaluateFlags, path: str, console: Console) -> Entrant:
    """Another run, for a row of its own. Raises BadInput for one that has seen what is scored."""
    from mqc_jax.evaluation.contest import MODELS, Entrant

    if Path(path).name in MODELS:
        raise BadInput(f"--beside {path}: a row of the scoreboard is called so already; rename the folder")
    run = load_run(path)
    dataset = _data(flags, path, run, console)
    if flags.since is not None:
        dataset = scored_since(dataset, flags.since)
    console.print(f"{path}: {what_was_seen(run, path, dataset, flags.split, flags.allow_overlap).line}")
    return Entrant(run.model, dataset, run.config.model.sequence_len)


def _refuse_leaks(flags: EvaluateFlags, run: Run, dataset: TokenDataset, seq_len: int) -> list[Canary]:
    """The canaries, all of them silent, or DamagedData."""
    from mqc_jax.evaluation.canaries import predictor, refuse_leaks, run_canaries

    own = flags.data_file is None and flags.since is None
    predict = predictor(run.model, seq_len)
    canaries = run_canaries(predict, dataset, flags.split, run.config.model.sequence_len, own_tokenizer=own)
    refuse_leaks(canaries)
    return canaries


def _alarms(figures: dict[str, Any], models: dict[str, Any] | None, dataset: TokenDataset) -> list[Canary]:
    from mqc_jax.evaluation.canaries import Figures, alarms

    gain = figures.get("bits_gained_over_adaptive_unigram", math.nan) * math.log(2)
    assets = models["gpt"]["assets"].values() if models else []
    right = [(asset["direction_right"], asset["n_returns"]) for asset in assets if asset["direction_right"] is not None]
    direction = sum(share * n for share, n in right) / sum(n for _, n in right) if right else None
    return alarms(Figures(gain, figures["top1_accuracy"], direction), dataset)


def report_folder(flags: EvaluateFlags, *name: str) -> Path:
    """One for every way to ask."""
    data = [] if flags.data_file is None else [re.sub(r"\W+", "-", Path(flags.data_file).stem)]
    since = [] if flags.since is None else [flags.since]
    return Path(flags.checkpoint) / "-".join([*name, *data, *since])


def _models(
    flags: EvaluateFlags,
    entrant: Entrant,
    beside: dict[str, Entrant],
    seen: Seen,
    paths: dict[str, Any],
    console: Console,
) -> dict[str, Any] | None:
    """The scoreboard's figures, or none where there is nothing to compare."""
    from mqc_jax.evaluation.contest import frozen_contest
    from mqc_jax.evaluation.realism import html_section

    place = report_folder(flags, "scoreboard", *([] if flags.split == "test" else [flags.split]))
    cache = Path(flags.checkpoint) / "cache"
    try:
        with console.status("fitting the classics") as status:
            contest = frozen_contest(
                entrant, flags.split, cache=cache, say=status.update, note=console.print, beside=beside
            )
    except BadInput as error:
        if beside:
            raise
        console.print(f"no scoreboard: {error}")
        return None
    dataset = entrant.dataset
    about = {"splits": dataset.manifest["splits"], "train_end": seen.train_end, "overlap": seen.overlap}
    more = html_section(paths) if paths else ""
    return show(contest, flags.checkpoint, dataset.manifest["source"], place, about, console, more)


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
    from mqc_jax.evaluation.comparison import Z95

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
        verdict = "" if error is None or bits > Z95 * error else ": no edge over it"
        console.print(f"bits gained per token over the {law.replace('_', ' ')}{on}: {bits:+.4f}{spread}{verdict}")
