"""Reference paths follow the laws they name."""

import numpy as np
import pytest
from arch.univariate import SkewStudent
from helpers import garch_series
from scipy import stats

from mqc_jax.evaluation.calibration import ljung_box
from mqc_jax.evaluation.classics.garch import MODELS, GarchParameters, fit_garch, garch_volatility
from mqc_jax.evaluation.reference_paths import (
    BURN_IN,
    reference_paths,
    simulate_garch,
    simulate_iid_t,
    skewed_t,
    stationary_bootstrap,
)
from mqc_jax.evaluation.stylized_facts import measure
from mqc_jax.laws.law import SkewStudent as SkewStudentLaw

pytestmark = pytest.mark.filterwarnings("error")

FITS = {
    "garch_t": GarchParameters(0.01, 0.03, 0.02, 0.08, 0.0, 0.90, 6.0, 0.0, 5.0, converged=True),
    "gjr_skew_t": GarchParameters(0.01, 0.03, 0.02, 0.01, 0.12, 0.90, 7.0, -0.3, 5.0, converged=True),
    "egarch_t": GarchParameters(0.01, 0.03, 0.0, 0.15, -0.12, 0.97, 8.0, 0.0, 5.0, converged=True),
}


@pytest.mark.parametrize(("nu", "skewness"), [(2.6, 0.0), (5.0, -0.4), (30.0, 0.7)])
def test_skewed_t_is_hansens_standardised(nu, skewness):
    draws = skewed_t(nu, skewness, 20_000, np.random.default_rng(0))
    assert stats.kstest(draws, lambda x: SkewStudent().cdf(x, np.array([nu, skewness]))).pvalue > 0.01


@pytest.mark.parametrize("kind", MODELS)
def test_the_filter_finds_independent_innovations_of_the_fitted_law(kind):
    fit = FITS[kind]
    path = simulate_garch(fit, kind, 1, 6000, np.random.default_rng(0))[0]
    volatility = garch_volatility(path, kind, fit)[:-1]
    z = ((path - fit.unit * fit.mean) / volatility)[BURN_IN:]
    law = SkewStudentLaw(np.zeros(1), np.ones(1), fit.nu, fit.skewness)
    u = law.cdf(z[None])[0]
    assert stats.kstest(u, "uniform").pvalue > 0.01
    assert ljung_box(u).p_value > 0.01 and ljung_box((u - 0.5) ** 2).p_value > 0.01
    assert ljung_box(np.abs(path)).p_value < 1e-6


def test_paths_start_in_the_stationary_law_and_are_independent():
    """ω / (1 − α − β) is the variance, whatever variance the fit started from."""
    fit = FITS["garch_t"]
    paths = simulate_garch(fit, "garch_t", 4000, 3, np.random.default_rng(1)) / fit.unit - fit.mean
    assert (paths**2).mean(axis=0) == pytest.approx(fit.omega / (1 - fit.alpha - fit.beta), rel=0.2)
    assert abs(np.corrcoef(paths[:2000, 0], paths[2000:, 0])[0, 1]) < 0.08
    assert paths.mean() == pytest.approx(0, abs=0.05)


def test_refitting_to_a_simulation_recovers_the_parameters():
    true = FITS["gjr_skew_t"]
    found = fit_garch(simulate_garch(true, "gjr_skew_t", 1, 20_000, np.random.default_rng(3))[0], "gjr_skew_t")
    assert (found.beta, found.nu, found.skewness) == pytest.approx((true.beta, true.nu, true.skewness), rel=0.15)
    assert (found.alpha, found.gamma) == pytest.approx((true.alpha, true.gamma), abs=0.03)


@pytest.mark.parametrize("nu", [2.2, 6.0])
def test_iid_t_has_the_spread_and_tails_it_was_fitted_to_and_no_memory(nu):
    past = 0.0003 + 0.01 * np.random.default_rng(0).standard_t(nu, 4000)
    paths = simulate_iid_t(past, 20, 5000, np.random.default_rng(1))
    assert stats.kstest(paths.ravel(), stats.t(*stats.t.fit(past)).cdf).pvalue > 0.01
    assert np.abs(measure(paths)["acf_abs_returns"].mean()) < 0.005


@pytest.mark.parametrize("mean_block", [1, 10, 250])
def test_the_bootstrap_keeps_blocks_of_the_mean_length(mean_block):
    n = 1000
    paths = stationary_bootstrap(np.arange(n), 200, mean_block, np.random.default_rng(0))
    goes_on = (np.diff(paths, axis=1) % n == 1).mean()
    assert goes_on == pytest.approx(1 - 1 / mean_block + 1 / mean_block / n, abs=0.003)
    assert np.bincount(paths.ravel(), minlength=n).std() < 10 * np.sqrt(200 * mean_block)
    assert paths.mean() == pytest.approx((n - 1) / 2, rel=0.06)


def test_long_blocks_keep_the_memory_that_short_ones_destroy():
    series = garch_series(5000, seed=0).log_returns
    rng = np.random.default_rng(0)
    real = measure(series[None])["acf_abs_returns"][0]
    long, short = (
        np.median(measure(stationary_bootstrap(series, 40, block, rng))["acf_abs_returns"]) for block in (250, 10)
    )
    assert short < 0.3 * real < 0.6 * real < long


def test_same_seed_same_paths_and_no_law_sees_the_real_returns():
    past, real = garch_series(1500, seed=1).log_returns, garch_series(600, seed=2).log_returns
    first, again = (reference_paths(real, past, 5, seed=4) for _ in range(2))
    other_real = reference_paths(3 * real, past, 5, seed=4)
    other_seed = reference_paths(real, past, 5, seed=5)
    for name, paths in first.items():
        assert paths.shape == (5, 600)
        np.testing.assert_array_equal(paths, again[name])
        assert (paths != other_seed[name]).any()
        assert (paths == other_real[name]).all() == (name != "bootstrap")


@pytest.mark.parametrize("past", [np.zeros(300), np.full(300, 0.001), np.random.default_rng(0).normal(0, 0.01, 100)])
def test_any_past_gives_finite_paths(past):
    for paths in reference_paths(past, past, 20).values():
        assert np.isfinite(paths).all()
