"""The scoreboard: laws of the same returns by every model, scored on the same rows, with error bars.

A date is one observation: scores are means over the assets of each date, then over dates. What concerns one asset's
memory or its risk (exceedances, PIT tests) is counted asset by asset.

Axis letters: N rows  M edges  P levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mqc_jax.evaluation.calibration import berkowitz, coverage, deciles, direction, ljung_box, sharpness
from mqc_jax.evaluation.comparison import diebold_mariano, edge, model_confidence_set, weighted_quantile_loss
from mqc_jax.evaluation.risk import (
    Breaches,
    christoffersen,
    dynamic_quantile,
    exceedances,
    expected_shortfall_test,
    fz0,
    kupiec,
    kupiec_range,
)
from mqc_jax.evaluation.scores import LEAST_MASS, NATS_PER_BIT, hac_standard_error, mean_by_date
from mqc_jax.evaluation.table import Table
from mqc_jax.laws.law import Law

RISK_LEVELS = (0.01, 0.025, 0.05)  # of value at risk and expected shortfall
LEVELS = np.array([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995])
TAIL_DEPTHS = np.linspace(0, 9, 25)  # −ln of the share of a risk level below each quantile that is kept of the tail
SIMULATIONS = 1000
TAIL = -1.65  # exponentially weighted volatilities: some 5 % of returns fall below, whoever forecasts them
RIVALS = ("garch_t", "gjr_skew_t", "linear")  # every model is compared with these


class Outcomes(NamedTuple):
    """The N returns that came, and what is common to all who forecast them."""

    assets: Sequence[str]
    asset_N: np.ndarray  # number of each row's asset
    times_N: np.ndarray
    returns_N: np.ndarray  # log returns
    volatility_N: np.ndarray  # exponentially weighted, known before; the scale of the tables
    edges_NM: np.ndarray  # of the shared bins, in log returns


class Scores(NamedTuple):
    """What one model's law says of the N outcomes."""

    nats_N: np.ndarray  # −ln of the mass on the true shared bin
    density_N: np.ndarray  # −ln of the density per unit of log return
    crps_N: np.ndarray  # log return
    tail_crps_N: np.ndarray  # the same, of what happens below TAIL
    pit_N: np.ndarray  # F(return)
    mean_N: np.ndarray  # log return
    quantiles_NP: np.ndarray  # at LEVELS
    shortfall_NP: np.ndarray  # mean return below the quantiles of RISK_LEVELS
    tails_NPQ: np.ndarray  # quantiles at TAIL_DEPTHS of each of RISK_LEVELS


def score(law: Law, outcomes: Outcomes) -> Scores:
    """Every score that needs the law itself; the rest is arithmetic on these."""
    returns_N = outcomes.returns_N
    bin_N = (returns_N[:, None] >= outcomes.edges_NM).sum(axis=1)
    padded_NM = np.pad(outcomes.edges_NM, ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
    rows = np.arange(len(returns_N))
    ends_N3 = np.stack([padded_NM[rows, bin_N], padded_NM[rows, bin_N + 1], returns_N], axis=1)
    below_N, above_N, pit_N = law.cdf(np.clip(ends_N3, -1e9, 1e9)).T
    table = Table.of(law, outcomes.volatility_N)
    return Scores(
        -np.log(np.maximum(above_N - below_N, LEAST_MASS)),
        -np.maximum(law.log_density(returns_N), np.log(LEAST_MASS)),
        table.crps(returns_N),
        table.crps(returns_N, TAIL * outcomes.volatility_N),
        pit_N,
        table.mean(),
        table.quantile(LEVELS),
        table.expected_shortfall(np.array(RISK_LEVELS)),
        np.stack([table.quantile(level * np.exp(-TAIL_DEPTHS)) for level in RISK_LEVELS], axis=1),
    )


def scoreboard(scores: Mapping[str, Scores], outcomes: Outcomes, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """One object of figures per model, in the order given. Differences are nats per return, negative is better."""
    times = outcomes.times_N
    survives = model_confidence_set({name: found.nats_N for name, found in scores.items()}, times, seed=seed)
    board = {}
    for name, found in scores.items():
        figures = _means(found, scores.get("unconditional"), times) | _calibration(found, outcomes, seed)
        for rival in RIVALS:
            if rival in scores and rival != name:
                figures |= _against(found, scores[rival], rival, times)
        figures["model_confidence_set_p_value"] = survives[name]
        others = {rival: scores[rival] for rival in RIVALS if rival in scores and rival != name}
        board[name] = figures | {"assets": _by_asset(found, others, outcomes, seed)}
    return board


def _means(found: Scores, unconditional: Scores | None, times: np.ndarray) -> dict[str, Any]:
    figures = _mean("nats", found.nats_N, times) | _mean("density_nats", found.density_N, times)
    figures |= _mean("crps", found.crps_N, times) | _mean("tail_crps", found.tail_crps_N, times)
    if unconditional is not None:
        figures |= _mean("bits_over_unconditional", (unconditional.nats_N - found.nats_N) / NATS_PER_BIT, times)
        ratio = figures["crps"] / mean_by_date(unconditional.crps_N, times).mean()
        figures["crps_skill_over_unconditional"] = float(1 - ratio)
    return figures


def _mean(name: str, values_N: np.ndarray, times: np.ndarray) -> dict[str, float]:
    series = mean_by_date(values_N, times)
    return {name: float(series.mean()), f"{name}_standard_error": hac_standard_error(series)}


def _against(found: Scores, rival: Scores, name: str, times: np.ndarray) -> dict[str, Any]:
    crps = diebold_mariano(found.crps_N, rival.crps_N, times)
    rival_crps = mean_by_date(rival.crps_N, times).mean()
    return _difference(found.nats_N, rival.nats_N, name, times) | {
        f"crps_skill_over_{name}": -crps.difference / rival_crps,
        f"crps_skill_over_{name}_standard_error": crps.standard_error / rival_crps,
    }


def _difference(nats_N: np.ndarray, rival_nats_N: np.ndarray, name: str, times: np.ndarray) -> dict[str, Any]:
    nats = diebold_mariano(nats_N, rival_nats_N, times)
    return {
        f"dm_vs_{name}": nats.difference,
        f"dm_vs_{name}_standard_error": nats.standard_error,
        f"dm_vs_{name}_p_value": nats.p_value,
        f"verdict_vs_{name}": edge(nats.difference, nats.standard_error, name),
    }


def _calibration(found: Scores, outcomes: Outcomes, seed: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for level, share in coverage(found.pit_N, outcomes.times_N, seed=seed).items():
        figures |= {f"coverage_{level}": share.value, f"coverage_{level}_interval_95": [share.low, share.high]}
    hits = {level: exceedances(outcomes.returns_N, _value_at_risk(found, level)) for level in RISK_LEVELS}
    figures |= {f"var_{100 * level:g}_exceedances": int(hit.sum()) for level, hit in hits.items()}
    counts = deciles(found.pit_N)
    levels = np.flatnonzero((LEVELS == 0.05) | (LEVELS == 0.95))
    return figures | {
        "pit_decile_counts": counts.counts.tolist(),
        "pit_decile_error_points": counts.largest_error_points,
        "interval_90_width": sharpness(*found.quantiles_NP[:, levels].T),
        "weighted_quantile_loss": weighted_quantile_loss(found.quantiles_NP, outcomes.returns_N, LEVELS),
    }


def _value_at_risk(found: Scores, level: float) -> np.ndarray:
    return found.quantiles_NP[:, np.searchsorted(LEVELS, level)]


def _by_asset(found: Scores, rivals: Mapping[str, Scores], outcomes: Outcomes, seed: int) -> dict[str, Any]:
    board = {}
    for number, asset in enumerate(outcomes.assets):
        rows = np.flatnonzero(outcomes.asset_N == number)
        if not len(rows):
            continue
        mine, returns = Scores(*(column[rows] for column in found)), outcomes.returns_N[rows]
        pit, signs = mine.pit_N, direction(mine.mean_N, returns)
        board[asset] = {
            "n_returns": len(rows),
            **_mean("nats", mine.nats_N, outcomes.times_N[rows]),
            **{
                name: value
                for rival, other in rivals.items()
                for name, value in _difference(mine.nats_N, other.nats_N[rows], rival, outcomes.times_N[rows]).items()
            },
            "crps": float(mine.crps_N.mean()),
            "coverage_90": coverage(pit, seed=seed)[90].value,
            "berkowitz_p_value": berkowitz(pit).test.p_value,
            "ljung_box_pit_p_value": ljung_box(pit).p_value,
            "ljung_box_squared_pit_p_value": ljung_box((pit - 0.5) ** 2).p_value,
            "direction_right": signs.correct.value,
            "direction_right_interval_95": [signs.correct.low, signs.correct.high],
            "direction_majority": signs.majority,
            "direction_beats_majority": signs.beats_majority,
            "risk": {f"{100 * level:g}": _risk(mine, returns, p, seed) for p, level in enumerate(RISK_LEVELS)},
        }
    return board


def _risk(found: Scores, returns: np.ndarray, p: int, seed: int) -> dict[str, Any]:
    """Backtests of value at risk and expected shortfall of one asset at RISK_LEVELS[p]."""
    level = RISK_LEVELS[p]
    value_at_risk, shortfall = np.minimum(_value_at_risk(found, level), -1e-12), found.shortfall_NP[:, p]
    shortfall = np.minimum(shortfall, value_at_risk)
    hits = exceedances(returns, value_at_risk)
    least, most = kupiec_range(len(returns), level)
    conditional = christoffersen(hits, level)
    null = simulated_breaches(found.tails_NPQ[:, p], shortfall, level, np.random.default_rng(seed))
    tail = expected_shortfall_test(returns, value_at_risk, shortfall, level, null)
    return {
        "exceedances": int(hits.sum()),
        "expected_range": [least, most],
        "in_range": bool(least <= hits.sum() <= most),
        "kupiec_p_value": kupiec(hits, level).p_value,
        "christoffersen_independence_p_value": conditional.independence.p_value,
        "christoffersen_p_value": conditional.conditional_coverage.p_value,
        "dynamic_quantile_p_value": dynamic_quantile(hits, value_at_risk, level).p_value,
        "acerbi_szekely_z1": tail.z1,
        "acerbi_szekely_z1_p_value": tail.z1_p_value,
        "acerbi_szekely_z2": tail.z2,
        "acerbi_szekely_z2_p_value": tail.z2_p_value,
        "fz0": float(fz0(returns, value_at_risk, shortfall, level).mean()),
    }


def simulated_breaches(tails_NQ: np.ndarray, es_N: np.ndarray, level: float, rng: np.random.Generator) -> Breaches:
    """The exceedances that the laws themselves would have brought, given their quantiles at TAIL_DEPTHS of `level`.

    Quantiles are taken to be linear in between, in the logarithm of their level.
    """
    count_S = rng.binomial(len(tails_NQ), level, SIMULATIONS)
    row = rng.integers(len(tails_NQ), size=count_S.sum())
    place = np.minimum(rng.exponential(size=len(row)) / TAIL_DEPTHS[1], len(TAIL_DEPTHS) - 1)
    k = np.minimum(place.astype(int), len(TAIL_DEPTHS) - 2)
    returns = tails_NQ[row, k] + (place - k) * (tails_NQ[row, k + 1] - tails_NQ[row, k])
    history = np.repeat(np.arange(SIMULATIONS), count_S)
    return Breaches(np.bincount(history, returns / es_N[row], SIMULATIONS), count_S)
