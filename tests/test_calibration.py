"""Calibration tests against statsmodels, and how often they reject right and wrong forecasts."""

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tsa.ar_model import AutoReg

from mqc_jax.evaluation.calibration import (
    COVERAGE_LEVELS,
    berkowitz,
    coverage,
    deciles,
    direction,
    ljung_box,
    sharpness,
    wilson_interval,
)

pytestmark = pytest.mark.filterwarnings("error")


def pits(seed: int, replications: int = 400, n: int = 1000, too_narrow: float = 1.0) -> np.ndarray:
    """PIT of normal laws whose deviation is `too_narrow` times the right one."""
    return stats.norm.cdf(np.random.default_rng(seed).normal(size=(replications, n)) / too_narrow)


def volatile(seed: int, n: int) -> np.ndarray:
    """PIT of a constant law when volatility really comes in waves."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * np.exp(0.5 * lfilter([0.3], [1, -0.95], rng.normal(size=n)))
    return stats.rankdata(z) / (n + 1)


def test_berkowitz_is_the_likelihood_ratio_of_an_autoregression():
    x = lfilter([1], [1, -0.3], np.random.default_rng(0).normal(0.1, 1.2, 300))
    found = berkowitz(stats.norm.cdf(x))
    fit = AutoReg(x, lags=1).fit()
    ratio = 2 * (fit.llf - stats.norm.logpdf(x[1:]).sum())
    assert found.test.statistic == pytest.approx(ratio, rel=1e-9)
    assert found.test.p_value == pytest.approx(stats.chi2.sf(ratio, 3), rel=1e-9)
    assert found.autoregression == pytest.approx(fit.params[1])
    assert (found.mean, found.standard_deviation) == pytest.approx((x.mean(), x.std()))


@pytest.mark.parametrize("lags", [1, 10, 20])
def test_ljung_box_is_that_of_statsmodels(lags):
    series = lfilter([1], [1, -0.1], np.random.default_rng(lags).normal(size=500))
    oracle = acorr_ljungbox(series, lags=[lags]).iloc[0]
    found = ljung_box(series, lags)
    assert (found.statistic, found.p_value) == pytest.approx((oracle["lb_stat"], oracle["lb_pvalue"]), rel=1e-9)


@pytest.mark.parametrize(
    "p_value",
    [
        lambda u: berkowitz(u).test.p_value,
        lambda u: ljung_box(u).p_value,
        lambda u: ljung_box((u - 0.5) ** 2).p_value,
    ],
    ids=["berkowitz", "ljung_box", "ljung_box_squares"],
)
def test_under_the_truth_p_values_are_uniform(p_value):
    p = np.array([p_value(u) for u in pits(seed=1)])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_laws_that_are_too_narrow_are_rejected_and_the_figures_say_why():
    for u in pits(seed=2, replications=20, too_narrow=0.8):
        found = berkowitz(u)
        assert found.test.p_value < 1e-3
        assert found.standard_deviation == pytest.approx(1.25, abs=0.1)
        assert coverage(u)[90].high < 0.9


def test_missed_volatility_shows_in_the_squares_though_every_decile_is_right():
    u = volatile(seed=3, n=2000)
    assert deciles(u).largest_error_points < 0.1
    assert ljung_box(u).p_value > 1e-4
    assert ljung_box((u - 0.5) ** 2).p_value < 1e-6


def test_deciles_count_tenths_with_both_ends():
    counts, error = deciles(np.array([0.0, 0.05, 0.15, 0.999, 1.0]))
    assert counts.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert error == pytest.approx(30)
    assert deciles((np.arange(1000) + 0.5) / 1000).largest_error_points == pytest.approx(0)


def test_coverage_counts_outcomes_between_the_quantiles():
    rng = np.random.default_rng(4)
    outcomes, scale = rng.standard_t(5, 3000), rng.uniform(0.5, 2, 3000)
    found = coverage(stats.norm.cdf(outcomes / scale))
    for level in COVERAGE_LEVELS:
        half = scale * stats.norm.ppf(0.5 + level / 200)
        share = (np.abs(outcomes) <= half).mean()
        assert found[level].value == pytest.approx(share)
        assert found[level].low <= share <= found[level].high


def test_coverage_intervals_hold_the_truth_about_as_often_as_they_say():
    found = [coverage(u, seed=i)[80] for i, u in enumerate(pits(seed=5, replications=150))]
    assert 0.88 < np.mean([each.low <= 0.8 <= each.high for each in found]) < 0.99


def test_coverage_of_assets_that_move_together_is_no_surer_than_that_of_one():
    u = pits(seed=6, replications=1)[0]
    panel = coverage(np.repeat(u, 4), np.repeat(np.arange(len(u)), 4))
    for level, one in coverage(u).items():
        assert panel[level] == pytest.approx(one)


def test_sharpness_is_the_mean_width():
    assert sharpness(np.array([-1.0, -2.0]), np.array([1.0, 4.0])) == 4
    assert np.isnan(sharpness(np.empty(0), np.empty(0)))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (7, 10), (668, 1258), (1, 1)])
def test_the_interval_of_a_share_is_wilsons(successes, n):
    found = wilson_interval(successes, n)
    oracle = proportion_confint(successes, n, alpha=0.05, method="wilson")
    np.testing.assert_allclose(found, [successes / n, *oracle], atol=1e-12)


def test_a_forecast_that_always_says_up_has_no_edge_in_a_rising_market():
    returns = np.random.default_rng(8).normal(0.1, 1, 1000)
    found = direction(np.ones(1000), returns)
    assert found.correct.value == found.majority == (returns > 0).mean() > 0.5
    assert not found.beats_majority
    assert direction(-np.ones(1000), returns).correct.value == pytest.approx(1 - found.majority)
    assert direction(returns, returns).beats_majority


def test_days_without_a_move_count_for_no_one_and_a_forecast_of_zero_is_a_miss():
    found = direction(np.array([1.0, 1.0, 0.0, 0.0]), np.array([2.0, 0.0, -1.0, 3.0]))
    assert found.n == 3
    assert found.correct.value == pytest.approx(1 / 3)
    assert found.majority == pytest.approx(2 / 3)


def test_too_little_to_test_is_nan_and_never_a_verdict():
    for u in (np.empty(0), np.array([0.3]), np.full(4, 0.5), np.full(100, 0.5)):
        assert np.isnan(berkowitz(u).test.p_value)
        assert np.isnan(ljung_box(u).p_value)
    for u in (np.zeros(50), np.ones(50)):
        assert np.isnan(berkowitz(u).test.p_value)
        assert coverage(u)[99].value == 0
    assert np.isfinite(berkowitz(np.tile([0.0, 1.0, 1.0], 20)).test).all()
    assert np.isnan(coverage(np.empty(0))[50]).all()
    assert np.isnan(deciles(np.empty(0)).largest_error_points)
    nothing = direction(np.ones(3), np.zeros(3))
    assert np.isnan(nothing.majority)
    assert not nothing.beats_majority
