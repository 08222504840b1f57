"""Laws made of other laws: stretched, pooled, laid end to end.

Axis letters: N rows  M points  L laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from mqc_jax.laws.law import Law, Rows


@dataclass(frozen=True, eq=False)
class Scaled:
    """The laws of scale · x, where x has `law`."""

    law: Law
    scale_N: np.ndarray

    def __len__(self) -> int:
        return len(self.scale_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        return self.law.cdf(points_NM / self.scale_N[:, None])

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        return self.law.log_density(returns_N / self.scale_N) - np.log(self.scale_N)

    def take(self, rows: Rows) -> Scaled:
        return Scaled(self.law.take(rows), self.scale_N[rows])


@dataclass(frozen=True, eq=False)
class Pool:
    """The linear pool of L laws of the same rows: its density is the weighted mean of theirs.

    Raises ValueError unless there is a weight for each law, none negative, that sum to one.
    """

    laws: Sequence[Law]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.laws) or min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(f"weights {list(self.weights)} for {len(self.laws)} laws; give one each, that sum to 1")
        if len({len(law) for law in self.laws}) > 1:
            raise ValueError(f"laws of {[len(law) for law in self.laws]} rows cannot be pooled")

    def __len__(self) -> int:
        return len(self.laws[0])

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        return sum(
            (weight * law.cdf(points_NM) for law, weight in zip(self.laws, self.weights, strict=True)),
            start=np.zeros(np.shape(points_NM)),
        )

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        log_LN = np.array([law.log_density(returns_N) for law in self.laws])
        return np.asarray(logsumexp(log_LN, axis=0, b=np.asarray(self.weights)[:, None]))

    def take(self, rows: Rows) -> Pool:
        return Pool([law.take(rows) for law in self.laws], self.weights)


@dataclass(frozen=True, eq=False)
class Joined:
    """Laws of different rows as one: row n is row `rows_N[n]` of the laws laid end to end."""

    laws: Sequence[Law]
    rows_N: np.ndarray

    def __len__(self) -> int:
        return len(self.rows_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        cdf_NM = np.empty(np.shape(points_NM))
        for mine, law in self._parts():
            cdf_NM[mine] = law.cdf(points_NM[mine])
        return cdf_NM

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        log_N = np.empty(len(returns_N))
        for mine, law in self._parts():
            log_N[mine] = law.log_density(returns_N[mine])
        return log_N

    def take(self, rows: Rows) -> Joined:
        return Joined(self.laws, self.rows_N[rows])

    def _parts(self) -> Iterator[tuple[np.ndarray, Law]]:
        """Which rows belong to a law, and that law of these rows."""
        starts = np.cumsum([0, *map(len, self.laws)])
        owner_N = np.searchsorted(starts, self.rows_N, side="right") - 1
        for number in np.unique(owner_N):
            mine = np.flatnonzero(owner_N == number)
            yield mine, self.laws[number].take(self.rows_N[mine] - starts[number])


def concatenate(laws: Sequence[Law]) -> Joined:
    """The rows of these laws one after another; `take` then puts them into any order."""
    return Joined(laws, np.arange(sum(map(len, laws))))
