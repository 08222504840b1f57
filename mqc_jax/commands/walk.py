"""`evaluate --walk_forward`: the run's configuration and all classics, refitted every New Year."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from data_pipeline import BadInput, TokenDataset
from mqc_jax.commands.scoreboard import show
from mqc_jax.run import Run

if TYPE_CHECKING:
    from mqc_jax.evaluation.canaries import Canary


class Walk(NamedTuple):
    """What was asked for."""

    checkpoint: str
    place: Path  # of the report
    years: tuple[int, int]
    n_members: int
    since: str | None


def parse_years(text: str) -> tuple[int, int]:
    """First and last year of a text like 2005:2018."""
    match = re.fullmatch(r"([0-9]{4}):([0-9]{4})", text)
    if not match or not int(match[1]) <= int(match[2]):
        raise BadInput(f"--walk_forward {text}: give a first and a last year, like 2005:2018")
    return int(match[1]), int(match[2])


def walk_forward(
    walk: Walk, run: Run, dataset: TokenDataset, canaries: list[Canary], console: Console
) -> dict[str, Any]:
    """Walk, print, and return the figures; `canaries` are those of the run's own model."""
    from mqc_jax.evaluation.canaries import as_json, summary
    from mqc_jax.evaluation.contest import walking_contest
    from mqc_jax.training.start import dated_ancestors

    cache = Path(walk.checkpoint) / "cache"
    for base in dated_ancestors(walk.checkpoint):
        if max(base["splits"].values()) >= str(walk.years[0]):
            raise BadInput(
                f"--walk_forward: every refit starts from {base['run']}, which has seen dates up to "
                f"{max(base['splits'].values())}; walk through later years, or train without --init_from"
            )
    seeds = range(run.config.train.seed, run.config.train.seed + walk.n_members)
    contest = walking_contest(
        run.config, dataset, walk.years, seeds=seeds, cache=cache, say=console.print, since=walk.since
    )
    console.print(f"{walk.n_members} members; epochs of the refits: {', '.join(map(str, contest.n_epochs))}")
    canaries += contest.canaries
    for line in summary(canaries):
        console.print(line)
    trained_to = f"the end of the year before each scored one, {walk.n_members} members"
    about = {"splits": {}, "train_end": trained_to, "overlap": None}
    return {
        "run": walk.checkpoint,
        "source": dataset.manifest["source"],
        "years": list(walk.years),
        "n_members": walk.n_members,
        "n_epochs": list(contest.n_epochs),
        "canaries": as_json(canaries),
        "models": show(contest, walk.checkpoint, dataset.manifest["source"], walk.place, about, console),
    }
