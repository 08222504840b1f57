"""What an experiment found, how it is told, and what its sentences are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import DamagedData


class Canary(NamedTuple):
    """The outcome of one experiment."""

    name: str
    passed: bool | None  # None: it could not be made
    detail: str  # what was found, and where to look
    alarm: bool = False  # only a warning: too good, but not proven wrong


def summary(canaries: Sequence[Canary]) -> list[str]:
    """One line for all, and one for each that did not stay silent."""
    made = [canary for canary in canaries if canary.passed is not None]
    loud = [canary for canary in made if not canary.passed]
    skipped = ", ".join(canary.name for canary in canaries if canary.passed is None)
    head = f"canaries: {len(made) - len(loud)} of {len(made)} silent" + (f"; not run: {skipped}" if skipped else "")
    return [head, *(f"{'warning' if canary.alarm else 'leak'}: {canary.name}: {canary.detail}" for canary in loud)]


def as_json(canaries: Sequence[Canary]) -> list[dict[str, Any]]:
    return [canary._asdict() for canary in canaries]


def refuse_leaks(canaries: Sequence[Canary]) -> None:
    """Raise DamagedData, with all outcomes as its figures, if any experiment but an alarm failed."""
    leaks = [canary for canary in canaries if canary.passed is False and not canary.alarm]
    if leaks:
        error = DamagedData("leak: " + "; ".join(f"{canary.name}: {canary.detail}" for canary in leaks))
        error.figures = {"canaries": as_json(canaries)}
        raise error


def skipped(name: str, why: str, *, alarm: bool = False) -> Canary:
    return Canary(name, None, f"not run: {why}", alarm)


def spread(n: int, most: int) -> np.ndarray:
    """At most so many of n places, from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def differs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a != b) & ~((a != a) & (b != b))


def first_of(wrong: np.ndarray) -> np.ndarray:
    """The first row with anything wrong in it, (1,) or (0,)."""
    return np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[:1]


def place_of(dataset: TokenDataset, row: Any) -> str:
    """Where the user finds a row."""
    if dataset.market is None:
        return f"row {row}"
    time = str(dataset.market.times[row])[:16].removesuffix("T00:00")
    number = int(dataset.assets_of(np.array([row]))[0])
    return f"{dataset.assets[number]} {time}" if number >= 0 else time
