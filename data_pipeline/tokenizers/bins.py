"""Bins of a real line: edges, what a value in each bin is on average, how often it falls there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Bins:
    """K bins cut by K−1 increasing edges; bin k is [edges[k-1], edges[k]), the outer two reach to infinity."""

    edges: np.ndarray  # (K-1,)
    values: np.ndarray  # (K,) mean of the training values in each bin
    masses: np.ndarray  # (K,) share of the training values in each bin, smoothed: positive, sums to one

    @classmethod
    def fit(cls, sample: np.ndarray, levels: np.ndarray) -> Bins:
        """Cut at the quantiles `levels` of `sample`.

        Equal quantiles (a value that repeats, an unchanged price) are moved apart by the smallest float step: the
        value gets a bin of its own and the number of bins stays.
        """
        edges = np.quantile(sample, levels)
        for k in range(1, len(edges)):
            edges[k] = max(edges[k], np.nextafter(edges[k - 1], np.inf))
        token = np.searchsorted(edges, sample, side="right")
        count = np.bincount(token, minlength=len(edges) + 1)
        middle = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        values = np.where(count > 0, np.bincount(token, sample, minlength=len(count)) / np.maximum(count, 1), middle)
        return cls(edges, values, (count + 0.5) / (len(sample) + 0.5 * len(count)))

    def assign(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value, integers in [0, K)."""
        return np.searchsorted(self.edges, values, side="right")

    def to_json(self) -> dict[str, list[float]]:
        return {name: getattr(self, name).tolist() for name in ("edges", "values", "masses")}

    @classmethod
    def from_json(cls, fields: dict[str, list[float]]) -> Bins:
        """Rebuild from `to_json`. Raises ValueError for what cannot be bins."""
        edges, values, masses = (np.asarray(fields[name], np.float64) for name in ("edges", "values", "masses"))
        finite = all(np.isfinite(array).all() for array in (edges, values, masses))
        if not finite or not len(edges) + 1 == len(values) == len(masses) or (np.diff(edges) <= 0).any():
            raise ValueError("edges, values and masses do not fit together")
        return cls(edges, values, masses)
