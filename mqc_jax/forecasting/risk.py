"""What simulated paths say of risk, and how far chance may have moved each figure.

Paths are log returns, one row per path, one column per step; they must come from the model's own law, never from a
truncated one. Losses are negative, as everywhere. A standard error is that of the simulation alone and falls with the
root of the number of paths; that the model may be wrong is not in it. Prices are seen at the close of each bar only:
what they do inside a bar is not seen, so barriers are touched and drawdowns are deep at least as often as said here.

Axis letters: A assets  P paths  S steps  N sorted values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betainc

from data_pipeline.errors import BadInput
from mqc_jax.laws.distribution import check_levels

FEWEST_BEYOND = 10  # paths on either side of a quantile


class Estimate(NamedTuple):
    """A figure, and the standard deviation that it has over simulations."""

    value: float
    standard_error: float


class FirstPassage(NamedTuple):
    """When a barrier is touched first, if it is."""

    at_S: np.ndarray  # probability that it is at the close of step 1, 2, …, and not before
    at_standard_error_S: np.ndarray
    by_S: np.ndarray  # that it is at that close or before
    by_standard_error_S: np.ndarray
    never: Estimate  # not within the S steps


class Portfolio(NamedTuple):
    """Paths of a portfolio's value, and what they take for granted."""

    log_returns_PS: np.ndarray
    assumption: str


def value_at_risk(paths_PS: np.ndarray, level: float, horizon: int, *, simple: bool = False) -> Estimate:
    """The return over the first `horizon` steps that is undercut with probability `level`, as a log return.

    With `simple`, as a simple return. Raises BadInput for a level outside (0, 1) or with fewer than 10 paths on either
    side of it, a horizon that is not from 1 to S, and paths that are not finite.
    """
    return _quantile(_returns_over(paths_PS, horizon, simple), level)


def expected_shortfall(paths_PS: np.ndarray, level: float, horizon: int, *, simple: bool = False) -> Estimate:
    """Mean of the returns below that quantile; arguments and errors as for `value_at_risk`.

    The tail mean of Acerbi and Tasche (2002), which counts a fraction of the path at the quantile; its error is that of
    Manistre and Hancock (2005): the variance below the quantile, and what the quantile's own error adds.
    """
    sorted_N = np.sort(_returns_over(paths_PS, horizon, simple))
    quantile, within = _quantile(sorted_N, level).value, level * len(sorted_N)
    weight_N = np.clip(within - np.arange(len(sorted_N)), 0, 1) / within
    mean = sorted_N @ weight_N
    variance = (sorted_N - mean) ** 2 @ weight_N + (1 - level) * (quantile - mean) ** 2
    return Estimate(float(mean), float(np.sqrt(variance / within)))


def probability_of_touching(paths_PS: np.ndarray, barrier: float) -> Estimate:
    """Probability that at the close of any of the S steps the price has moved to `barrier` or beyond.

    `barrier` is a simple return on today's price: −0.10 for a fall of 10 %, 0.05 for a rise of 5 %. Raises BadInput for
    0, for −1 and below, and for paths that are not finite.
    """
    return _share(_touched(paths_PS, barrier)[:, -1])


def first_passage_time(paths_PS: np.ndarray, barrier: float) -> FirstPassage:
    """The step at whose close `barrier` is touched first; as for `probability_of_touching`."""
    touched_PS = _touched(paths_PS, barrier)
    first_PS = np.diff(touched_PS, axis=1, prepend=False)
    return FirstPassage(*_shares(first_PS), *_shares(touched_PS), _share(~touched_PS[:, -1]))


def drawdowns(paths_PS: np.ndarray, horizon: int) -> np.ndarray:
    """The deepest fall from a peak within the first `horizon` steps, of each path, (P,): a simple return, ≤ 0.

    Today's price counts as a peak. Raises BadInput as `value_at_risk`.
    """
    log_price_PS = np.cumsum(_checked(paths_PS, horizon)[:, :horizon], axis=1)
    peak_PS = np.maximum(np.maximum.accumulate(log_price_PS, axis=1), 0)
    return np.expm1((log_price_PS - peak_PS).min(axis=1))


def drawdown_quantile(paths_PS: np.ndarray, level: float, horizon: int) -> Estimate:
    """The drawdown that is undercut, so deeper, with probability `level`; as for `drawdowns`."""
    return _quantile(drawdowns(paths_PS, horizon), level)


def portfolio(paths_APS: np.ndarray, weights_A: Sequence[float] | np.ndarray, *, joint: bool) -> Portfolio:
    """Paths of what is bought today at these shares of its value, and held.

    Asset a goes path p wherever the others go theirs. `joint` says whether they were simulated together; without it
    they are taken to move independently. A negative weight is a short position. Raises BadInput for weights that are
    not one per asset or do not add up to 1, for paths that are not finite, and for one on which nothing is left.
    """
    weights_A, paths_APS = np.asarray(weights_A, float), np.asarray(paths_APS, float)
    if weights_A.shape != paths_APS.shape[:1]:
        raise BadInput(f"{weights_A.size} weights for {len(paths_APS)} assets; give one for each")
    if not abs(weights_A.sum() - 1) < 1e-6:
        raise BadInput(f"weights add up to {weights_A.sum():g}, not to 1; cash is an asset whose returns are 0")
    growth_APS = np.exp(np.cumsum([_checked(paths_PS) for paths_PS in paths_APS], axis=2))
    value_PS = np.einsum("a,aps->ps", weights_A, growth_APS)
    if not (value_PS > 0).all():
        path, step = np.argwhere(~(value_PS > 0))[0]
        raise BadInput(f"nothing is left of the portfolio on path {path} at step {step + 1}; short less of it")
    told = "assets move together as they were simulated" if joint else "assets are taken to move independently"
    return Portfolio(np.diff(np.log(value_PS), axis=1, prepend=0), told)


def _returns_over(paths_PS: np.ndarray, horizon: int, simple: bool) -> np.ndarray:
    log_return_P = _checked(paths_PS, horizon)[:, :horizon].sum(axis=1)
    return np.expm1(log_return_P) if simple else log_return_P


def _touched(paths_PS: np.ndarray, barrier: float) -> np.ndarray:
    """Whether the barrier has been touched by the close of each step, (P, S)."""
    if not -1 < barrier < np.inf or barrier == 0:
        raise BadInput(f"barrier={barrier} is no move of the price; give one above -1 and not 0, as -0.1 for -10 %")
    side = np.sign(barrier)
    beyond_PS = side * np.cumsum(_checked(paths_PS), axis=1) >= side * np.log1p(barrier)
    return np.logical_or.accumulate(beyond_PS, axis=1)


def _quantile(values_N: np.ndarray, level: float) -> Estimate:
    """The ⌈level · N⌉-th smallest value.

    Its error is that of Maritz and Jarrett (1978): the deviation of that order statistic in samples of N from the
    values themselves, whose ranks have a beta law.
    """
    check_levels(level)
    n, side = len(values_N), min(level, 1 - level)
    if n * side < FEWEST_BEYOND * (1 - 1e-9):
        raise BadInput(
            f"level={level} leaves {n * side:.3g} of {n} paths beyond it, and {FEWEST_BEYOND} are needed to know its "
            f"error; simulate {int(np.ceil(FEWEST_BEYOND / side - 1e-6))} or more"
        )
    sorted_N = np.sort(values_N)
    rank = int(np.ceil(level * n - 1e-9))
    weight_N = np.diff(betainc(rank, n + 1 - rank, np.arange(n + 1) / n))
    variance = (sorted_N - sorted_N @ weight_N) ** 2 @ weight_N
    return Estimate(float(sorted_N[rank - 1]), float(np.sqrt(variance)))


def _share(counted_P: np.ndarray) -> Estimate:
    value_1, standard_error_1 = _shares(counted_P[:, None])
    return Estimate(float(value_1[0]), float(standard_error_1[0]))


def _shares(counted_PS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the paths, and their errors, which are not 0 where none or all are counted (Agresti and Coull 1998)."""
    count_S, n = counted_PS.sum(axis=0), len(counted_PS)
    shrunk_S = (count_S + 2) / (n + 4)
    return count_S / n, np.sqrt(shrunk_S * (1 - shrunk_S) / (n + 4))


def _checked(paths_PS: np.ndarray, horizon: int = 1) -> np.ndarray:
    """The paths in float64; raises BadInput for what are no paths, or none of `horizon` steps."""
    paths_PS = np.asarray(paths_PS, float)
    if paths_PS.ndim != 2 or not paths_PS.size:
        raise BadInput(f"paths of shape {paths_PS.shape} are no log returns of paths by steps; give (paths, steps)")
    if not np.isfinite(paths_PS).all():
        path, step = np.argwhere(~np.isfinite(paths_PS))[0]
        raise BadInput(f"the log return of path {path} at step {step + 1} is {paths_PS[path, step]}; give finite ones")
    steps = paths_PS.shape[1]
    if not 1 <= horizon <= steps or horizon != int(horizon):
        raise BadInput(f"horizon={horizon} is not a number of steps from 1 to {steps}, which is how far the paths go")
    return paths_PS
