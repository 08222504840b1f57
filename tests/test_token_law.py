"""Exact figures of one-step laws: quantiles undo CDFs, and means below them are what integrals and draws say."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from helpers import garch_series
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import genpareto

from data_pipeline import BadInput, ReturnTokenizer
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from mqc_jax.laws import distribution
from mqc_jax.laws.token_law import TokenLaw

LEVELS = np.array([1e-6, 1e-3, 0.01, 0.025, 0.05, 0.3, 0.5, 0.95, 0.99, 1 - 1e-6])
BINS = Bins.fit(np.random.default_rng(0).standard_t(4, 20_000), fine_tail_levels(32))
KINDS = ["quantile", "uniform", "volatility", "rolling", "rolling delta", "rolling pct_oc"]
SERIES = garch_series(1500, 0)
masses = st.tuples(st.integers(0, 10**6), st.sampled_from([0.02, 0.3, 3.0])).map(
    lambda drawn: np.random.default_rng(drawn[0]).dirichlet(np.full(len(BINS.values), drawn[1]), 3)
)
levels = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=5).map(np.array)


@lru_cache
def law(kind: str, volatility: float = 1.0) -> TokenLaw:
    """Random masses over the bins of the last 5 returns, in a market this many times as volatile."""
    returns = volatility * SERIES.log_returns
    kind, _, signal = kind.partition(" ")
    tokenizer = ReturnTokenizer.fit(kind, [returns], 32, signal or "log_return")
    masses_NK = np.random.default_rng(1).dirichlet(np.full(32, 2.0), 5)
    return TokenLaw(tokenizer, tokenizer.known_before(returns)[-5:], masses_NK)


def integral_of_quantiles(law: TokenLaw, row: int, level: float, power: int = 1) -> float:
    """∫ Q(p) ** power dp up to the level, bin by bin, in the logarithm of p or 1 − p at the ends."""
    one = law.take(np.array([row]))

    def quantile(p: float) -> float:
        return one.quantile(np.array([p]))[0, 0] ** power

    upto = np.cumsum(one.masses_NK[0])
    ends = [0.0, *upto[:-1][upto[:-1] < level], level]
    total = quad(lambda s: quantile(ends[1] * np.exp(-s)) * ends[1] * np.exp(-s), 0, 30, limit=500, epsabs=1e-12)[0]
    for low, high in pairwise(ends[1:]):
        if high < 1:
            total += quad(quantile, low, high, epsabs=1e-13)[0]
        else:
            total += quad(lambda s, w=1 - low: quantile(1 - w * np.exp(-s)) * w * np.exp(-s), 0, 30, limit=500)[0]
    return total


@settings(deadline=None)
@given(levels, masses)
def test_quantiles_undo_the_cdf(levels, masses_NK):
    points_NM = distribution.quantile(levels, BINS, masses_NK)
    np.testing.assert_allclose(distribution.cdf(points_NM, BINS, masses_NK), np.tile(levels, (3, 1)), atol=1e-9)
    assert (np.diff(distribution.quantile(np.sort(levels), BINS, masses_NK)) >= 0).all()


@settings(deadline=None)
@given(masses)
def test_the_farthest_quantiles_undo_the_cdf_to_many_digits(masses_NK):
    ends = np.array([1e-6, 1 - 1e-6])
    found = distribution.cdf(distribution.quantile(ends, BINS, masses_NK), BINS, masses_NK)
    # a quantile is a rounded number: 1e-16 of it, times the density of a likely bin, is some 1e-15 of probability
    np.testing.assert_allclose(found[:, 0], 1e-6, rtol=1e-7)
    np.testing.assert_allclose(1 - found[:, 1], 1e-6, rtol=1e-7)


def test_a_quantile_is_never_in_a_bin_without_mass():
    masses_K = np.zeros(len(BINS.values))
    masses_K[[3, 7]] = 0.25, 0.75
    (points,) = distribution.quantile(np.array([0.1, 0.3, 1 - 1e-12]), BINS, masses_K * (1 - 1e-9))
    np.testing.assert_array_equal(BINS.assign(points - 1e-9), [3, 7, 7], err_msg="masses add up to 1 but for rounding")
    least = distribution.quantile(np.array([0.25]), BINS, masses_K)
    assert least == pytest.approx(BINS.edges[3]), "the least of the points that are not exceeded so often"


def density_below(level: float, masses_K: np.ndarray) -> float:
    """∫ x f(x) dx up to the quantile, over its level: the definition, with scipy's Pareto."""
    (point,) = distribution.quantile(np.array([level]), BINS, masses_K)[0]

    def integrand(x: float) -> float:
        return x * np.exp(distribution.log_density(np.array([x]), BINS, masses_K)[0])

    outer = min(point, BINS.edges[0])
    left, right = genpareto(BINS.left.shape, scale=BINS.left.scale), genpareto(BINS.right.shape, scale=BINS.right.scale)
    total = masses_K[0] * left.expect(lambda x: BINS.edges[0] - x, lb=BINS.edges[0] - outer, epsabs=1e-12)
    for low, high in pairwise(BINS.edges):
        total += quad(integrand, low, max(min(point, high), low), epsabs=1e-13)[0]
    if point > BINS.edges[-1]:
        total += masses_K[-1] * right.expect(lambda x: BINS.edges[-1] + x, ub=point - BINS.edges[-1], epsabs=1e-12)
    return total / level


@pytest.mark.parametrize("level", LEVELS)
def test_the_mean_below_a_quantile_is_the_integral_of_the_density(level):
    masses_NK = np.random.default_rng(2).dirichlet(np.full(len(BINS.values), 2.0), 3)
    expected = [density_below(level, masses_K) for masses_K in masses_NK]
    found = distribution.mean_below(np.array([level]), BINS, masses_NK)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_figures_are_those_of_a_million_draws():
    rng, n = np.random.default_rng(3), 10**6
    masses_K = rng.dirichlet(np.full(len(BINS.values), 2.0))
    drawn = np.sort(BINS.place(rng.choice(len(masses_K), n, p=masses_K), rng.uniform(size=n)))
    levels = np.array([0.001, 0.01, 0.05, 0.5, 0.99])
    quantiles = distribution.quantile(levels, BINS, masses_K)[0]
    share = np.searchsorted(drawn, quantiles) / n
    assert (np.abs(share - levels) < 4 * np.sqrt(levels * (1 - levels) / n)).all()
    for level, found in zip(levels, distribution.mean_below(levels, BINS, masses_K)[0], strict=True):
        worst = drawn[: round(n * level)]
        error = np.sqrt(worst.var() + (1 - level) * (worst[-1] - worst.mean()) ** 2) / np.sqrt(n * level)
        assert abs(found - worst.mean()) < 4 * error
    assert abs(distribution.mean(BINS, masses_K)[0] - drawn.mean()) < 4 * drawn.std() / 1e3
    spread = np.sqrt(((drawn - drawn.mean()) ** 2).std() / 1e3) / drawn.std()
    assert abs(distribution.standard_deviation(BINS, masses_K)[0] / drawn.std() - 1) < 4 * spread


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_of_returns_undo_their_cdf(kind):
    found = law(kind).cdf(law(kind).quantile(LEVELS))
    np.testing.assert_allclose(found, np.tile(LEVELS, (5, 1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(1 - found[:, -1], 1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.001, 0.01, 0.05, 0.7])
def test_expected_shortfall_is_the_mean_of_the_quantiles_below(kind, level):
    shortfall = law(kind).expected_shortfall(np.array([level]))[:, 0]
    expected = [integral_of_quantiles(law(kind), row, level) / level for row in (0, 4)]
    np.testing.assert_allclose(shortfall[[0, 4]], expected, atol=1e-6, rtol=1e-6)
    assert (shortfall < law(kind).quantile(np.array([level]))[:, 0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_standard_deviation_are_those_of_the_quantiles(kind):
    one = law(kind)
    mean, square = (integral_of_quantiles(one, 2, 1 - 1e-15, power) for power in (1, 2))
    assert one.mean()[2] == pytest.approx(mean, abs=1e-6)
    assert one.standard_deviation()[2] == pytest.approx(np.sqrt(square - mean**2), rel=1e-4)
    np.testing.assert_allclose(one.expected_shortfall(np.array([1 - 1e-9]))[:, 0], one.mean(), atol=1e-7)


@pytest.mark.parametrize("kind", ["rolling delta", "rolling pct_oc"])
def test_a_price_that_may_lose_all_of_itself_has_a_finite_shortfall(kind):
    wild = law(kind, 6.0)  # 6 % a day
    level = np.array([0.001, 0.01])
    assert wild.cdf(np.full((5, 1), -13.0)).min() > 1e-7, "ruin has a probability that counts"
    expected = [[integral_of_quantiles(wild, row, p) / p for p in level] for row in (0, 3)]
    np.testing.assert_allclose(wild.expected_shortfall(level)[[0, 3]], expected, atol=1e-6)


def test_figures_of_rows_taken_apart_are_the_same():
    rows = np.tile(np.arange(5), 40)
    many = law("rolling delta").take(rows)
    np.testing.assert_array_equal(
        many.expected_shortfall(LEVELS), law("rolling delta").expected_shortfall(LEVELS)[rows]
    )
    np.testing.assert_array_equal(many.quantile(LEVELS), law("rolling delta").quantile(LEVELS)[rows])


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 5.0, np.nan])
def test_a_level_that_is_no_probability_is_one_line(level):
    for figure in (law("volatility").quantile, law("rolling delta").expected_shortfall):
        with pytest.raises(BadInput, match=r"^level=\S+ is not a probability between 0 and 1; write 5 % as 0.05$"):
            figure(np.array([0.01, level]))
