"""Is one forecast better than another by more than chance? Losses of both on the same rows, compared.

A smaller loss is better, so a negative difference favours the first. Assets of one date move together: where `times`
is given, a date is one observation.

Axis letters: T rows or dates  M models  Q quantile levels  R bootstrap draws  B blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from data_pipeline.errors import BadInput
from mqc_jax.evaluation.scores import hac_standard_error, mean_by_date

Z95 = float(ndtri(0.975))  # half-width of a 95 % interval in standard errors


class Comparison(NamedTuple):
    """A mean loss difference, in the units of the loss; the last two are NaN for fewer than two dates."""

    difference: float
    standard_error: float
    p_value: float


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def diebold_mariano(losses: np.ndarray, rival_losses: np.ndarray, times: np.ndarray | None = None) -> Comparison:
    """Mean of `losses` − `rival_losses` (N,), its Newey-West standard error, two-sided normal p-value.

    Diebold and Mariano (1995). Losses that never differ have p = 1. Raises BadInput for losses that are
    not finite.
    """
    series = _by_date("losses", losses, times) - _by_date("rival_losses", rival_losses, times)
    difference = float(series.mean()) if len(series) else np.nan
    if len(series) < 2:
        return Comparison(difference, np.nan, np.nan)
    error = hac_standard_error(series)
    if error == 0:
        return Comparison(difference, error, float(difference == 0))
    return Comparison(difference, error, float(2 * ndtr(-abs(difference) / error)))


def edge(difference: float, standard_error: float, rival: str) -> str:
    """What may be said of a mean loss difference: "no edge over `rival`" if and only if its 95 % interval holds zero.

    A standard error that is not known (NaN) supports no claim.
    """
    if not abs(difference) > Z95 * standard_error:
        return f"no edge over {rival}"
    return f"better than {rival}" if difference < 0 else f"worse than {rival}"


def model_confidence_set(
    losses: Mapping[str, np.ndarray], times: np.ndarray | None = None, *, draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """p-value of each model: it is in the model confidence set of level 1 − a when its p-value is above a.

    Hansen, Lunde and Nason (2011), range statistic, circular block bootstrap. A model that loses by the same amount
    on every date has p = 0; models with equal losses share their p-value. NaN for fewer than two dates. Raises
    BadInput for losses that are not finite.
    """
    losses_TM = np.stack([_by_date(f"losses of {name}", loss, times) for name, loss in losses.items()], axis=1)
    if len(losses_TM) < 2:
        return dict.fromkeys(losses, np.nan)
    leader_M = _leaders(losses_TM)
    mean_M = losses_TM.mean(axis=0)
    trails_M = mean_M - mean_M[leader_M] > _rounding(losses_TM)
    p_M = _range_p_values(losses_TM, np.unique(leader_M), draws, seed)[leader_M]
    return {name: float(p) for name, p in zip(losses, np.where(trails_M, 0.0, p_M), strict=True)}


def block_bootstrap_interval(series: np.ndarray, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Mean of a time series (T,) and its 95 % percentile interval, which is NaN for T < 2.

    Circular block bootstrap of Politis and Romano (1992), blocks of `block_length(T)`. A constant series has an
    interval without width.
    """
    n = len(series)
    if n < 2:
        return Estimate(float(series[0]) if n else np.nan, np.nan, np.nan)
    length = block_length(n)
    whole, rest = divmod(n, length)
    start_RB = np.random.default_rng(seed).integers(n, size=(draws, whole + (rest > 0)))
    total_R = _circular_sums(series, length)[start_RB[:, :whole]].sum(axis=1)
    if rest:
        total_R += _circular_sums(series, rest)[start_RB[:, -1]]
    low, high = np.quantile(total_R / n, [0.025, 0.975])
    return Estimate(float(np.mean(series)), float(low), float(high))


def block_length(n: int) -> int:
    """Length of the blocks that a bootstrap of `n` dates draws: n^(1/3), the rate of Künsch (1989)."""
    return max(1, round(n ** (1 / 3)))


def pinball(quantiles_TQ: np.ndarray, outcomes_T: np.ndarray, levels_Q: np.ndarray) -> np.ndarray:
    """Pinball loss (τ − 1{y < q})(y − q) of each quantile forecast, (T, Q), in the units of the outcome.

    Koenker and Bassett (1978).
    """
    miss_TQ = outcomes_T[:, None] - quantiles_TQ
    return (levels_Q - (miss_TQ < 0)) * miss_TQ


def weighted_quantile_loss(quantiles_TQ: np.ndarray, outcomes_T: np.ndarray, levels_Q: np.ndarray) -> float:
    """WQL, 2 Σ pinball / Σ|y|, averaged over the levels; without units. NaN when every outcome is zero."""
    size = np.abs(outcomes_T).sum()
    if not size:
        return np.nan
    return float(2 * pinball(quantiles_TQ, outcomes_T, levels_Q).sum(axis=0).mean() / size)


def _by_date(name: str, losses: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    losses = np.asarray(losses, np.float64)
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        raise BadInput(f"{name}: {losses[wrong[0]]} at row {wrong[0]}; compare only rows that every model has scored")
    return losses if times is None else mean_by_date(losses, times)


def _circular_sums(series: np.ndarray, length: int) -> np.ndarray:
    """Sum of the `length` values from each on, the end joined to the beginning, (T,)."""
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([series, series[: length - 1]]))])
    return running[length:] - running[:-length]


def _rounding(losses_TM: np.ndarray) -> float:
    return 1e-12 * float(np.abs(losses_TM).max())


def _leaders(losses_TM: np.ndarray) -> np.ndarray:
    """The best of the models from which each differs by a constant, (M,): no bootstrap can tell such models apart."""
    apart_MM = np.ptp(losses_TM[:, :, None] - losses_TM[:, None, :], axis=0)
    mean_MM = np.where(apart_MM <= _rounding(losses_TM), losses_TM.mean(axis=0), np.inf)
    return np.argmin(mean_MM, axis=1)


def _range_p_values(losses_TM: np.ndarray, chosen: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """p-values of the `chosen` models among each other, (M,), 1 elsewhere."""
    from arch.bootstrap import MCS

    p_M = np.ones(losses_TM.shape[1])
    if len(chosen) > 1:
        length = block_length(len(losses_TM))
        test = MCS(losses_TM[:, chosen], 0.05, draws, length, "R", "circular", seed=seed)
        test.compute()
        p_M[chosen[test.pvalues.index.to_numpy()]] = test.pvalues["Pvalue"].to_numpy()
    return p_M
