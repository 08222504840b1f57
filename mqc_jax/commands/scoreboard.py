"""What `evaluate` does with a contest: the table, the pictures, the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data_pipeline import BadInput

if TYPE_CHECKING:
    from mqc_jax.evaluation.contest import Contest
    from mqc_jax.run import Run


def show(
    contest: Contest, run: Run, title: str, place: Path, trained_to: str, overlap: str | None, console: Console
) -> dict[str, Any]:
    """Print the board and write its page and pictures to the folder `place`; the figures, for JSON."""
    from mqc_jax.evaluation.pictures import draw_pictures
    from mqc_jax.evaluation.report import print_board, write_html

    days = contest.outcomes.times_N.astype("datetime64[D]")
    about: Any = {
        "run": title,
        "source": run.manifest["source"],
        "splits": run.manifest["splits"],
        "train_end": trained_to,
        "scored_from": str(days.min()),
        "scored_to": str(days.max()),
        "overlap": overlap,
    }
    print_board(contest.board, f"nats per return, {about['scored_from']} to {about['scored_to']}", console)
    place.mkdir(parents=True, exist_ok=True)
    pictures = draw_pictures(place, contest.board, contest.scores, contest.outcomes)
    write_html(place / "index.html", contest.board, about, pictures)
    console.print(f"the whole report, with pictures: {place / 'index.html'}")
    return finite(contest.board)


def check_overlap(run: Run, first_scored: str, split: str, allowed: bool) -> str | None:
    """What the run has seen of the scored dates, in a sentence; raises BadInput where that is not allowed."""
    splits = run.manifest["splits"]
    seen = [
        f"{part} up to {splits[name]}"
        for part, name in (("weights and bins", "train_end"), ("the choice of the checkpoint", "validation_end"))
        if splits.get(name) and splits[name] >= first_scored
    ]
    if not seen:
        return None
    line = f"the {split} dates begin at {first_scored}, and the run has seen {' and '.join(seen)}"
    if split == "test" and not allowed:
        raise BadInput(f"{line}; score other dates, or give --allow_overlap to score them all the same")
    return line


def finite(value: Any) -> Any:
    """The same with None where a number is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
