"""The calendar dates, common to all assets, that end training and validation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import BadInput

SHARES = (0.7, 0.85)  # of all bars that lie before the default dates


def parse_day(text: str, where: str) -> np.datetime64:
    """A date like 2010-12-31. Raises BadInput for anything else."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return np.datetime64(text, "D")
    except ValueError:
        raise BadInput(f"{where} {text}: not a date; write it like 2010-12-31") from None


class DayCounts(NamedTuple):
    """How many returns end on each date."""

    days: np.ndarray  # (D,) datetime64[D], rising
    counts: np.ndarray  # (D,)

    @classmethod
    def of(cls, times: np.ndarray) -> DayCounts:
        return cls(*np.unique(times.astype("datetime64[D]"), return_counts=True))

    @classmethod
    def merged(cls, parts: Iterable[DayCounts]) -> DayCounts:
        """Of all assets together."""
        days, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        unique, place = np.unique(days, return_inverse=True)
        return cls(unique, np.bincount(place, counts).astype(np.int64))


def split_dates(
    dated: DayCounts, train_end: str | None, validation_end: str | None, *, anywhere: bool = False
) -> tuple[str, str]:
    """Last training and validation dates: those given, or those that share out all returns as SHARES says.

    Raises BadInput for too few dates and for dates out of order or, unless they may lie `anywhere`, outside the data.
    """
    day, running = dated.days, np.cumsum(dated.counts)
    if not len(day):
        raise BadInput("there are no returns; give at least two bars per asset")
    first, second = (day[np.searchsorted(running, int(share * (running[-1] - 1)), side="right")] for share in SHARES)
    first = parse_day(train_end, "--train_end") if train_end else first
    second = parse_day(validation_end, "--validation_end") if validation_end else second
    if not (train_end or validation_end) and not first < second < day[-1]:
        raise BadInput(f"{len(day)} dates are too few to train, validate and test on; give a longer history")
    if not first < second or not (anywhere or day[0] <= first < second < day[-1]):
        raise BadInput(
            f"train_end {first} and validation_end {second} must follow one another within the data, "
            f"which runs from {day[0]} to {day[-1]}"
        )
    return str(first), str(second)


def borders_of(train_end: str, validation_end: str) -> np.ndarray:
    """The first instants after training and after validation, (2,) datetime64[ns]."""
    return (np.array([train_end, validation_end], "datetime64[D]") + np.timedelta64(1, "D")).astype("datetime64[ns]")
