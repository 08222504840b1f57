"""Can a classifier tell windows of generated paths from windows of the real series? AUC 0.5: it cannot.

Logistic regression on a dozen figures of each window of 64 returns and their squares, every window scaled to unit root
mean square first: what is judged is the shape of returns and how they follow each other, not the level of volatility.
It learns from the windows that end in the first half of the dates and is scored on those that begin in the second,
of the real series and of the paths alike, so that no window it is scored on shares a date with one it has seen. One
real series is one sample of few regimes; the nulls say which AUC comes from that alone. Below 0.5, what told the real
series apart early tells the paths apart late: so it is for paths that repeat real windows in another order.

Axis letters: P paths  N windows  W time in a window  F features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from data_pipeline.errors import BadInput
from mqc_jax.evaluation.stylized_facts import LEAST_PATHS

WINDOW, STEP = 64, 16  # returns; windows begin this many apart
BLOCK = 128  # returns of the real series that stay together when it is set against itself
LEAST_LENGTH = 8 * BLOCK  # two blocks for either side in each half
MOST_PATHS = 40  # more paths do not make the one real series larger
RIDGE = 1.0  # precision of the normal prior of each standardised coefficient
_Z_LIMIT = 4.0
_NEWTON_STEPS = 30


class Discriminated(NamedTuple):
    """How well real windows are told from generated ones, and the 5 % to 95 % range when there is nothing to tell."""

    auc: float
    path_vs_paths: tuple[float, float]  # a path in the place of the real series, as long as it
    real_vs_real: tuple[float, float]  # half of the real blocks against the other half: fewer windows, a wider range


def discriminate(real_T: np.ndarray, paths_PT: np.ndarray, *, draws: int = 50, seed: int = 0) -> Discriminated:
    """AUC of real log returns against the first 40 generated paths of the same length, with its nulls.

    Raises BadInput for paths of another length, fewer than 20 of them, or fewer than 1024 returns.
    """
    real_T, paths_PT = np.asarray(real_T, np.float64), np.asarray(paths_PT, np.float64)[:MOST_PATHS]
    _check(real_T, paths_PT)
    real_NF, *path_PNF = (window_features(returns_T) for returns_T in (real_T, *paths_PT))
    early_N, late_N = halves(len(real_T))

    def auc_between(mine_NF: np.ndarray, others: list[np.ndarray]) -> float:
        pooled = [np.concatenate([other_NF[half_N] for other_NF in others]) for half_N in (early_N, late_N)]
        return _learn_and_score((mine_NF[early_N], pooled[0]), (mine_NF[late_N], pooled[1]))

    path_aucs = [auc_between(path_NF, path_PNF[:p] + path_PNF[p + 1 :]) for p, path_NF in enumerate(path_PNF)]
    rngs = np.random.default_rng(seed).spawn(draws)
    real_aucs = [_real_against_itself(real_NF, early_N, late_N, rng) for rng in rngs]
    return Discriminated(auc_between(real_NF, path_PNF), _range(path_aucs), _range(real_aucs))


def halves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Which windows end in the first half of the dates, and which begin in the second."""
    start_N = np.arange(0, length - WINDOW + 1, STEP)
    return start_N + WINDOW <= length // 2, start_N >= length // 2


def window_features(returns_T: np.ndarray) -> np.ndarray:
    """Twelve scale-free figures of each window, (N, F), windows in time order."""
    windows_NW = np.lib.stride_tricks.sliding_window_view(returns_T, WINDOW)[::STEP]
    size_N1 = np.sqrt(np.mean(windows_NW**2, axis=1, keepdims=True))
    x = windows_NW / np.where(size_N1 > 0, size_N1, 1)
    absolute = np.abs(x)
    excess = absolute - absolute.mean(axis=1, keepdims=True)
    thirds = [np.mean(part**2, axis=1) for part in np.array_split(x, 3, axis=1)]
    ahead = [np.mean(x[:, :-lag] * x[:, lag:] ** 2, axis=1) for lag in (1, 2, 3, 4, 5)]
    memory = [np.mean(excess[:, :-lag] * excess[:, lag:], axis=1) for lag in range(1, 11)]
    return np.stack(
        [
            x.mean(axis=1),
            np.cbrt(np.mean(x**3, axis=1)),
            np.log1p(np.mean(x**4, axis=1)),
            absolute.mean(axis=1),
            x.min(axis=1),
            x.max(axis=1),
            np.mean(absolute < 0.1, axis=1),
            np.mean(x[:, 1:] * x[:, :-1], axis=1),
            np.mean(memory[:5], axis=0),
            np.mean(memory[5:], axis=0),
            np.mean(ahead, axis=0),
            np.max(thirds, axis=0) - np.min(thirds, axis=0),
        ],
        axis=1,
    )


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half (Mann and Whitney 1947)."""
    n = len(positive)
    ranks = rankdata(np.concatenate([positive, negative]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * len(negative)))


def logistic_regression(features_NF: np.ndarray, labels_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """Coefficients, (F,), of weighted logistic regression with a ridge on all but the first, by Newton's method."""
    ridge_F = np.full(features_NF.shape[1], RIDGE)
    ridge_F[0] = 1e-9
    coefficients_F = np.zeros(features_NF.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance_N = expit(features_NF @ coefficients_F)
        slope_F = features_NF.T @ (weights_N * (labels_N - chance_N)) - ridge_F * coefficients_F
        curvature_N = weights_N * chance_N * (1 - chance_N)
        step_F = np.linalg.solve((features_NF.T * curvature_N) @ features_NF + np.diag(ridge_F), slope_F)
        coefficients_F += step_F
        if np.abs(step_F).max() < 1e-8:
            break
    return coefficients_F


def _real_against_itself(
    real_NF: np.ndarray, early_N: np.ndarray, late_N: np.ndarray, rng: np.random.Generator
) -> float:
    """AUC of a random half of the real blocks against the rest, windows across two blocks left out."""
    start_N = STEP * np.arange(len(real_NF))
    block_N, whole_N = start_N // BLOCK, start_N % BLOCK + WINDOW <= BLOCK
    sides = []
    for half_N in (early_N & whole_N, late_N & whole_N):
        blocks = rng.permutation(np.unique(block_N[half_N]))
        chosen_N = np.isin(block_N, blocks[: len(blocks) // 2])
        sides.append((real_NF[half_N & chosen_N], real_NF[half_N & ~chosen_N]))
    return _learn_and_score(*sides)


def _learn_and_score(early: tuple[np.ndarray, np.ndarray], late: tuple[np.ndarray, np.ndarray]) -> float:
    """AUC on the late windows of the two sides, learnt from their early ones.

    Both sides weigh the same, as much as the windows of the first would if none overlapped.
    """
    seen_NF = np.concatenate(early)
    centre_F, spread_F = seen_NF.mean(axis=0), seen_NF.std(axis=0)
    spread_F = np.where(spread_F > 0, spread_F, 1)

    def design(features_NF: np.ndarray) -> np.ndarray:
        z_NF = np.clip((features_NF - centre_F) / spread_F, -_Z_LIMIT, _Z_LIMIT)
        return np.concatenate([np.ones((len(z_NF), 1)), z_NF, z_NF**2 - 1], axis=1)

    sizes = [len(side) for side in early]
    labels_N = np.repeat([1.0, 0.0], sizes)
    weights_N = np.repeat([sizes[0] * STEP / WINDOW / size for size in sizes], sizes)
    coefficients_F = logistic_regression(design(seen_NF), labels_N, weights_N)
    return auc(*(design(side) @ coefficients_F for side in late))


def _range(aucs: list[float]) -> tuple[float, float]:
    low, high = np.quantile(aucs, [0.05, 0.95])
    return float(low), float(high)


def _check(real_T: np.ndarray, paths_PT: np.ndarray) -> None:
    if real_T.ndim != 1 or paths_PT.ndim != 2 or paths_PT.shape[1] != len(real_T) or len(real_T) < LEAST_LENGTH:
        shapes = f"real {real_T.shape}, paths {paths_PT.shape}"
        raise BadInput(f"{shapes}; give {LEAST_LENGTH} or more real returns and as many in each path")
    if len(paths_PT) < LEAST_PATHS:
        raise BadInput(f"{len(paths_PT)} paths are too few to set one against the rest; give {LEAST_PATHS} or more")
    if not (np.isfinite(real_T).all() and np.isfinite(paths_PT).all()):
        raise BadInput("real or paths hold a return that is not finite; give finite log returns")
