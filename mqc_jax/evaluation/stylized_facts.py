"""Do generated paths behave as real returns do? The facts every liquid market shares (Cont 2001), as twelve figures.

    fact                    figures
    autocorrelation         acf_returns       mean autocorrelation of r at lags 1–20; nearly 0 in liquid markets
    volatility_clustering   acf_abs_returns   the same of |r|, lags 1–100; positive
                            acf_abs_decay     exponent of its power law over these lags; 0.2–0.4 in Cont (2001)
    kurtosis                kurtosis_1, _5, _20   excess kurtosis of the returns over so many bars; falls with them
    skewness                skewness          of r
    tails                   tail_index_left, tail_index_right   Hill's index of −r and r; about 3 for daily stocks
    leverage                leverage          mean correlation of r_t with r²_{t+τ}, τ = 1–20; negative for equities
    arch_effect             arch_lm           T R² of squares on their last ten
    drawdown                max_drawdown      share of its value lost from a peak to a later trough

All take log returns, one path per row. A figure is NaN where a path is too short for it or does not move.

Axis letters: P paths  T time  L lags  G grid of exponents  F figures of one fact.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from data_pipeline.errors import BadInput

FACTS: dict[str, tuple[str, ...]] = {
    "autocorrelation": ("acf_returns",),
    "volatility_clustering": ("acf_abs_returns", "acf_abs_decay"),
    "kurtosis": ("kurtosis_1", "kurtosis_5", "kurtosis_20"),
    "skewness": ("skewness",),
    "tails": ("tail_index_left", "tail_index_right"),
    "leverage": ("leverage",),
    "arch_effect": ("arch_lm",),
    "drawdown": ("max_drawdown",),
}
LAGS, ABS_LAGS, ARCH_LAGS = 20, 100, 10
HORIZONS = 1, 5, 20  # bars
TAIL_SHARE = 0.05
COVERAGE = 0.9
LEAST_PATHS = 20  # fewer have no 5 % on either side
_EXPONENTS_G = np.linspace(0, 2, 201)


class Figure(TypedDict):
    """A real figure beside those of the paths; None: not defined, as the module says.

    `inside` is None where the real figure is not defined, and False where only that of the paths is not.
    """

    real: float | None
    median: float | None
    band: tuple[float, float] | None
    inside: bool | None


def stylized_facts(real_T: np.ndarray, paths_PT: np.ndarray) -> dict[str, Figure]:
    """Each figure of one real series beside the 90 % band of P generated paths of the same length.

    The band of a fact with one figure reaches from the 5 % to the 95 % quantile of the paths. Where a fact has more,
    their bands are wider by as many ranks on every side as it takes for 90 % of the paths to have all of them inside,
    so that a perfect generator passes each fact nine times in ten. Ready for JSON. Raises BadInput for paths of
    another length, fewer than 20 of them, or returns that are not finite.
    """
    real_T, paths_PT = _checked(real_T, paths_PT)
    real = {name: float(value_P[0]) for name, value_P in measure(real_T[None]).items()}
    paths = measure(paths_PT)
    figures = {name: Figure(real=None, median=None, band=None, inside=None) for name in real}
    for names in FACTS.values():
        defined = [name for name in names if not np.isnan(real[name])]
        bands = joint_bands(np.stack([paths[name] for name in defined], axis=1)) if defined else []
        for name, (low, median, high) in zip(defined, bands, strict=True):
            known = not np.isnan(median)
            figures[name] = Figure(
                real=real[name],
                median=float(median) if known else None,
                band=(float(low), float(high)) if known else None,
                inside=bool(low <= real[name] <= high),
            )
    return figures


def facts_inside(figures: dict[str, Figure]) -> dict[str, bool | None]:
    """Which of the eight facts have every figure inside its band; None where no figure is defined."""
    seen = {fact: [figures[name]["inside"] for name in names] for fact, names in FACTS.items()}
    return {
        fact: None if set(inside) == {None} else all(i is not False for i in inside) for fact, inside in seen.items()
    }


def measure(returns_PT: np.ndarray) -> dict[str, np.ndarray]:
    """The twelve figures of each path, (P,) each, by name."""
    acf_abs_PL = autocorrelation(np.abs(returns_PT), ABS_LAGS)
    return {
        "acf_returns": autocorrelation(returns_PT, LAGS).mean(axis=1),
        "acf_abs_returns": acf_abs_PL.mean(axis=1),
        "acf_abs_decay": decay_exponent(acf_abs_PL),
        **{f"kurtosis_{bars}": excess_kurtosis(returns_PT, bars) for bars in HORIZONS},
        "skewness": skewness(returns_PT),
        "tail_index_left": tail_index(-returns_PT),
        "tail_index_right": tail_index(returns_PT),
        "leverage": leverage(returns_PT, LAGS).mean(axis=1),
        "arch_lm": arch_lm(returns_PT),
        "max_drawdown": max_drawdown(returns_PT),
    }


def autocorrelation(series_PT: np.ndarray, lags: int) -> np.ndarray:
    """Sample autocorrelation at lags 1 to `lags`, (P, L), all over the variance of the whole path."""
    return _cross_correlation(series_PT, series_PT, lags)


def leverage(returns_PT: np.ndarray, lags: int) -> np.ndarray:
    """Correlation of r_t with r²_{t+τ}, τ = 1 to `lags`, (P, L). Black (1976); Bouchaud, Matacz and Potters (2001)."""
    return _cross_correlation(returns_PT, returns_PT**2, lags)


def decay_exponent(acf_PL: np.ndarray) -> np.ndarray:
    """β of the least-squares fit c τ^−β, c > 0, to autocorrelations at lags 1 to L, (P,); a grid of 0.01 on [0, 2].

    Not fitted in logarithms: single autocorrelations are noisy and may be negative. NaN where no positive c fits.
    """
    lag_L = np.arange(1, acf_PL.shape[1] + 1)
    shape_GL = lag_L ** -_EXPONENTS_G[:, None]
    fit_PG = acf_PL @ (shape_GL / np.linalg.norm(shape_GL, axis=1, keepdims=True)).T
    return np.where(fit_PG.max(axis=1) > 0, _EXPONENTS_G[fit_PG.argmax(axis=1)], np.nan)


def excess_kurtosis(returns_PT: np.ndarray, bars: int = 1) -> np.ndarray:
    """m₄ / m₂² − 3 of the overlapping sums of `bars` returns, (P,)."""
    n = returns_PT.shape[1] - bars + 1
    if n < 2:
        return np.full(len(returns_PT), np.nan)
    running_PT = np.pad(np.cumsum(_centred(returns_PT), axis=1), ((0, 0), (1, 0)))
    return n * (_unit(running_PT[:, bars:] - running_PT[:, :-bars]) ** 4).sum(axis=1) - 3


def skewness(returns_PT: np.ndarray) -> np.ndarray:
    """m₃ / m₂^(3/2), (P,)."""
    return np.sqrt(returns_PT.shape[1]) * (_unit(returns_PT) ** 3).sum(axis=1)


def tail_index(returns_PT: np.ndarray, share: float = TAIL_SHARE) -> np.ndarray:
    """Hill's (1975) estimate of α in P(r > x) ~ x^−α from the largest `share` of the returns, (P,).

    NaN for fewer than two of these, or if the largest below them is not positive or equals them all.
    """
    n = returns_PT.shape[1]
    k = int(share * n)
    if k < 2:
        return np.full(len(returns_PT), np.nan)
    top_PT = np.partition(returns_PT, n - k - 1, axis=1)[:, n - k - 1 :]
    threshold_P = np.where(top_PT[:, 0] > 0, top_PT[:, 0], np.nan)
    excess_P = np.log(top_PT[:, 1:] / threshold_P[:, None]).mean(axis=1)
    return 1 / np.where(excess_P > 0, excess_P, np.nan)


def arch_lm(returns_PT: np.ndarray, lags: int = ARCH_LAGS) -> np.ndarray:
    """Engle's (1982) statistic, (P,): n R² of the squared deviations on their last `lags`; χ² without ARCH effects."""
    n = returns_PT.shape[1] - lags
    if n < lags + 2:
        return np.full(len(returns_PT), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(_centred(returns_PT) ** 2, lags + 1, axis=1)
    moments = np.stack([centred.T @ centred for centred in (path - path.mean(axis=0) for path in windows)])
    with_now, total_P = moments[:, :-1, -1], moments[:, -1, -1]
    explained_P = np.einsum("pi,pij,pj->p", with_now, np.linalg.pinv(moments[:, :-1, :-1], hermitian=True), with_now)
    return n * explained_P / np.where(total_P > 0, total_P, np.nan)


def max_drawdown(returns_PT: np.ndarray) -> np.ndarray:
    """Largest loss from a peak, the start included, to a later trough, as a share of the peak, (P,); 0 to 1."""
    log_price_PT = np.pad(np.cumsum(returns_PT, axis=1), ((0, 0), (1, 0)))
    return -np.expm1((log_price_PT - np.maximum.accumulate(log_price_PT, axis=1)).min(axis=1))


def joint_bands(values_PF: np.ndarray) -> np.ndarray:
    """Low, median and high of each of F figures, (F, 3), such that 90 % of the paths lie inside all F bands.

    Bands cut the same number of ranks off both ends of every figure. Paths with a NaN are left out; NaN if fewer than
    20 are left.
    """
    values_PF = values_PF[~np.isnan(values_PF).any(axis=1)]
    n = len(values_PF)
    if n < LEAST_PATHS:
        return np.full((values_PF.shape[1], 3), np.nan)
    rank_PF = values_PF.argsort(axis=0).argsort(axis=0)
    depth_P = np.minimum(rank_PF, n - 1 - rank_PF).min(axis=1)
    cut = np.sort(depth_P)[int((1 - COVERAGE) * n)]
    sorted_PF = np.sort(values_PF, axis=0)
    return np.stack([sorted_PF[cut], np.median(sorted_PF, axis=0), sorted_PF[n - 1 - cut]], axis=1)


def _cross_correlation(early_PT: np.ndarray, late_PT: np.ndarray, lags: int) -> np.ndarray:
    n = early_PT.shape[1]
    if n <= lags:
        return np.full((len(early_PT), lags), np.nan)
    early_PT, late_PT = _unit(early_PT), _unit(late_PT)
    return np.stack(
        [np.einsum("pt,pt->p", early_PT[:, : n - lag], late_PT[:, lag:]) for lag in range(1, lags + 1)], axis=1
    )


def _centred(series_PT: np.ndarray) -> np.ndarray:
    """Deviations from the mean, exactly 0 for a path that does not move."""
    moved_PT = series_PT - series_PT[:, :1]
    return moved_PT - moved_PT.mean(axis=1, keepdims=True)


def _unit(series_PT: np.ndarray) -> np.ndarray:
    """Deviations from the mean with squares that sum to one; NaN for a path that does not move."""
    centred_PT = _centred(series_PT)
    norm_P1 = np.linalg.norm(centred_PT, axis=1, keepdims=True)
    return centred_PT / np.where(norm_P1 > 0, norm_P1, np.nan)


def _checked(real_T: np.ndarray, paths_PT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real_T, paths_PT = np.asarray(real_T, np.float64), np.asarray(paths_PT, np.float64)
    if real_T.ndim != 1 or len(real_T) < 2 or paths_PT.ndim != 2 or paths_PT.shape[1] != len(real_T):
        raise BadInput(f"real {real_T.shape}, paths {paths_PT.shape}; give T > 1 real returns and as many in each path")
    if len(paths_PT) < LEAST_PATHS:
        raise BadInput(f"{len(paths_PT)} paths have no 90 % band; give {LEAST_PATHS} or more, better 200")
    for name, returns in (("real", real_T), ("paths", paths_PT)):
        wrong = np.argwhere(~np.isfinite(returns))
        if len(wrong):
            at = wrong[0].tolist()
            raise BadInput(f"{name} at {at} is {returns[tuple(at)]}; give finite log returns")
    return real_T, paths_PT
