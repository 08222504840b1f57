"""The steps of a directory of checkpoints: which of them are whole, and which is best."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

from data_pipeline.errors import DamagedData
from data_pipeline.storage import move
from mqc_jax.checkpoint.seal import check_files, read_seal

Losses = dict[int, float | None]  # validation loss by step


def latest_step(losses: Losses) -> int | None:
    return max(losses, default=None)


def best_step(losses: Losses) -> int | None:
    """The step with the lowest validation loss; without any such loss, the newest."""
    known = [(loss, step) for step, loss in losses.items() if loss is not None]
    return min(known)[1] if known else latest_step(losses)


def find_steps(directory: Path) -> tuple[Losses, dict[int, str]]:
    """The steps with a valid seal, and what is wrong with the others."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    sealed, damaged = {}, {}
    for step in [int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)]:
        try:
            sealed[step] = _seal(directory, step)["note"]["validation_loss"]
        except DamagedData as error:
            damaged[step] = str(error)
    return sealed, damaged


def find_good_steps(directory: Path) -> tuple[Losses, dict[int, str]]:
    """As `find_steps`, after a look at the size of every file, and into those of the newest and the best step."""
    losses, damaged = find_steps(directory)

    def drop_unless_good(step: int, contents: bool) -> None:
        try:
            verify(directory, step, contents=contents)
        except DamagedData as error:
            damaged[step] = str(error)
            del losses[step]

    for step in list(losses):
        drop_unless_good(step, contents=False)
    read: set[int] = set()
    while unread := losses.keys() & ({latest_step(losses), best_step(losses)} - read):
        step = max(unread)
        read.add(step)
        drop_unless_good(step, contents=True)
    return losses, damaged


def verify(directory: Path, step: int, *, contents: bool = True) -> None:
    """Raise DamagedData unless every file of `step` is what was written: all its bytes, or their number."""
    check_files(directory / str(step), _seal(directory, step), contents=contents)


def _seal(directory: Path, step: int) -> dict[str, Any]:
    seal = read_seal(directory / str(step))
    if seal["note"]["step"] != step:
        raise DamagedData(f"it was saved as step {seal['note']['step']}")
    return seal


def quarantine(directory: Path, step: int) -> Path:
    """Move `step` to where it does not count and is not lost; never onto another."""
    first = directory / "quarantine" / str(step)
    first.parent.mkdir(exist_ok=True)
    place = next(p for i in count(1) if not (p := first if i == 1 else Path(f"{first}-{i}")).exists())
    move(directory / str(step), place)
    return place
