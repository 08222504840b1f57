"""Comparisons against statsmodels and arch, and what they say when the answer is known."""

import numpy as np
import pytest
import statsmodels.api as sm
from arch.bootstrap import CircularBlockBootstrap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from data_pipeline import BadInput
from mqc_jax.evaluation.comparison import (
    block_bootstrap_interval,
    block_length,
    diebold_mariano,
    edge,
    model_confidence_set,
    pinball,
    weighted_quantile_loss,
)

pytestmark = pytest.mark.filterwarnings("error")


def autoregression(rng: np.random.Generator, shape: tuple[int, ...], memory: float = 0.5) -> np.ndarray:
    return lfilter([1], [1, -memory], rng.normal(size=shape), axis=-1)


@pytest.mark.parametrize("n", [50, 400, 1258])
def test_diebold_mariano_is_a_regression_on_a_constant_with_hac_errors(n):
    rng = np.random.default_rng(n)
    losses, rival = autoregression(rng, (2, n))
    fit = sm.OLS(losses - rival, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": int(4 * (n / 100) ** (2 / 9)), "use_correction": False}
    )
    np.testing.assert_allclose(diebold_mariano(losses, rival), [fit.params[0], fit.bse[0], fit.pvalues[0]], rtol=1e-9)


def test_assets_that_move_together_are_one_observation_per_date():
    rng = np.random.default_rng(0)
    per_date = rng.normal(size=300)
    times = np.repeat(np.arange(300), 5)
    order = rng.permutation(len(times))
    panel = np.repeat(per_date, 5)[order]
    zero = np.zeros(300)
    np.testing.assert_allclose(
        diebold_mariano(panel, np.zeros(1500), times[order]), diebold_mariano(per_date, zero), rtol=1e-9
    )
    assert diebold_mariano(panel, np.zeros(1500)).standard_error < 0.6 * diebold_mariano(per_date, zero).standard_error


def test_of_equal_forecasts_about_one_in_twenty_looks_different():
    rng = np.random.default_rng(1)
    p = np.array([diebold_mariano(*autoregression(rng, (2, 800), memory=0.2)).p_value for _ in range(1500)])
    assert 0.03 < (p < 0.05).mean() < 0.09
    assert abs(p.mean() - 0.5) < 0.03


def test_a_forecast_that_is_better_on_average_is_found_better():
    rng = np.random.default_rng(2)
    found = diebold_mariano(rng.normal(-0.1, 1, 2000), rng.normal(0.1, 1, 2000))
    assert found.difference < 0
    assert found.p_value < 1e-3
    assert edge(found.difference, found.standard_error, "GARCH-t") == "better than GARCH-t"


@settings(max_examples=200)
@given(st.floats(-1, 1), st.floats(0, 1))
def test_no_edge_is_said_if_and_only_if_the_interval_contains_zero(difference, error):
    low, high = difference - 1.959963984540054 * error, difference + 1.959963984540054 * error
    sentence = edge(difference, error, "X")
    assert (sentence == "no edge over X") == (low <= 0 <= high)
    assert (sentence == "better than X") == (high < 0)
    assert (sentence == "worse than X") == (low > 0)


def test_too_few_dates_and_equal_losses_make_no_claim():
    one = diebold_mariano(np.array([1.0]), np.array([2.0]))
    assert one.difference == -1
    assert np.isnan([one.standard_error, one.p_value]).all()
    assert edge(one.difference, one.standard_error, "X") == "no edge over X"
    assert np.isnan(diebold_mariano(np.empty(0), np.empty(0))).all()
    same = np.random.default_rng(0).normal(size=100)
    assert diebold_mariano(same, same) == (0, 0, 1)
    assert edge(0.0, 0.0, "X") == "no edge over X"
    assert diebold_mariano(np.ones(100), np.zeros(100)).p_value == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_are_not_finite_are_refused_by_row(bad):
    losses = np.zeros(9)
    losses[7] = bad
    with pytest.raises(BadInput, match=r"row 7"):
        diebold_mariano(np.zeros(9), losses)
    with pytest.raises(BadInput, match=r"losses of gpt.*row 7"):
        model_confidence_set({"garch": np.zeros(9), "gpt": losses})


@pytest.mark.parametrize("n", [2, 3, 30, 1258])
def test_the_bootstrap_draws_what_arch_draws(n):
    series = np.random.default_rng(n).normal(size=n)
    arch = CircularBlockBootstrap(block_length(n), series, seed=7)
    low, high = arch.conf_int(lambda x: x.mean(keepdims=True), reps=500, method="percentile")[:, 0]
    ours = block_bootstrap_interval(series, draws=500, seed=7)
    np.testing.assert_allclose(ours, [series.mean(), low, high], rtol=1e-9)


def test_the_interval_of_a_mean_allows_for_dependence():
    rng = np.random.default_rng(3)
    series = autoregression(rng, (300, 1000))
    ours = np.array([block_bootstrap_interval(x, draws=300, seed=i)[1:] for i, x in enumerate(series)])
    naive = 1.96 * series.std(axis=1) / np.sqrt(1000)
    holds = (ours[:, 0] <= 0) & (ours[:, 1] >= 0)
    assert 0.88 < holds.mean() < 0.98
    assert (np.abs(series.mean(axis=1)) <= naive).mean() < 0.82


def test_a_bootstrap_of_one_value_has_no_interval():
    value, low, high = block_bootstrap_interval(np.array([3.0]))
    assert value == 3
    assert np.isnan([low, high]).all()
    assert np.isnan(block_bootstrap_interval(np.empty(0))).all()
    assert block_bootstrap_interval(np.ones(20)) == (1, 1, 1)


def test_a_confidence_set_of_two_agrees_with_diebold_mariano():
    rng = np.random.default_rng(4)
    base = rng.normal(size=1500)
    for shift in (0.0, 0.02, 0.05):
        rival = base + rng.normal(shift, 1, 1500)
        p = model_confidence_set({"a": base, "b": rival}, draws=2000)
        assert max(p.values()) == 1
        assert min(p.values()) == pytest.approx(diebold_mariano(base, rival).p_value, abs=0.04)


def test_the_confidence_set_keeps_the_best_and_drops_the_worst_whatever_their_order():
    rng = np.random.default_rng(5)
    shared = rng.normal(size=1000)
    losses = {f"m{k}": shared + rng.normal(shift, 0.5, 1000) for k, shift in enumerate([0.0, 0.02, 0.1, 0.3])}
    p = model_confidence_set(losses, draws=500)
    assert min(p["m0"], p["m1"]) > 0.05
    assert p["m2"] < 0.05
    assert p["m3"] == 0
    assert model_confidence_set(dict(reversed(losses.items())), draws=500) == p
    assert model_confidence_set(losses, draws=500, seed=1) != p


def test_the_confidence_set_usually_holds_all_of_equal_models():
    rng = np.random.default_rng(6)
    kept = [
        min(model_confidence_set(dict(zip("abc", rng.normal(size=(3, 250)), strict=True)), draws=200).values()) > 0.1
        for _ in range(60)
    ]
    assert 0.78 < np.mean(kept) < 0.98


def test_models_that_differ_by_a_constant_are_told_apart():
    loss, other = np.random.default_rng(7).normal(size=(2, 200))
    p = model_confidence_set({"a": loss, "a again": loss, "a worse": loss + 1, "far worse": loss + 2, "b": other})
    assert p["a"] == p["a again"] > 0.05
    assert p["b"] > 0.05
    assert p["a worse"] == p["far worse"] == 0
    assert model_confidence_set({"a": loss, "b": loss}) == {"a": 1, "b": 1}
    assert model_confidence_set({"a": np.ones(50), "b": np.zeros(50), "c": np.zeros(50)}) == {"a": 0, "b": 1, "c": 1}
    assert model_confidence_set({"alone": loss}) == {"alone": 1}
    assert np.isnan(model_confidence_set({"a": loss[:1], "b": other[:1]})["a"])


LEVELS = np.array([0.01, 0.25, 0.5, 0.9])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_pinball_charges_each_side_its_own_rate(seed):
    quantiles, outcomes = (
        np.random.default_rng(seed).normal(size=(30, 4)),
        np.random.default_rng(seed + 1).normal(size=30),
    )
    over, under = np.maximum(quantiles - outcomes[:, None], 0), np.maximum(outcomes[:, None] - quantiles, 0)
    np.testing.assert_allclose(pinball(quantiles, outcomes, LEVELS), (1 - LEVELS) * over + LEVELS * under, atol=1e-15)


def test_pinball_is_least_at_the_quantile():
    outcomes = np.random.default_rng(8).standard_t(4, 20_000)
    offers = np.linspace(-4, 4, 801)
    for level in LEVELS:
        loss = [pinball(np.full((20_000, 1), q), outcomes, np.array([level])).mean() for q in offers]
        assert offers[np.argmin(loss)] == pytest.approx(np.quantile(outcomes, level), abs=0.011)


def test_wql_of_a_median_is_relative_absolute_error():
    outcomes, medians = np.random.default_rng(9).normal(size=(2, 500))
    relative = np.abs(outcomes - medians).sum() / np.abs(outcomes).sum()
    assert weighted_quantile_loss(medians[:, None], outcomes, np.array([0.5])) == pytest.approx(relative)
    both = np.repeat(medians[:, None], 4, axis=1)
    mean = np.mean([weighted_quantile_loss(both[:, :1], outcomes, LEVELS[[k]]) for k in range(4)])
    assert weighted_quantile_loss(both, outcomes, LEVELS) == pytest.approx(mean)
    assert np.isnan(weighted_quantile_loss(medians[:, None], np.zeros(500), np.array([0.5])))
