"""Tests of value at risk and expected shortfall against their definitions, and how often they reject."""

from itertools import pairwise

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from data_pipeline import BadInput
from mqc_jax.evaluation.board import TAIL_DEPTHS, simulated_breaches
from mqc_jax.evaluation.risk import (
    breaches,
    christoffersen,
    dynamic_quantile,
    exceedances,
    expected_shortfall_test,
    fz0,
    kupiec,
    kupiec_range,
)

pytestmark = pytest.mark.filterwarnings("error")


def normal_risk(level: float, scale) -> tuple[np.ndarray, np.ndarray]:
    """Value at risk and expected shortfall of a normal law, as returns."""
    quantile = stats.norm.ppf(level)
    return scale * quantile, -scale * stats.norm.pdf(quantile) / level


def market(seed: int, n: int = 1258) -> tuple[np.ndarray, np.ndarray]:
    """Returns, and the deviation each was drawn with."""
    rng = np.random.default_rng(seed)
    scale = 0.01 * np.exp(0.4 * np.sin(np.arange(n) / 40) + 0.1 * rng.normal(size=n))
    return scale * rng.normal(size=n), scale


@pytest.mark.parametrize(
    ("n", "level", "accepted"),
    [
        (1258, 0.01, (7, 20)),
        (1258, 0.025, (22, 42)),
        (1258, 0.05, (49, 78)),
        (3523, 0.01, (25, 47)),
        (3523, 0.025, (71, 106)),
        (3523, 0.05, (152, 202)),
    ],
)
def test_the_accepted_numbers_of_exceedances(n, level, accepted):
    low, high = kupiec_range(n, level)
    assert (low, high) == accepted
    for count in (low, high):
        assert kupiec(np.arange(n) < count, level).p_value >= 0.05
    for count in (low - 1, high + 1):
        assert kupiec(np.arange(n) < count, level).p_value < 0.05


@pytest.mark.parametrize("count", [0, 1, 13, 100, 250])
def test_kupiec_is_a_ratio_of_binomial_likelihoods(count):
    ratio = 2 * (stats.binom.logpmf(count, 250, count / 250) - stats.binom.logpmf(count, 250, 0.05))
    found = kupiec(np.arange(250) < count, 0.05)
    assert found.statistic == pytest.approx(ratio, rel=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-9)


def test_christoffersen_is_the_likelihood_ratio_of_the_chain_itself():
    hits = np.random.default_rng(0).random(400) < 0.1
    pairs = list(pairwise(hits))
    after = {state: np.mean([now for before, now in pairs if before == state]) for state in (False, True)}
    always = hits[1:].mean()
    ratio = 2 * sum(
        stats.bernoulli.logpmf(now, after[before]) - stats.bernoulli.logpmf(now, always) for before, now in pairs
    )
    found = christoffersen(hits, 0.1)
    assert found.independence.statistic == pytest.approx(ratio, rel=1e-9)
    assert found.independence.p_value == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-9)
    both = ratio + kupiec(hits, 0.1).statistic
    assert found.conditional_coverage.p_value == pytest.approx(stats.chi2.sf(both, 2), rel=1e-9)


def test_dynamic_quantile_is_the_explained_part_of_a_regression():
    returns, scale = market(seed=1)
    var, _ = normal_risk(0.05, scale)
    hits = exceedances(returns, var)
    excess = hits - 0.05
    lagged = [[excess[t - k] for k in range(1, 5)] for t in range(4, len(hits))]
    fit = sm.OLS(excess[4:], sm.add_constant(np.column_stack([var[4:], lagged]))).fit()
    statistic = (fit.fittedvalues**2).sum() / (0.05 * 0.95)
    found = dynamic_quantile(hits, var, 0.05)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.degrees == 6
    assert found.p_value == pytest.approx(stats.chi2.sf(statistic, 6), rel=1e-9)


TESTS = {
    "kupiec": lambda hits, var: kupiec(hits, 0.05).p_value,
    "independence": lambda hits, var: christoffersen(hits, 0.05).independence.p_value,
    "conditional_coverage": lambda hits, var: christoffersen(hits, 0.05).conditional_coverage.p_value,
    "dynamic_quantile": lambda hits, var: dynamic_quantile(hits, var, 0.05).p_value,
}


@pytest.mark.parametrize("name", TESTS)
def test_right_forecasts_are_rejected_about_as_often_as_the_level_says(name):
    p = []
    for seed in range(400):
        returns, scale = market(seed, n=3523)
        var, _ = normal_risk(0.05, scale)
        p.append(TESTS[name](exceedances(returns, var), var))
    assert 0.02 < np.mean(np.less(p, 0.05)) < 0.09
    assert abs(np.mean(p) - 0.5) < 0.06


@pytest.mark.parametrize("name", ["kupiec", "conditional_coverage", "dynamic_quantile"])
def test_risk_forecast_a_fifth_too_small_is_rejected(name):
    for seed in range(20):
        returns, scale = market(seed)
        var, _ = normal_risk(0.05, 0.8 * scale)
        assert TESTS[name](exceedances(returns, var), var) < 0.01


def test_exceedances_of_the_right_number_that_come_together_are_found_dependent():
    together = np.arange(1200) % 200 < 10
    assert kupiec(together, 0.05).p_value > 0.99
    assert christoffersen(together, 0.05).independence.p_value < 1e-9
    assert dynamic_quantile(together, np.full(1200, -0.02), 0.05).p_value < 1e-9


def test_z1_and_z2_are_the_sums_of_the_paper():
    """In its convention: value at risk and expected shortfall are positive losses."""
    returns, scale = market(seed=2, n=500)
    var, es = normal_risk(0.05, scale)
    hit = returns + -var < 0
    ratios = returns[hit] / -es[hit]
    simulated = np.random.default_rng(0).normal(size=(200, 500)) * scale
    found = expected_shortfall_test(returns, var, es, 0.05, breaches(simulated, var, es))
    assert found.z1 == pytest.approx(ratios.sum() / hit.sum() + 1)
    assert found.z2 == pytest.approx(ratios.sum() / (500 * 0.05) + 1)
    one = breaches(simulated[:1], var, es)
    null = [expected_shortfall_test(row, var, es, 0.05, one) for row in simulated]
    assert found.z1_p_value == pytest.approx((1 + sum(z.z1 <= found.z1 for z in null)) / 201)
    assert found.z2_p_value == pytest.approx((1 + sum(z.z2 <= found.z2 for z in null)) / 201)


@pytest.mark.parametrize("too_small", [1.0, 0.8])
def test_shortfall_tests_hold_their_level_and_find_underestimated_risk(too_small):
    found = []
    for seed in range(200):
        returns, scale = market(seed, n=1000)
        var, es = normal_risk(0.025, too_small * scale)
        simulated = too_small * scale * np.random.default_rng(1000 + seed).normal(size=(99, 1000))
        found.append(expected_shortfall_test(returns, var, es, 0.025, breaches(simulated, var, es)))
    z1, p1, z2, p2 = np.transpose(found)
    if too_small == 1:
        for z, p in ((z1, p1), (z2, p2)):
            assert abs(z.mean()) < 3 * z.std() / np.sqrt(200)
            assert stats.kstest(p, "uniform").pvalue > 0.005
    else:
        assert z2.mean() < -0.5
        assert z1.mean() < 0
        assert (p2 < 0.05).mean() > 0.95


@pytest.mark.parametrize(("nu", "level"), [(4, 0.01), (3, 0.025), (6, 0.05)])
def test_the_board_s_shortfall_tests_hold_their_level_for_heavy_tails(nu, level):
    law = stats.t(nu)
    var = law.ppf(level)
    es = -law.pdf(var) / level * (nu + var**2) / (nu - 1)
    tails, es_T = np.tile(law.ppf(level * np.exp(-TAIL_DEPTHS)), (1258, 1)), np.full(1258, es)
    rng, rejected = np.random.default_rng(0), []
    null = simulated_breaches(tails, es_T, level, rng)
    for _ in range(1500):
        found = expected_shortfall_test(law.rvs(1258, random_state=rng), np.full(1258, var), es_T, level, null)
        rejected.append([found.z1_p_value < 0.05, found.z2_p_value < 0.05])
    assert (np.abs(np.mean(rejected, axis=0) - 0.05) < 0.02).all(), np.mean(rejected, axis=0)


def test_fz0_of_the_true_pair_is_the_log_of_the_shortfall_and_no_other_pair_has_less():
    returns = np.random.default_rng(3).normal(size=400_000)
    var, es = normal_risk(0.05, 1.0)
    everywhere = np.ones(len(returns))
    truth = fz0(returns, var * everywhere, es * everywhere, 0.05).mean()
    assert truth == pytest.approx(np.log(-es), abs=0.01)
    for change_var, change_es in [(0.9, 1), (1.1, 1), (1, 0.9), (1, 1.1), (0.8, 0.8), (1.2, 1.2)]:
        assert fz0(returns, change_var * var * everywhere, change_es * es * everywhere, 0.05).mean() > truth


def test_fz0_differences_do_not_depend_on_the_units():
    returns, scale = market(seed=4)
    var, es = normal_risk(0.025, scale)
    apart = fz0(returns, var, es, 0.025) - fz0(returns, 0.8 * var, 0.8 * es, 0.025)
    percent = fz0(100 * returns, 100 * var, 100 * es, 0.025) - fz0(100 * returns, 80 * var, 80 * es, 0.025)
    np.testing.assert_allclose(apart, percent, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 11, 12, 300])
@pytest.mark.parametrize("always", [False, True])
def test_no_exceedance_and_nothing_but_exceedances_give_finite_figures_or_nan(n, always):
    hits, var, es = np.full(n, always), np.full(n, -0.02), np.full(n, -0.03)
    returns = np.full(n, -0.05 if always else 0.01)
    expected = -2 * n * np.log(0.05 if always else 0.95)
    assert kupiec(hits, 0.05).statistic == pytest.approx(expected)
    chain = christoffersen(hits, 0.05)
    if n > 1:
        assert chain.independence == (0, 1, 1)
        assert chain.conditional_coverage.statistic == pytest.approx(expected)
    else:
        assert np.isnan(chain.conditional_coverage.p_value)
    quantile = dynamic_quantile(hits, var, 0.05)
    assert np.isnan(quantile.p_value) == (n < 16)
    if n >= 16:
        assert quantile.degrees == 1
        assert quantile.p_value < 1e-9 if always else quantile.p_value < 0.01
    shortfall = expected_shortfall_test(returns, var, es, 0.05, breaches(np.full((9, n), 0.01), var, es))
    if always:
        assert shortfall.z1 == pytest.approx(1 - 5 / 3)
        assert shortfall.z2 == pytest.approx(1 - 100 / 3)
        assert shortfall.z2_p_value == 0.1
    else:
        assert np.isnan([shortfall.z1, shortfall.z1_p_value]).all()
        assert (shortfall.z2, shortfall.z2_p_value) == (1, 1)
    assert np.isfinite(fz0(returns, var, es, 0.05)).all()


def test_no_rows_are_no_test():
    assert np.isnan(kupiec(np.empty(0, bool), 0.01).p_value)
    assert np.isnan(christoffersen(np.empty(0, bool), 0.01).independence.p_value)
    assert np.isnan(dynamic_quantile(np.empty(0, bool), np.empty(0), 0.01).p_value)
    assert kupiec_range(0, 0.01) == (0, 0)


def test_wrong_signs_and_percentages_are_refused():
    returns, scale = market(seed=5, n=50)
    var, es = normal_risk(0.05, scale)
    with pytest.raises(BadInput, match=r"es at row 0 .*below zero"):
        fz0(returns, var, -es, 0.05)
    with pytest.raises(BadInput, match=r"var at row 0"):
        fz0(returns, -var, es, 0.05)
    with pytest.raises(BadInput, match=r"es at row 3"):
        expected_shortfall_test(
            returns, var, np.where(np.arange(50) == 3, np.nan, es), 0.05, breaches(returns[None], var, es)
        )
    with pytest.raises(BadInput, match=r"level=5 .*0\.05"):
        kupiec(exceedances(returns, var), 5)
