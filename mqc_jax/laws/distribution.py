"""Probabilities of bins, read as a distribution over a real line.

Axis letters: N rows  M points  K bins.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.errors import BadInput
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


def quantile(levels_M: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """The least point that is not exceeded with each probability in (0, 1), (N, M): undoes `cdf`.

    Masses add up to 1 but for rounding; one row of them, (K,), is N = 1. In the outer bins, shares of their mass below
    1e-16 count as that. Raises BadInput for other levels.
    """
    return bins.place(*find(levels_M, masses_NK))


def mean_below(levels_M: np.ndarray, bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """E[X | X ≤ quantile] at each level, (N, M), in closed form; levels and masses as in `quantile`."""
    masses_NK = np.atleast_2d(masses_NK)
    k_NM, share_NM = find(levels_M, masses_NK)
    sums_NK = np.cumsum(masses_NK * _means(bins), axis=1) - masses_NK * _means(bins)
    within_NM = np.take_along_axis(masses_NK, k_NM, axis=1) * _lower_part(bins, k_NM, share_NM)
    return (np.take_along_axis(sums_NK, k_NM, axis=1) + within_NM) / levels_M


def mean(bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """E[X], (N,)."""
    return np.einsum("nk,k->n", np.atleast_2d(masses_NK), _means(bins))


def standard_deviation(bins: Bins, masses_NK: np.ndarray) -> np.ndarray:
    """Of X, (N,); infinite when a tail's shape is 1/2 or more."""
    variances_K = np.concatenate([[bins.left.variance], np.diff(bins.edges) ** 2 / 12, [bins.right.variance]])
    apart_NK = _means(bins) - mean(bins, masses_NK)[:, None]
    return np.sqrt(np.einsum("nk,nk->n", np.atleast_2d(masses_NK), variances_K + apart_NK**2))


def find(levels_M: np.ndarray, masses_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin that holds each quantile, and at what share of its mass, (N, M) each."""
    check_levels(levels_M)
    upto_NK = np.cumsum(np.atleast_2d(masses_NK), axis=1, dtype=float)
    upto_NK /= upto_NK[:, -1:]
    below_NK = np.pad(upto_NK[:, :-1], ((0, 0), (1, 0)))
    k_NM = np.stack([(upto_NK < level).sum(axis=1) for level in levels_M], axis=1)
    below_NM, upto_NM = (np.take_along_axis(part_NK, k_NM, axis=1) for part_NK in (below_NK, upto_NK))
    return k_NM, (levels_M - below_NM) / (upto_NM - below_NM)


def check_levels(levels: float | np.ndarray) -> None:
    """Raise BadInput unless all are probabilities strictly between 0 and 1."""
    for level in np.ravel(levels):
        if not 0 < level < 1:
            raise BadInput(f"level={level} is not a probability between 0 and 1; write 5 % as 0.05")


def _means(bins: Bins) -> np.ndarray:
    """Mean of each bin's own law, (K,)."""
    edges = bins.edges
    lowest, highest = edges[0] - bins.left.mean_above(0.0), edges[-1] + bins.right.mean_above(0.0)
    return np.concatenate([[lowest], (edges[1:] + edges[:-1]) / 2, [highest]])


def _lower_part(bins: Bins, k_NM: np.ndarray, share_NM: np.ndarray) -> np.ndarray:
    """Integral of the values in bin k over its lowest `share`, (N, M)."""
    edges, last = bins.edges, len(bins.edges)
    value_NM = bins.place(k_NM, share_NM)
    inner_NM = share_NM * (edges[np.clip(k_NM - 1, 0, last - 1)] + value_NM) / 2
    left_NM = share_NM * (edges[0] - bins.left.mean_above(edges[0] - value_NM))
    above_NM = (1 - share_NM) * bins.right.mean_above(value_NM - edges[-1])
    right_NM = share_NM * edges[-1] + bins.right.mean_above(0.0) - above_NM
    return np.where(k_NM == 0, left_NM, np.where(k_NM == last, right_NM, inner_NM))
