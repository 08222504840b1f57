"""`known-answer`: how much a model loses on processes whose true law is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipeline import BadInput, DamagedData
from mqc_jax.commands.device import Device, use_device
from mqc_jax.flags import check_range, check_seed, parse


@dataclass(frozen=True)
class KnownAnswerFlags:
    """Train a preset on simulated processes and measure its excess loss over the true law, exactly, step by step."""

    config: str = "daily"
    """Preset."""
    tasks: str = "S0,S2,S7"
    """Which: S0 iid, S1 Markov, S2 GARCH, S3 leverage, S4 regimes, S5 and S6 hidden volatility (slow), S7 long memory,
    S8 seasons, S9 a panel."""
    n_tokens: str = "20000"
    """Training tokens, one number or several: 20000,100000,1000000."""
    init_from: str | None = None
    """Start from the weights of this run: of the preset's network, on quantile tokens of the task's number."""
    n_members: int = 1
    """Seeds that are pooled."""
    seed: int = 0
    """Of the processes, and the first of the members."""
    device: Device = "auto"
    """Where to compute."""
    json: str | None = None
    """Also write the figures to this file; '-' is the standard output."""


def flags(argv: Sequence[str]) -> KnownAnswerFlags:
    from configs import PRESETS

    given = parse(KnownAnswerFlags, argv, "mqc known-answer")
    check_range(given, n_members=100)
    check_seed(given.seed)
    if given.config not in PRESETS:
        raise BadInput(f"--config {given.config}: no such preset; choose one of {', '.join(PRESETS)}")
    for text in given.n_tokens.split(","):
        if not text.strip().isdigit() or not 5_000 <= int(text) <= 100_000_000:
            raise BadInput(f"--n_tokens {given.n_tokens}: give numbers from 5000 to 100000000, like 20000,1000000")
    return given


def run(flags: KnownAnswerFlags, console: Console) -> dict[str, Any]:
    """Simulate, train, compare, print."""
    from configs import PRESETS
    from mqc_jax.evaluation.known_answer import TASKS
    from mqc_jax.evaluation.known_answer.exam import examine

    use_device(flags.device)
    names = [name.strip() for name in flags.tasks.split(",")]
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise BadInput(f"--tasks {flags.tasks}: no task {unknown[0]!r}; choose among {', '.join(TASKS)}")
    seeds = range(flags.seed, flags.seed + flags.n_members)
    preset = PRESETS[flags.config]
    config = replace(preset, train=replace(preset.train, init_from=flags.init_from))
    table = Table(title="nats per token above the true law", title_justify="left", box=None)
    for column in ("task", "tokens", "floor", "unigram", "excess", "±", "recovered"):
        table.add_column(column, justify="left" if column == "task" else "right")
    figures = []
    for name in names:
        for n_tokens in map(int, flags.n_tokens.split(",")):
            with console.status(f"{name}, {n_tokens:,} tokens"):
                found = examine(TASKS[name], config, n_tokens, seeds=seeds, seed=flags.seed)
            share = f"{found.recovery:.1%}" if found.unigram > found.floor + 1e-3 else "–"  # nothing to recover
            numbers = (f"{found.floor:.4f}", f"{found.unigram:.4f}", f"{found.excess:.4f}")
            error = f"{found.excess_standard_error:.4f}"
            table.add_row(name, f"{found.n_training_tokens:,}", *numbers, error, share)
            figures.append({"task": name} | found._asdict())
    console.print(table)
    report = {"preset": flags.config, "n_members": flags.n_members, "tasks": figures}
    below = [f"{one['task']} on {one['n_training_tokens']:,} tokens" for one in figures if one["below_floor"]]
    if below:
        error = DamagedData(f"leak: below the floor by more than chance: {', '.join(below)}; the future is known")
        error.figures = report
        raise error
    return report
