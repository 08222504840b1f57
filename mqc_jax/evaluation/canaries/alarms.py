"""Alarms: figures that nobody has honestly reached."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_pipeline.dataset import TokenDataset
from mqc_jax.evaluation.baselines import token_histogram
from mqc_jax.evaluation.canaries.canary import Canary, skipped


class Figures(NamedTuple):
    """What alarms look at; None or NaN where it is not known."""

    gain: float | None = None  # nats per return over the adaptive unigram
    top1_accuracy: float | None = None
    direction_right: float | None = None  # share of the returns that moved


class Limits(NamedTuple):
    """Above these, figures are implausible."""

    gain: float
    top1_accuracy: float  # or twice the share of the commonest token, if that is more
    direction_right: float


DAILY = Limits(0.25, 0.05, 0.57)
INTRADAY = Limits(0.60, 0.05, 0.65)  # seasons of the day are worth a lot, and prices bounce between bid and ask
_ALARMS = {
    "gain": "nats over the adaptive unigram: look for inputs that know the return, and for test dates in training",
    "top1_accuracy": "look for tokens that repeat each other, as those of overlapping or smoothed returns do",
    "direction": "look for prices stamped before they were known, and for assets that lag others in the panel",
}


def alarms(figures: Figures, dataset: TokenDataset) -> list[Canary]:
    """Warnings of scores that are too good; none on synthetic data, which may be as predictable as they like."""
    if str(dataset.manifest["source"]).startswith("synthetic"):
        return [skipped(name, "synthetic data may be predictable", alarm=True) for name in _ALARMS]
    limits = limits_of(dataset)
    common = float(np.max(token_histogram(dataset)))
    limits = limits._replace(top1_accuracy=max(limits.top1_accuracy, 2 * common))
    found = []
    for (name, look_for), figure, limit in zip(_ALARMS.items(), figures, limits, strict=True):
        if figure is None or np.isnan(figure):
            found.append(skipped(name, "not known", alarm=True))
            continue
        passed = bool(figure <= limit)
        detail = f"{figure:.3f}, at most {limit:.3f} is plausible" + ("" if passed else f"; {look_for}")
        found.append(Canary(name, passed, detail, alarm=True))
    return found


def limits_of(dataset: TokenDataset) -> Limits:
    """By the shortest bars in it."""
    intervals = {asset.get("interval", "1d") for asset in dataset.manifest["assets"]}
    return DAILY if all(interval.endswith(("d", "w", "mo")) for interval in intervals) else INTRADAY
