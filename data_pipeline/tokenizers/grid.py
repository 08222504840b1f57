"""Which interval between sorted edges a number lies in, several times as fast as a binary search.

A uniform grid is laid over the edges, and a table says how many edges lie in the cells before each. What is left is one
comparison per edge in a number's own cell: usually one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CELLS = 8192
MOST_IN_A_CELL = 4  # edges; beyond, a binary search is no slower


class Grid(NamedTuple):
    """A table over increasing edges."""

    edges: np.ndarray  # (E + 1,) the edges, and one that nothing reaches
    cells_per_unit: float
    before: np.ndarray  # (CELLS,) edges in the cells before each
    most: int  # edges in one cell

    @classmethod
    def of(cls, edges: np.ndarray) -> Grid:
        with np.errstate(divide="ignore", over="ignore"):
            cells_per_unit = (CELLS - 1) / (edges[-1] - edges[0])
        usable = np.isfinite(cells_per_unit)  # else all edges are in one cell
        grid = cls(np.append(edges, np.nan), float(cells_per_unit) if usable else 0.0, np.empty(0), 0)
        cell = grid._cell(edges)
        before = np.searchsorted(cell, np.arange(CELLS)).astype(np.int16)
        return grid._replace(before=before, most=int(np.bincount(cell).max()))

    def search(self, values: np.ndarray) -> np.ndarray:
        """How many edges are at or below each value; as np.searchsorted(edges, values, side="right")."""
        if self.most > MOST_IN_A_CELL:
            return np.searchsorted(self.edges[:-1], values, side="right")
        found = self.before.take(self._cell(values))
        for _ in range(self.most):
            found += values >= self.edges.take(found)
        return found

    def _cell(self, values: np.ndarray) -> np.ndarray:
        """The cell of each value: never lower for a higher value, whatever the rounding."""
        place = np.clip(values, self.edges[0], self.edges[-2])
        place -= self.edges[0]
        place *= self.cells_per_unit
        return place.astype(np.int32)
