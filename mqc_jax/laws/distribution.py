"""Probabilities of bins, read as a distribution over a real line.

Axis letters: N rows  M points  K bins.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.tokenizers.bins import Bins


def cdf(points_NM: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """P(X ≤ point) when bin k holds mass k: uniform within inner bins, generalized Pareto in the outer two, (N, M).

    `masses_NK` may be one row, (K,), for all N.
    """
    edges = bins.edges
    masses_NK = np.broadcast_to(masses_NK, (len(points_NM), len(bins.values)))
    below_NK = np.cumsum(masses_NK, axis=1) - masses_NK
    k_NM = np.searchsorted(edges, points_NM, side="right")
    mass_NM = np.take_along_axis(masses_NK, k_NM, axis=1)
    left, right = np.append(edges[0], edges), np.append(edges, edges[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        inside_NM = (points_NM - left[k_NM]) / (right - left)[k_NM]
    left_tail_NM = np.exp(bins.left.log_survival(np.maximum(edges[0] - points_NM, 0)))
    right_tail_NM = -np.expm1(bins.right.log_survival(np.maximum(points_NM - edges[-1], 0)))
    inside_NM = np.where(k_NM == 0, left_tail_NM, np.where(k_NM == len(edges), right_tail_NM, inside_NM))
    return np.take_along_axis(below_NK, k_NM, axis=1) + mass_NM * inside_NM


def log_density(points_N: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """Log density of that law at a point per row, (N,): log mass − log width inside, mass times Pareto outside."""
    edges = bins.edges
    masses_NK = np.broadcast_to(masses_NK, (len(points_N), len(bins.values)))
    k_N = bins.assign(points_N)
    with np.errstate(divide="ignore"):
        log_mass_N = np.log(np.take_along_axis(masses_NK, k_N[:, None], axis=1)[:, 0])
    inner_N = np.clip(k_N, 1, len(edges) - 1)
    shape_N = -np.log(edges[inner_N] - edges[inner_N - 1])
    left_N = bins.left.log_density(np.maximum(edges[0] - points_N, 0))
    right_N = bins.right.log_density(np.maximum(points_N - edges[-1], 0))
    return log_mass_N + np.where(k_N == 0, left_N, np.where(k_N == len(edges), right_N, shape_N))


def bin_masses(edges_NM: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """Mass of the M + 1 intervals cut by each row's increasing edges, (N, M + 1); rows sum to one."""
    cdf_NM = cdf(edges_NM, bins, masses_NK)
    column = np.zeros((len(cdf_NM), 1))
    return np.diff(np.concatenate([column, cdf_NM, column + 1], axis=1), axis=1)
