"""Probabilities of bins, read as a distribution over a real line.

Axis letters: N rows  M points  K bins.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.tokenizers.bins import Bins


def cdf(points_NM: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """P(X ≤ point) when bin k holds mass k: uniform within inner bins, exponential in the outer two, (N, M).

    An outer bin's exponential has the bin's mean excess over the edge; `masses_NK` may be one row, (K,), for all N.
    """
    edges, values = bins.edges, bins.values
    masses_NK = np.broadcast_to(masses_NK, (len(points_NM), len(values)))
    below_NK = np.cumsum(masses_NK, axis=1) - masses_NK
    k_NM = np.searchsorted(edges, points_NM, side="right")
    mass_NM = np.take_along_axis(masses_NK, k_NM, axis=1)
    left, right = np.append(edges[0], edges), np.append(edges, edges[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        inside_NM = (points_NM - left[k_NM]) / (right - left)[k_NM]
    left_tail_NM = np.exp(np.minimum((points_NM - edges[0]) / (edges[0] - values[0]), 0))
    right_tail_NM = -np.expm1(-np.maximum((points_NM - edges[-1]) / (values[-1] - edges[-1]), 0))
    inside_NM = np.where(k_NM == 0, left_tail_NM, np.where(k_NM == len(edges), right_tail_NM, inside_NM))
    return np.take_along_axis(below_NK, k_NM, axis=1) + mass_NM * inside_NM


def bin_masses(edges_NM: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """Mass of the M + 1 intervals cut by each row's increasing edges, (N, M + 1); rows sum to one."""
    cdf_NM = cdf(edges_NM, bins, masses_NK)
    column = np.zeros((len(cdf_NM), 1))
    return np.diff(np.concatenate([column, cdf_NM, column + 1], axis=1), axis=1)
