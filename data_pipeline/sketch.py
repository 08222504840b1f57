"""Mergeable statistics of a sample: how many values fall into each cell of a fixed, fine grid, and their sum.

The grid is the binary one of floating-point numbers themselves: a cell holds all doubles that share sign, exponent
and the first 14 bits of the mantissa, so it is 2^-14 wide relative to its values. Counts and sums are integers. Adding
up sketches is therefore exact, whatever the order: one process, seven, or a cluster get the same bytes. Edges of bins
that lie on the grid have exact counts and means, and quantiles are right to 0.006 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_SHIFT = 52 - 14
_FRACTION = 12  # low bits of the place inside a cell that the sums leave out: sums stay exact beyond 10^10 values
_MANTISSA_AND_EXPONENT = np.int64(0x7FFF_FFFF_FFFF_FFFF)


class Sketch(NamedTuple):
    """Non-empty cells in increasing order."""

    keys: np.ndarray  # (C,) int64
    counts: np.ndarray  # (C,) int64
    places: np.ndarray  # (C,) int64, sum of the values' places inside their cell

    @classmethod
    def of(cls, values: np.ndarray) -> Sketch:
        """Sketch of finite floats of any shape."""
        ordered = np.sort(_ordered(values), axis=None)
        keys = ordered >> _SHIFT
        first = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
        places = (ordered - (keys << _SHIFT)) >> _FRACTION
        counts = np.diff(first, append=len(keys))
        return cls(keys[first], counts, np.add.reduceat(places, first) if len(first) else places)

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """The sketch of all samples together."""
        keys, counts, places = (np.concatenate(part) for part in zip(*sketches, strict=True))
        unique, cell = np.unique(keys, return_inverse=True)
        total = np.zeros((2, len(unique)), np.int64)
        np.add.at(total[0], cell, counts)
        np.add.at(total[1], cell, places)
        return cls(unique, total[0], total[1])

    @property
    def size(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def sums(self) -> np.ndarray:
        """Sum of the values of each cell, (C,)."""
        low, high = lower_bound(self.keys), lower_bound(self.keys + 1)
        return self.counts * low + self.places * ((high - low) * 2.0 ** (_FRACTION - _SHIFT))

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.size)

    @property
    def standard_deviation(self) -> float:
        means = self.sums / self.counts
        return float(np.sqrt(self.counts @ (means - self.mean) ** 2 / self.size))

    def below(self, keys: np.ndarray) -> np.ndarray:
        """How many values lie below the lower bound of each of the cells `keys`."""
        running = np.concatenate([[0], np.cumsum(self.counts)])
        return running[np.searchsorted(self.keys, keys)]

    def quantile_keys(self, levels: np.ndarray) -> np.ndarray:
        """The cells below which as near as possible to the shares `levels` of the values lie."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        wanted = np.asarray(levels) * below[-1]
        high = np.clip(np.searchsorted(below, wanted), 1, len(self.keys) - 1) if len(self.keys) > 1 else 0 * wanted
        high = np.asarray(high, np.int64)
        low = np.maximum(high - 1, 0)
        return self.keys[np.where(wanted - below[low] < below[high] - wanted, low, high)]

    def quantile(self, level: float) -> float:
        return float(lower_bound(self.quantile_keys(np.array([level])))[0])


def key_of(values: np.ndarray) -> np.ndarray:
    """The cell of each value."""
    return _ordered(values) >> _SHIFT


def lower_bound(keys: np.ndarray) -> np.ndarray:
    """The smallest double in each cell."""
    ordered = np.asarray(keys, np.int64) << _SHIFT
    return (ordered ^ ((ordered >> 63) & _MANTISSA_AND_EXPONENT)).view(np.float64)


def _ordered(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the doubles (a negative double's bits count backwards); −0 is 0."""
    bits = (np.asarray(values, np.float64) + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & _MANTISSA_AND_EXPONENT)
