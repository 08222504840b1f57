"""Bins of a real line: edges, what a value in each bin is on average, how often it falls there, how the tails end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data_pipeline.sketch import Sketch, key_of, lower_bound
from data_pipeline.tokenizers.grid import Grid
from data_pipeline.tokenizers.tails import Tail

NARROW = 1e-6  # standard deviations that a bin is wide at least
TAIL_LEVEL = (
    0.025  # tails are fitted to what lies beyond this quantile on each side, or to the outer bin if it is wider
)


@dataclass(frozen=True, eq=False)
class Bins:
    """K bins cut by K−1 increasing edges; bin k is [edges[k-1], edges[k]), the outer two reach to infinity."""

    edges: np.ndarray  # (K-1,)
    values: np.ndarray  # (K,) mean of the training values in each bin
    masses: np.ndarray  # (K,) share of the training values in each bin, smoothed: positive, sums to one
    left: Tail  # of edges[0] − value in the first bin
    right: Tail  # of value − edges[-1] in the last bin

    @classmethod
    def fit(cls, sample: np.ndarray, levels: np.ndarray) -> Bins:
        """Cut `sample` at its quantiles `levels`."""
        sketch = Sketch.of(sample)
        return cls.cut(sketch, sketch.quantile_keys(levels))

    @classmethod
    def cut(cls, sketch: Sketch, keys: np.ndarray) -> Bins:
        """Cut a sketched sample below each of the cells `keys`.

        Equal cells (a value that repeats, an unchanged price) are moved apart: the value gets a narrow bin of its
        own and the number of bins stays.
        """
        keys = np.asarray(keys, np.int64).copy()
        narrow = NARROW * (sketch.standard_deviation or 1.0)
        for k in range(1, len(keys)):
            apart = key_of(lower_bound(keys[k - 1 : k]) + narrow)[0]
            keys[k] = max(keys[k], keys[k - 1] + 1, apart)
        edges = lower_bound(keys)
        count = np.diff(sketch.below(keys), prepend=0, append=sketch.size)
        running = np.concatenate([[0.0], np.cumsum(sketch.sums)])
        total = np.diff(running[np.searchsorted(sketch.keys, keys)], prepend=0.0, append=running[-1])
        middle = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
        values = np.where(count > 0, total / np.maximum(count, 1), middle)
        values[1:-1] = np.clip(values[1:-1], edges[:-1], edges[1:])  # rounding must not leave a narrow bin
        masses = (count + 0.5) / (sketch.size + 0.5 * len(count))
        return cls(edges, values, masses, _tail(sketch, keys[0], -1), _tail(sketch, keys[-1], +1))

    def assign(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value, integers in [0, K)."""
        return self._grid.search(np.asarray(values, np.float64))

    def place(self, k: Any, share: Any) -> Any:
        """The value below which `share` of bin k's own law lies: uniform in inner bins, Pareto in the outer two.

        A uniform share makes it a draw from the bin. `k`, integers in [0, K), and `share`, probabilities, broadcast;
        the value has the type of `share`, whose 0 and 1 count as the nearest numbers that it tells from them, so that
        every value is finite. Plain arithmetic on NumPy or JAX arrays, so that it runs inside a jitted loop.
        """
        xp = share.__array_namespace__()
        edges, last = xp.asarray(self.edges, dtype=share.dtype), len(self.edges)
        nearest = float(np.finfo(share.dtype).epsneg)
        share = xp.clip(share, nearest, 1 - nearest)
        left, right = edges[xp.maximum(k, 1) - 1], edges[xp.minimum(k, last - 1)]  # equal in the outer two bins
        below = xp.where(k == 0, self.left.excess(xp.log(share)), 0)
        above = xp.where(k == last, self.right.excess(xp.log1p(-share)), 0)
        return left + share * (right - left) - below + above

    @cached_property
    def _grid(self) -> Grid:
        return Grid.of(self.edges)

    def to_json(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("edges", "values", "masses")}
        return arrays | {"left_tail": self.left._asdict(), "right_tail": self.right._asdict()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Bins:
        """Rebuild from `to_json`. Raises ValueError for what cannot be bins."""
        edges, values, masses = (np.asarray(fields[name], np.float64) for name in ("edges", "values", "masses"))
        tails = [Tail(**{k: float(v) for k, v in fields[f"{side}_tail"].items()}) for side in ("left", "right")]
        finite = all(np.isfinite(array).all() for array in (edges, values, masses, tails))
        if not finite or not len(edges) + 1 == len(values) == len(masses) or (np.diff(edges) <= 0).any():
            raise ValueError("edges, values and masses do not fit together")
        if min(tail.scale for tail in tails) <= 0 or min(tail.shape for tail in tails) <= 0:
            raise ValueError("tails need a positive shape and scale")
        return cls(edges, values, masses, *tails)


def _tail(sketch: Sketch, edge_key: np.int64, side: int) -> Tail:
    """The tail beyond an outer edge, fitted from the more central of that edge and the TAIL_LEVEL quantile."""
    level = TAIL_LEVEL if side < 0 else 1 - TAIL_LEVEL
    (quantile_key,) = sketch.quantile_keys(np.array([level]))
    threshold_key = max(edge_key, quantile_key) if side < 0 else min(edge_key, quantile_key)
    outside = sketch.keys < threshold_key if side < 0 else sketch.keys >= threshold_key
    threshold, edge = lower_bound(np.array([threshold_key, edge_key]))
    means, counts = sketch.sums[outside] / sketch.counts[outside], sketch.counts[outside]
    excesses = side * (means - threshold)
    order = slice(None, None, side)
    return Tail.fit(excesses[order], counts[order], side * float(edge - threshold), sketch.standard_deviation or 1.0)
