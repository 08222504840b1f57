"""Risk of simulated paths against closed forms and exact recursions, and whether its errors are as large as told."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from data_pipeline import BadInput
from mqc_jax.forecasting.risk import (
    FEWEST_BEYOND,
    Estimate,
    drawdown_quantile,
    drawdowns,
    expected_shortfall,
    first_passage_time,
    portfolio,
    probability_of_touching,
    value_at_risk,
)

STEPS, MEAN, SIGMA = 12, 0.001, 0.02
N_PATHS, REPETITIONS = 2000, 200


def walk(seed: int, n_paths: int = N_PATHS) -> np.ndarray:
    """Paths of independent normal log returns."""
    return MEAN + SIGMA * np.random.default_rng(seed).normal(size=(n_paths, STEPS))


def stays(limit: float, *, drift: float, reflected: bool) -> np.ndarray:
    """P(a normal walk has not reached `limit` > 0 by step 1, 2, …), by the recursion of its density, (S,).

    With `reflected` the walk starts again at 0 whenever it is below: it is then the fall from a running peak.
    """
    low = 0.0 if reflected else limit - 14 * SIGMA * np.sqrt(STEPS)
    node, weight = np.polynomial.legendre.leggauss(400)
    x, weight = low + (node + 1) / 2 * (limit - low), weight / 2 * (limit - low)
    kernel = stats.norm.pdf(x[:, None], x[None] + drift, SIGMA)
    at_zero, density, alive = 1.0, np.zeros_like(x), []
    for step in range(STEPS):
        atom = at_zero * stats.norm.cdf(0, drift, SIGMA) + (density * weight) @ stats.norm.cdf(0, x + drift, SIGMA)
        fresh = at_zero * stats.norm.pdf(x, drift, SIGMA) if reflected or step == 0 else 0
        density, at_zero = fresh + kernel @ (density * weight), atom if reflected else 0.0
        alive.append(at_zero + density @ weight)
    return np.array(alive)


@lru_cache
def drawdown_truth(level: float, horizon: int) -> float:
    def deeper(fall: float) -> float:
        return 1 - stays(fall, drift=-MEAN, reflected=True)[horizon - 1] - level

    return float(np.expm1(-brentq(deeper, 1e-3, 1.0)))


def normal(horizon: int, level: float) -> tuple[float, float]:
    """Value at risk and expected shortfall of the sum of `horizon` returns."""
    mean, scale, z = MEAN * horizon, SIGMA * np.sqrt(horizon), stats.norm.ppf(level)
    return mean + scale * z, mean - scale * stats.norm.pdf(z) / level


def lognormal_shortfall(horizon: int, level: float) -> float:
    mean, scale, z = MEAN * horizon, SIGMA * np.sqrt(horizon), stats.norm.ppf(level)
    return np.exp(mean + scale**2 / 2) * stats.norm.cdf(z - scale) / level - 1


def touching(barrier: float) -> np.ndarray:
    """The probability of having touched it by each step."""
    side = np.sign(barrier)
    return 1 - stays(side * np.log1p(barrier), drift=side * MEAN, reflected=False)


CASES: dict[str, tuple[Callable[[np.ndarray], Estimate], Callable[[], float]]] = {
    "var 1 %": (lambda paths: value_at_risk(paths, 0.01, 5), lambda: normal(5, 0.01)[0]),
    "var 5 %": (lambda paths: value_at_risk(paths, 0.05, STEPS), lambda: normal(STEPS, 0.05)[0]),
    "var 95 % simple": (
        lambda paths: value_at_risk(paths, 0.95, STEPS, simple=True),
        lambda: float(np.expm1(normal(STEPS, 0.95)[0])),
    ),
    "es 2.5 %": (lambda paths: expected_shortfall(paths, 0.025, 5), lambda: normal(5, 0.025)[1]),
    "es 5 % simple": (
        lambda paths: expected_shortfall(paths, 0.05, 10, simple=True),
        lambda: lognormal_shortfall(10, 0.05),
    ),
    "es 60 %": (lambda paths: expected_shortfall(paths, 0.6, 1), lambda: normal(1, 0.6)[1]),
    "fall of 10 %": (lambda paths: probability_of_touching(paths, -0.10), lambda: touching(-0.10)[-1]),
    "rise of 5 %": (lambda paths: probability_of_touching(paths, 0.05), lambda: touching(0.05)[-1]),
    "never": (lambda paths: first_passage_time(paths, 0.05).never, lambda: 1 - touching(0.05)[-1]),
    "drawdown 5 %": (lambda paths: drawdown_quantile(paths, 0.05, STEPS), lambda: drawdown_truth(0.05, STEPS)),
    "median drawdown": (lambda paths: drawdown_quantile(paths, 0.5, 6), lambda: drawdown_truth(0.5, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_figures_are_as_near_the_truth_as_their_errors_say(case):
    figure, truth = CASES[case]
    found = np.array([figure(walk(seed)) for seed in range(REPETITIONS)])
    off = (found[:, 0] - truth()) / found[:, 1]
    assert 0.90 <= (np.abs(off) < 1.96).mean() <= 0.98
    assert abs(off.mean()) < 0.3, "no bias to speak of"


def test_first_passage_is_the_recursion_of_the_walk():
    for barrier in (-0.04, 0.06):
        found = first_passage_time(walk(0, 200_000), barrier)
        expected = np.diff(touching(barrier), prepend=0)
        assert (np.abs(found.at_S - expected) < 4 * found.at_standard_error_S).all()
        assert (np.abs(found.by_S - touching(barrier)) < 4 * found.by_standard_error_S).all()
        np.testing.assert_allclose(found.by_S, np.cumsum(found.at_S))
        assert found.by_S[-1] + found.never.value == pytest.approx(1)


def test_a_barrier_is_touched_by_the_first_close_at_it_or_beyond():
    paths = np.log([[0.98, 0.95 / 0.98, 1.0], [1.02, 0.9, 1.2], [0.99, 1.0, 1.0], [0.5, 1.0, 1.0]])
    found = first_passage_time(paths, float(np.expm1(np.log(0.95 / 0.98) + np.log(0.98))))
    np.testing.assert_allclose(found.at_S, [0.25, 0.5, 0.0])
    assert found.never.value == 0.25
    assert probability_of_touching(paths, 0.1).value == 0.25


def test_what_no_path_does_is_not_known_to_be_impossible():
    nothing, always = probability_of_touching(walk(0), -0.9), first_passage_time(walk(0), -0.9).never
    assert nothing.value == 0 and always.value == 1
    assert 0.5 / N_PATHS < nothing.standard_error < 2 / N_PATHS
    assert always.standard_error == pytest.approx(nothing.standard_error)


@settings(deadline=None)
@given(st.floats(0.001, 0.2), st.integers(1, STEPS))
def test_the_drawdown_of_paths_that_only_fall_or_rise_is_exact(move, horizon):
    falling, rising = -move * np.ones((40, STEPS)), move * np.ones((40, STEPS))
    np.testing.assert_allclose(drawdowns(falling, horizon), np.expm1(-move * horizon))
    np.testing.assert_array_equal(drawdowns(rising, horizon), 0)
    assert drawdown_quantile(falling, 0.5, horizon) == pytest.approx((np.expm1(-move * horizon), 0), abs=1e-9)


def test_a_drawdown_is_the_deepest_fall_from_any_peak_before_it():
    prices = np.array([[110.0, 99, 120, 90, 130], [90, 95, 80, 100, 60], [101, 102, 103, 104, 105]])
    paths = np.diff(np.log(prices), axis=1, prepend=np.log(100))
    np.testing.assert_allclose(drawdowns(paths, 5), [-0.25, -0.40, 0])
    np.testing.assert_allclose(drawdowns(paths, 3), [-0.10, -0.20, 0])


def test_steps_beyond_the_horizon_do_not_count():
    paths, other = walk(1), walk(1)
    other[:, 4:] += 1
    for figure in (value_at_risk, expected_shortfall, drawdown_quantile):
        assert figure(paths, 0.05, 4) == figure(other, 0.05, 4) != figure(paths, 0.05, 5)


def test_a_portfolio_of_one_asset_is_the_asset():
    paths = np.stack([walk(0), walk(1)])
    for chosen, weights in ((0, [1.0, 0.0]), (1, [0.0, 1.0])):
        np.testing.assert_allclose(portfolio(paths, weights, joint=True).log_returns_PS, paths[chosen], atol=1e-15)
    twice = portfolio(np.stack([walk(0), walk(0)]), [0.3, 0.7], joint=True)
    np.testing.assert_allclose(twice.log_returns_PS, walk(0), atol=1e-15)


def test_a_portfolio_is_bought_once_and_held():
    double, half = np.log([[2.0, 2.0]]), np.log([[0.5, 0.5]])
    held = portfolio(np.stack([double, half]), [0.5, 0.5], joint=True).log_returns_PS
    np.testing.assert_allclose(np.exp(np.cumsum(held, axis=1)), [[1.25, 2.125]])
    hedged = portfolio(np.stack([double, np.zeros((1, 2))]), [-0.2, 1.2], joint=True).log_returns_PS
    np.testing.assert_allclose(np.exp(np.cumsum(hedged, axis=1)), [[0.8, 0.4]])


def test_a_portfolio_says_what_it_takes_for_granted():
    paths = np.stack([walk(0), walk(1)])
    assert "together" in portfolio(paths, [0.5, 0.5], joint=True).assumption
    apart = portfolio(paths, [0.5, 0.5], joint=False)
    assert "independently" in apart.assumption
    alone = value_at_risk(walk(0), 0.05, STEPS).value
    assert alone < value_at_risk(apart.log_returns_PS, 0.05, STEPS).value < 0, "what is spread is less at risk"


def test_float32_paths_give_the_figures_of_float64():
    found, expected = expected_shortfall(walk(0).astype(np.float32), 0.05, STEPS), expected_shortfall(walk(0), 0.05, 12)
    assert found == pytest.approx(expected, rel=1e-5)


def broken(value: float) -> np.ndarray:
    paths = walk(0)
    paths[3, 4] = value
    return paths


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (lambda: value_at_risk(walk(0), 0.0, 5), "level=0.0 is not a probability"),
        (lambda: value_at_risk(walk(0), 1.0, 5), "level=1.0 is not a probability"),
        (lambda: expected_shortfall(walk(0), 5, 5), "level=5 is not a probability"),
        (lambda: drawdown_quantile(walk(0), float("nan"), 5), "level=nan is not a probability"),
        (lambda: value_at_risk(walk(0), 0.001, 5), "simulate 10000 or more"),
        (lambda: value_at_risk(walk(0, 99), 0.9, 5), "simulate 100 or more"),
        (lambda: value_at_risk(walk(0), 0.05, 0), "horizon=0 is not a number of steps from 1 to 12"),
        (lambda: expected_shortfall(walk(0), 0.05, -3), "horizon=-3"),
        (lambda: drawdowns(walk(0), 13), "horizon=13"),
        (lambda: value_at_risk(walk(0), 0.05, 10**9), "horizon=1000000000"),
        (lambda: value_at_risk(walk(0), 0.05, 2.5), "horizon=2.5"),
        (lambda: probability_of_touching(walk(0), 0), "barrier=0 is no move"),
        (lambda: probability_of_touching(walk(0), -1.0), "barrier=-1.0 is no move"),
        (lambda: first_passage_time(walk(0), float("nan")), "barrier=nan is no move"),
        (lambda: first_passage_time(walk(0), float("inf")), "barrier=inf is no move"),
        (lambda: value_at_risk(broken(np.nan), 0.05, 1), "the log return of path 3 at step 5 is nan"),
        (lambda: probability_of_touching(broken(-np.inf), 0.1), "path 3 at step 5 is -inf"),
        (lambda: drawdowns(walk(0)[0], 5), r"paths of shape \(12,\)"),
        (lambda: drawdowns(np.empty((0, 5)), 5), r"paths of shape \(0, 5\)"),
        (lambda: portfolio(np.stack([walk(0), walk(1)]), [1.0], joint=True), "1 weights for 2 assets"),
        (lambda: portfolio(walk(0)[None], [0.9], joint=True), "weights add up to 0.9, not to 1"),
        (lambda: portfolio(walk(0)[None], [np.nan], joint=True), "weights add up to nan"),
        (lambda: portfolio(walk(0), np.full(N_PATHS, 1 / N_PATHS), joint=True), r"paths of shape \(12,\)"),
        (lambda: portfolio(np.stack([broken(np.nan), walk(1)]), [0.5, 0.5], joint=True), "path 3 at step 5 is nan"),
        (lambda: portfolio(np.log([[[1.0, 3.0]], [[1.0, 1.0]]]), [-1.0, 2.0], joint=True), "on path 0 at step 2"),
    ],
)
def test_what_is_no_question_of_risk_is_one_line(figure, says):
    with pytest.raises(BadInput, match=says) as raised:
        figure()
    assert "\n" not in str(raised.value)


def test_ten_paths_beyond_a_level_are_enough_whatever_the_rounding():
    for level in (0.01, 0.05, 0.1, 0.3, 0.7, 0.9, 0.95, 0.99):
        n_paths = int(np.ceil(round(FEWEST_BEYOND / min(level, 1 - level), 6)))
        found = value_at_risk(np.arange(1.0, n_paths + 1)[:, None], level, 1)
        assert found.value == np.ceil(round(level * n_paths, 6)), "the ⌈level · N⌉-th smallest"
