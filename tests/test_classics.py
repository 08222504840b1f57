"""The classics are what their formulas say, see nothing that comes after, and come out where they were measured."""

import json

import numpy as np
import pytest
from arch import arch_model
from arch.univariate import SkewStudent as ArchSkewStudent
from helpers import garch_series
from scipy.optimize import minimize
from scipy.special import gammaln

from data_pipeline import BadInput, load_bars, return_series
from data_pipeline.bars import log_range
from data_pipeline.sources import bundled
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.volatility import WARMUP
from mqc_jax.evaluation.classics import (
    BASELINES,
    CLASSICS,
    Asset,
    Refit,
    annual_refits,
    scored_rows,
    walk_forward,
)
from mqc_jax.evaluation.classics.garch import MODELS, fit_garch, garch_volatility
from mqc_jax.evaluation.classics.season import in_season, seasonal_factor
from mqc_jax.evaluation.classics.simple import Markov
from mqc_jax.evaluation.classics.volatility_regression import MEAN_LOG_RANGE, VolatilityRegression
from mqc_jax.evaluation.scores import mean_by_date
from mqc_jax.laws.law import Empirical

N, CUT = 1500, 1000
ROWS = np.arange(CUT, N)
POINTS = np.linspace(-0.05, 0.05, 41)


def asset(seed: int = 0, n: int = N, **changes) -> Asset:
    """GARCH-t returns with a daily range that tells the volatility, and a few days without one."""
    rng = np.random.default_rng(seed)
    series = garch_series(n, seed)
    seen = log_range(np.exp(np.abs(series.log_returns) + 0.01 * rng.gamma(3, size=n)), np.ones(n))
    seen[rng.random(n) < 0.02] = np.nan
    returns = series.log_returns.copy()
    returns[rng.random(n) < 0.02] = 0.0
    fields = {"returns": returns, "log_range": seen} | changes
    return Asset.of("A", series.times, fields["returns"], fields["log_range"])


def cdf(classic, parameters, history: Asset, rows: np.ndarray = ROWS) -> np.ndarray:
    return classic.law(parameters, history, rows).cdf(np.tile(POINTS, (len(rows), 1)))


def fitted(name: str, history: Asset):
    return CLASSICS[name].fit(history.until(CUT))


@pytest.mark.parametrize("kind", MODELS)
def test_the_filter_is_archs(kind):
    """Exactly on the training returns. Beyond, arch restarts from other returns, which is forgotten after a while."""
    history = asset()
    found = fit_garch(history.returns[:CUT], kind)
    values = {"Const": found.mean, "omega": found.omega, "alpha": found.alpha, "gamma": found.gamma}
    values |= {"beta": found.beta, "nu": found.nu, "eta": found.nu, "lambda": found.skewness}

    def archs(n):
        model = arch_model(history.returns[:n] / found.unit, rescale=False, **MODELS[kind])
        names = ["Const", *model.volatility.parameter_names(), *model.distribution.parameter_names()]
        return model.fix([values[name.removesuffix("[1]")] for name in names])

    ours = garch_volatility(history.returns, kind, found) / found.unit
    np.testing.assert_allclose(ours[:CUT], archs(CUT).conditional_volatility, rtol=1e-12)
    np.testing.assert_allclose(ours[500:-1], archs(N).conditional_volatility[500:], rtol=1e-9)
    np.testing.assert_allclose(ours[-1] ** 2, archs(N).forecast(horizon=1).variance.to_numpy()[-1, 0], rtol=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_the_fit_does_not_depend_on_the_unit_of_returns(kind):
    returns = asset().returns
    one, other = fit_garch(returns, kind), fit_garch(returns / 1000, kind)
    volatility = garch_volatility(returns, kind, one)
    np.testing.assert_allclose(garch_volatility(returns / 1000, kind, other) * 1000, volatility, rtol=1e-4)
    assert other.nu == pytest.approx(one.nu, rel=1e-3)


def test_a_simulated_garch_gives_its_parameters_back():
    found = fit_garch(garch_series(20_000, seed=3).log_returns, "garch_t")
    assert found.converged
    assert found.omega * found.unit**2 == pytest.approx(2e-6, rel=0.4)
    assert found.alpha == pytest.approx(0.08, abs=0.015)
    assert found.beta == pytest.approx(0.90, abs=0.02)
    assert found.nu == pytest.approx(6, abs=0.8)
    assert found.mean * found.unit == pytest.approx(0, abs=2e-4)


@pytest.mark.parametrize("name", CLASSICS)
def test_laws_know_nothing_of_their_own_return_or_later(name):
    history = asset()
    parameters = fitted(name, history)
    t = 1200
    moved, ranges = history.returns.copy(), np.array(history.log_range)
    moved[t:] = np.random.default_rng(9).standard_t(3, N - t) * 0.1
    ranges[t:] += 1.0
    before = cdf(CLASSICS[name], parameters, history)
    after = cdf(CLASSICS[name], parameters, asset(returns=moved, log_range=ranges))
    n_known = t + 1 - CUT
    np.testing.assert_array_equal(after[:n_known], before[:n_known], err_msg=f"{name} sees what it should forecast")
    if name != "unconditional":
        moves = (after != before).any(axis=1)[n_known:]
        assert moves.mean() > 0.9, f"{name} does not follow the returns"


@pytest.mark.parametrize("name", CLASSICS)
def test_fits_know_nothing_after_their_training_dates(name):
    history = asset()
    moved, ranges = history.returns.copy(), np.array(history.log_range)
    moved[CUT:] *= 5
    ranges[CUT:] += 1.0
    last = history.times[-1] + 1
    seen = []

    def fit(classic, past):
        seen.append(json.dumps(classic.fit(past).to_json()))
        return classic.parameters.from_json(json.loads(seen[-1]))

    for each in (history, asset(returns=moved, log_range=ranges)):
        walk_forward(CLASSICS[name], each, [Refit(history.times[CUT], history.times[CUT], last)], fit)
    assert seen[0] == seen[1]
    moved[:CUT] *= 1 + 0.5 * np.random.default_rng(1).random(CUT)
    walk_forward(CLASSICS[name], asset(returns=moved), [Refit(history.times[CUT], history.times[CUT], last)], fit)
    assert (seen[2] == seen[0]) == (name == "historical_250")


@pytest.mark.parametrize("name", CLASSICS)
def test_parameters_survive_their_file_to_the_last_bit(name):
    history = asset()
    parameters = fitted(name, history)
    again = CLASSICS[name].parameters.from_json(json.loads(json.dumps(parameters.to_json())))
    np.testing.assert_array_equal(cdf(CLASSICS[name], again, history), cdf(CLASSICS[name], parameters, history))


def _rude(kind: str) -> np.ndarray:
    returns = asset().returns.copy()
    if kind == "constant":
        returns[:] = 0.0
    elif kind == "constant, then it moves":
        returns[: CUT + 100] = 0.0
    elif kind == "mostly zeros":
        returns[np.random.default_rng(2).random(N) < 0.9] = 0.0
    elif kind == "a crash":
        returns[[600, CUT + 50]] = -1.5, -3.0
    elif kind == "absurd prices":
        returns[CUT + 50 : CUT + 52] = 1e4, -1e4
    elif kind == "a halt":
        returns[500 : CUT + 50] = 0.0
    elif kind == "steady growth":
        returns[:] = 0.001
    return returns


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "kind",
    ["constant", "constant, then it moves", "mostly zeros", "a crash", "absurd prices", "a halt", "steady growth"],
)
@pytest.mark.parametrize("name", CLASSICS)
def test_scores_are_finite_whatever_the_history(name, kind):
    history = asset(returns=_rude(kind))
    law = CLASSICS[name].law(fitted(name, history), history, ROWS)
    assert np.isfinite(law.log_density(history.returns[ROWS])).all()
    cdf_NM = law.cdf(np.tile(POINTS, (len(ROWS), 1)))
    assert np.isfinite(cdf_NM).all() and (np.diff(cdf_NM, axis=1) >= 0).all()
    assert (cdf_NM >= 0).all() and (cdf_NM <= 1).all()


@pytest.mark.parametrize("reads, skewed", [("nothing", False), ("closes", True), ("ranges", True)])
def test_the_regression_is_at_its_maximum(reads, skewed):
    """By the likelihood of arch, which another optimizer cannot improve."""
    history, classic = asset(), VolatilityRegression(reads, skewed)
    found = classic.fit(history)
    assert found.converged
    x = found.design(classic._regressors(history)[WARMUP:])
    returns, volatility = history.returns[WARMUP:], history.volatility[WARMUP:]

    def loss(theta):
        mean, log_nu, skewness = theta[-3:]
        sigma2 = (volatility * np.exp(x @ theta[:-3])) ** 2
        law = [np.exp(log_nu), skewness * skewed]
        return -ArchSkewStudent().loglikelihood(law, returns - 0.01 * mean, sigma2) / len(returns)

    theta = np.array([*found.slopes, 100 * found.mean, np.log(found.nu), found.skewness])
    assert loss(theta) - minimize(loss, theta, method="BFGS").fun < 1e-7
    assert loss(theta) < loss(np.array([*0 * found.slopes, 0, np.log(8), 0])) - 1e-3


def _ranging_asset(n: int = 4000) -> Asset:
    """Log volatility is an AR(1) that closes show dimly and ranges clearly."""
    rng = np.random.default_rng(5)
    log_volatility = np.zeros(n)
    for t in range(1, n):
        log_volatility[t] = 0.9 * log_volatility[t - 1] + 0.25 * rng.standard_normal()
    volatility = 0.01 * np.exp(log_volatility)
    times = garch_series(n, 0).times
    return Asset.of("A", times, volatility * rng.standard_normal(n), np.log(volatility) + 0.05 * rng.standard_normal(n))


def _nats(classic, history: Asset, cut: int) -> float:
    rows = np.arange(cut, len(history.returns))
    return -float(classic.law(classic.fit(history.until(cut)), history, rows).log_density(history.returns[rows]).mean())


def test_a_range_that_tells_the_volatility_is_used():
    history = _ranging_asset()
    with_range, without = (_nats(VolatilityRegression(reads), history, 2500) for reads in ("ranges", "closes"))
    assert with_range < without - 0.02
    assert _nats(VolatilityRegression("ranges"), history._replace(log_range=None), 2500) == without


def test_a_missing_range_is_no_news():
    history = asset()
    parameters = fitted("vol_regression_range", history)
    gap, filled = np.array(history.log_range), np.array(history.log_range)
    gap[1100:1103] = np.nan
    filled[1100:1103] = np.log(history.volatility[1100:1103]) + MEAN_LOG_RANGE
    one, other = (
        cdf(CLASSICS["vol_regression_range"], parameters, history._replace(log_range=x)) for x in (gap, filled)
    )
    np.testing.assert_array_equal(one, other)
    nowhere = history._replace(log_range=np.full(N, np.nan))
    assert np.isfinite(_nats(CLASSICS["vol_regression_range"], nowhere, CUT))


def test_log_range_is_nan_where_a_bar_has_none():
    high, low = np.array([2.0, 1.0, np.nan, 1.0, np.inf]), np.array([1.0, 1.0, 1.0, 2.0, 1.0])
    np.testing.assert_array_equal(log_range(high, low), [np.log(np.log(2)), *[np.nan] * 4])


def test_the_mean_log_range_is_that_of_a_brownian_motion():
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.standard_normal((4000, 2000)).astype(np.float32), axis=1) / np.sqrt(2000)
    seen = np.log(np.maximum(path.max(axis=1), 0) - np.minimum(path.min(axis=1), 0))
    assert seen.mean() == pytest.approx(MEAN_LOG_RANGE, abs=0.04)


def test_historical_simulation_takes_the_returns_just_before():
    history = asset()
    law = CLASSICS["historical_250"].law(fitted("historical_250", history), history, ROWS)
    for n in (0, 7, len(ROWS) - 1):
        expected = Empirical(history.returns[None, ROWS[n] - 250 : ROWS[n]]).cdf(POINTS[None])
        np.testing.assert_array_equal(law.take(np.array([n])).cdf(POINTS[None]), expected)


def test_markov_concentrates_by_the_evidence():
    """Independent returns make its rows alike, returns of alternating sign do not: the counts decide."""
    z, sign = np.random.default_rng(4).standard_normal(6000), (-1.0) ** np.arange(6000)
    times, returns = garch_series(6000, 0).times, {"independent": 0.01 * z, "alternating": 0.01 * np.abs(z) * sign}
    found = {name: Markov().fit(Asset.of("A", times, values)) for name, values in returns.items()}
    apart = {name: np.abs(p.transitions() - p.bins.masses).sum(axis=1).mean() for name, p in found.items()}
    assert apart["independent"] < 0.05 < 0.7 < apart["alternating"]
    p = found["alternating"]

    def evidence(concentration):
        prior = concentration * p.bins.masses
        rows = [
            gammaln(concentration) - gammaln(concentration + row.sum()) + (gammaln(prior + row) - gammaln(prior)).sum()
            for row in p.counts_KK
        ]
        return sum(rows)

    best = evidence(p.concentration)
    assert all(best >= evidence(p.concentration * factor) for factor in (0.5, 0.9, 1.1, 2))
    np.testing.assert_allclose(p.transitions().sum(axis=1), 1)


def test_each_year_is_scored_with_the_fit_made_when_it_began():
    history = asset()
    refits = annual_refits(2002, 2004)
    assert [str(r.train_end)[:10] for r in refits] == ["2002-01-01", "2003-01-01", "2004-01-01"]
    rows = scored_rows(history, refits)
    assert str(history.times[rows[0]])[:10] == "2002-01-01" and rows[-1] == N - 1
    law = BASELINES["garch_t"](history, refits)
    assert len(law) == len(rows) == N - rows[0]
    alone = BASELINES["garch_t"](history, refits[1:2])
    mine = np.flatnonzero(np.isin(rows, scored_rows(history, refits[1:2])))
    points = np.tile(POINTS, (len(mine), 1))
    np.testing.assert_array_equal(law.take(mine).cdf(points), alone.cdf(points))
    frozen = BASELINES["garch_t"](history, [Refit(refits[0].train_end, refits[0].first, refits[2].last)])
    assert (frozen.take(mine).cdf(points) != alone.cdf(points)).any()


def test_a_refit_with_too_little_before_it_is_left_out():
    history = asset()
    early = annual_refits(2000, 2001)
    assert str(history.times[scored_rows(history, early)][0])[:10] == "2001-01-01"
    with pytest.raises(BadInput, match="A: no refit has 260 returns"):
        BASELINES["garch_t"](history, annual_refits(2000, 2000))


def test_the_pool_is_half_of_each():
    history, refits = asset(), annual_refits(2003, 2003)
    points = np.tile(POINTS, (len(scored_rows(history, refits)), 1))
    both = [BASELINES[name](history, refits).cdf(points) for name in ("gjr_skew_t", "egarch_t")]
    np.testing.assert_allclose(BASELINES["pool"](history, refits).cdf(points), np.mean(both, axis=0), atol=1e-15)


# pooled nats per return on the 64 shared bins, measured by another implementation
MEASURED = {"ewma_t": 4.0944, "garch_t": 4.0917, "gjr_skew_t": 4.0780, "egarch_t": 4.0783, "vol_regression": 4.0704}
MEASURED |= {"vol_regression_range": 4.0630}


def _bundled() -> list[Asset]:
    assets = []
    for series in return_series(load_bars("bundled")):
        bars = bundled.bars(series.unique_id)
        seen = log_range(bars["high"].to_numpy()[1:], bars["low"].to_numpy()[1:]) if "high" in bars else None
        assets.append(Asset.of(series.unique_id, series.times, series.log_returns, seen))
    return assets


@pytest.mark.slow
def test_scores_on_real_returns_are_those_measured_before():
    """2014 to 2018, refitted each year, on exact quantiles of the z of 2010 and before."""
    assets, refits = _bundled(), annual_refits(2014, 2018)
    z = [(a.returns / a.volatility)[WARMUP : np.searchsorted(a.times, np.datetime64("2011-01-01"))] for a in assets]
    edges = np.quantile(np.concatenate(z), fine_tail_levels(128)[1::2])
    rows = [scored_rows(a, refits) for a in assets]
    times = np.concatenate([a.times[r] for a, r in zip(assets, rows, strict=True)])
    for name, measured in MEASURED.items():
        nats = []
        for a, r in zip(assets, rows, strict=True):
            below = BASELINES[name](a, refits).cdf(a.volatility[r, None] * edges)
            masses = np.diff(below, axis=1, prepend=0, append=1)
            k = np.searchsorted(edges, a.returns[r] / a.volatility[r], side="right")
            nats.append(-np.log(masses[np.arange(len(r)), k]))
        assert mean_by_date(np.concatenate(nats), times).mean() == pytest.approx(measured, abs=0.002), name


def hourly(season, n_days=500):
    """Hourly returns of a GARCH, larger at noon by `season`."""
    series = garch_series(24 * n_days, 5)
    times = np.datetime64("2000-01-01", "ns") + np.arange(1, len(series) + 1) * np.timedelta64(1, "h")
    factor = np.where((times - times.astype("datetime64[D]")) == np.timedelta64(12, "h"), season, 1.0)
    return Asset.of("H", times, series.log_returns * factor), factor


def test_classics_know_the_season_of_the_day():
    hours, _ = hourly(3.0)
    refits = [Refit(*np.array(["2001-01-01", "2001-01-01", "2001-05-01"], "datetime64[ns]"))]
    rows = scored_rows(hours, refits)
    blind = walk_forward(CLASSICS["garch_t"], hours, refits)
    law = in_season(BASELINES["garch_t"], hours, refits)
    gain = law.log_density(hours.returns[rows]) - blind.log_density(hours.returns[rows])
    assert gain.mean() > 0.02
    other = hours._replace(returns=np.where(hours.times >= refits[0].first, 0.5, 1.0) * hours.returns)
    early = in_season(BASELINES["garch_t"], Asset.of("H", other.times, other.returns), refits)
    np.testing.assert_array_equal(
        early.take(slice(0, 1)).cdf(np.array([[0.01]])), law.take(slice(0, 1)).cdf(np.array([[0.01]]))
    )


def test_without_a_season_factors_are_one_and_daily_bars_are_as_they_were():
    hours, factor = hourly(1.0)
    np.testing.assert_allclose(seasonal_factor(hours, 10_000), factor, atol=0.25)
    daily = garch_series(1500, 5)
    days = Asset.of("D", daily.times, daily.log_returns)
    refits = annual_refits(2003, 2003)
    rows = scored_rows(days, refits)
    law, plain = in_season(BASELINES["ewma_t"], days, refits), walk_forward(CLASSICS["ewma_t"], days, refits)
    np.testing.assert_array_equal(law.log_density(days.returns[rows]), plain.log_density(days.returns[rows]))
