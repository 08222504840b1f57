"""What `evaluate` does with a contest: the table, the pictures, the page."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console

from data_pipeline import BadInput, TokenDataset
from data_pipeline.dataset import Split

if TYPE_CHECKING:
    from mqc_jax.evaluation.contest import Contest
    from mqc_jax.run import Run


class Seen(NamedTuple):
    """What a run has seen of the dates it is scored on."""

    line: str
    train_end: str
    overlap: str | None  # a sentence, where it has seen any


def show(
    contest: Contest, title: str, source: str, place: Path, about: dict[str, Any], console: Console, more: str = ""
) -> dict[str, Any]:
    """Print the board and write its page and pictures to the folder `place`; the figures, for JSON.

    `about` are the `splits`, the `train_end` and the `overlap` of `report.About`, `more` further sections of the page.
    """
    from mqc_jax.evaluation.pictures import draw_pictures
    from mqc_jax.evaluation.report import print_board, write_html

    days = contest.outcomes.times_N.astype("datetime64[D]")
    scored: Any = {"run": title, "source": source, "scored_from": str(days.min()), "scored_to": str(days.max())}
    print_board(contest.board, f"nats per return, {scored['scored_from']} to {scored['scored_to']}", console)
    place.mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(place, contest.board, contest.scores, contest.outcomes)
    write_html(place / "index.html", contest.board, scored | about, pictures, more=more)
    console.print(f"the whole report, with pictures: {place / 'index.html'}")
    return finite(contest.board)


def scored_since(dataset: TokenDataset, since: str) -> TokenDataset:
    """The same rows; those of `since` and later are the test. Raises BadInput for tokens without dates."""
    if dataset.market is None:
        raise BadInput(f"--since {since}: bare token ids have no dates; leave it out")
    begins, before = np.datetime64(since, "ns"), str(np.datetime64(since, "D") - 1)
    segments = dataset.segments.copy()
    for segment in segments:
        test = segment[0] + np.searchsorted(dataset.market.times[segment[0] : segment[4]], begins)
        segment[3] = np.clip(test, segment[1], segment[4])
        segment[2] = min(segment[2], segment[3])
    ends = dataset.manifest["splits"]
    splits = ends | {"train_end": min(ends["train_end"], before), "validation_end": before}
    return replace(dataset, segments=segments, manifest=dataset.manifest | {"splits": splits})


def what_was_seen(run: Run, path: str, dataset: TokenDataset, split: Split, allowed: bool) -> Seen:
    """What the run in `path` was trained and chosen on, and what is scored.

    Raises BadInput for test dates that it has seen, unless that is `allowed`.
    """
    from mqc_jax.training.start import dated_ancestors

    splits, rows = run.manifest["splits"], dataset.rows(split)
    if dataset.market is None or not len(rows) or not splits.get("train_end"):
        return Seen("no dates: that the run was not trained on what is scored cannot be checked", "", None)
    days = np.asarray(dataset.market.times[rows]).astype("datetime64[D]")
    scored = f"the {split} dates from {days.min()} to {days.max()}"
    line = f"weights and bins have seen dates up to {splits['train_end']}"
    line += f", the choice of the checkpoint those up to {splits['validation_end']}; scored are {scored}"
    learned = [("weights and bins", splits["train_end"]), ("the choice of the checkpoint", splits["validation_end"])]
    for base in dated_ancestors(path):
        learned.append((f"the run {base['run']} it started from", max(base["splits"].values())))
        line += f"; it started from {base['run']}, which has seen dates up to {learned[-1][1]}"
    seen = [what for what, end in learned if end >= str(days.min())]
    if not seen:
        return Seen(line, splits["train_end"], None)
    overlap = f"{' and '.join(seen)} have seen {scored}, or some of them"
    if split == "test" and not allowed:
        raise BadInput(
            f"{line}: an overlap; choose a later --since, or give --allow_overlap to score them all the same"
        )
    return Seen(f"WARNING: {overlap}: {line}", splits["train_end"], overlap)


def finite(value: Any) -> Any:
    """The same with None where a number is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
