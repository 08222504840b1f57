"""Simulated prices: each process has the moments its formulas promise, and a draw depends on (seed, asset) only."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from data_pipeline.errors import BadInput
from data_pipeline.sources.market import Market
from data_pipeline.sources.processes import Garch, Gjr, Hmm, Iid, Markov, Sv, stationary_law
from data_pipeline.sources.synthetic import PROCESSES, Synthetic, parse

TWO_STATES = ((0.9, 0.1), (0.3, 0.7))  # in the first 3/4 of the time
POSSIBLE = [(name, f.name) for name, kind in PROCESSES.items() for f in fields(kind)]


def simulate(process, n, seed=0):
    return process.simulate(n, np.random.default_rng(seed))


def kurtosis(x):
    return np.mean((x - x.mean()) ** 4) / np.var(x) ** 2


def autocorrelation(x, lag):
    centred = x - x.mean()
    return np.mean(centred[lag:] * centred[:-lag]) / np.var(x)


@pytest.mark.parametrize("kind", [Iid, Garch, Gjr, Sv])
def test_returns_have_the_volatility_and_mean_asked_for(kind):
    returns = simulate(kind(volatility=0.02, nu=20, mean=0.01), 400_000)
    assert returns.mean() == pytest.approx(0.01, abs=2e-4)
    assert returns.std() == pytest.approx(0.02, rel=0.03)


def test_iid_has_the_kurtosis_of_its_student_t_and_no_memory():
    returns = simulate(Iid(nu=12), 1_000_000)
    assert kurtosis(returns) == pytest.approx(3 + 6 / (12 - 4), abs=0.1)
    assert kurtosis(simulate(Iid(nu=math.inf), 1_000_000)) == pytest.approx(3, abs=0.03)
    assert abs(autocorrelation(returns**2, 1)) < 0.005


def test_garch_has_the_kurtosis_and_the_memory_of_the_closed_forms():
    """He and Teräsvirta (1999): kurtosis and autocorrelation of squares of a GARCH(1,1)."""
    alpha, beta, nu = 0.06, 0.88, 20.0
    squares = simulate(Garch(alpha=alpha, beta=beta, nu=nu), 2_000_000) ** 2
    fourth = 3 * (nu - 2) / (nu - 4)  # E z⁴
    expected = fourth * (1 - (alpha + beta) ** 2) / (1 - (alpha**2 * fourth + 2 * alpha * beta + beta**2))
    assert np.mean(squares**2) / np.mean(squares) ** 2 == pytest.approx(expected, rel=0.03)
    first = alpha * (1 - alpha * beta - beta**2) / (1 - 2 * alpha * beta - beta**2)
    for lag in (1, 5, 20):
        assert autocorrelation(squares, lag) == pytest.approx(first * (alpha + beta) ** (lag - 1), abs=0.012)


def test_gjr_follows_the_textbook_recursion():
    process = Gjr(alpha=0.03, gamma=0.1, beta=0.85, nu=5, mean=0.001)
    returns = simulate(process, 3_000)
    burn_in = 500 + int(10 / (1 - process.persistence))
    z = np.random.default_rng(0).standard_t(5, burn_in + 3_000) * math.sqrt(3 / 5)
    variance, expected = 1e-4, []
    for shock in z:
        residual = math.sqrt(variance) * shock
        expected.append(0.001 + residual)
        weight = 0.03 + (0.1 if residual < 0 else 0.0)
        variance = process.omega + weight * residual**2 + 0.85 * variance
    np.testing.assert_allclose(returns, expected[burn_in:], rtol=1e-11)


def test_garch_is_gjr_without_leverage():
    np.testing.assert_array_equal(
        simulate(Garch(alpha=0.05, beta=0.9), 100), simulate(Gjr(alpha=0.05, gamma=0, beta=0.9), 100)
    )


def test_only_gjr_answers_falls_with_more_volatility_than_rises():
    def leverage(process):
        returns = simulate(process, 500_000)
        return np.corrcoef(returns[:-1], returns[1:] ** 2)[0, 1]

    assert leverage(Gjr(alpha=0.02, gamma=0.15, beta=0.85, nu=20)) < -0.05
    assert leverage(Gjr(alpha=0.15, gamma=-0.13, beta=0.85, nu=20)) > 0.05
    assert abs(leverage(Garch(alpha=0.08, beta=0.85, nu=20))) < 0.015


@pytest.mark.parametrize("process", [Garch(nu=5), Gjr(nu=7, alpha=0.03, gamma=0.12, beta=0.88)])
def test_arch_finds_the_parameters_back(process):
    from arch import arch_model

    returns = 100 * simulate(process, 20_000, seed=4)
    order = 0 if isinstance(process, Garch) else 1
    fit = arch_model(returns, p=1, o=order, q=1, dist="t").fit(disp="off")
    truth = {"omega": 1e4 * process.omega, "alpha[1]": process.alpha, "beta[1]": process.beta, "nu": process.nu}
    truth |= {"gamma[1]": process.gamma} if isinstance(process, Gjr) else {}
    found, errors = (dict(zip(fit.params.index, np.asarray(v), strict=True)) for v in (fit.params, fit.std_err))
    for name, value in truth.items():
        assert abs(found[name] - value) < 4 * errors[name], f"{name}: found {found[name]:.4g}, not {value:.4g}"


def test_variance_starts_in_its_stationary_law():
    process = Garch(alpha=0.05, beta=0.93, nu=20)
    first = np.array([simulate(process, 1, seed)[0] for seed in range(1_500)])
    late = simulate(process, 400_000)
    assert first.std() == pytest.approx(0.01, rel=0.08)
    assert np.mean(np.abs(first) < 0.01) == pytest.approx(np.mean(np.abs(late) < 0.01), abs=0.04)


@pytest.mark.parametrize("phi", [0.97, -0.5, 0.0])
def test_sv_has_the_log_variance_of_an_ar1(phi):
    """ln r² = h + ln z², so its autocovariance at lag k > 0 is that of h, and at 0 it has π²/2 more for Gaussian z."""
    log_square = np.log(simulate(Sv(phi=phi, eta=0.2), 1_000_000) ** 2)
    variance = 0.2**2 / (1 - phi**2)
    assert np.var(log_square) == pytest.approx(variance + math.pi**2 / 2, rel=0.02)
    for lag in (1, 2, 10):
        found = autocorrelation(log_square, lag) * np.var(log_square)
        assert found == pytest.approx(variance * phi**lag, abs=0.03)


def test_sv_starts_in_its_stationary_law_and_may_stand_still():
    first = np.array([simulate(Sv(phi=0.99, eta=0.2), 1, seed)[0] for seed in range(4_000)])
    assert np.var(np.log(first**2)) == pytest.approx(0.2**2 / (1 - 0.99**2) + math.pi**2 / 2, rel=0.12)
    assert kurtosis(simulate(Sv(eta=0.0), 200_000)) == pytest.approx(3, abs=0.06)


def test_markov_levels_occur_and_follow_one_another_as_the_matrix_says():
    process = Markov()
    states = np.searchsorted(process.levels, simulate(process, 500_000))
    np.testing.assert_array_equal(np.array(process.levels)[states[:100]], simulate(process, 100))
    counts = np.zeros((5, 5))
    np.add.at(counts, (states[:-1], states[1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), process.transition, atol=0.006)
    np.testing.assert_allclose(counts.sum(axis=1) / counts.sum(), stationary_law(process.transition), atol=0.004)


def test_the_stationary_law_is_the_one_of_the_matrix():
    np.testing.assert_allclose(stationary_law(TWO_STATES), [0.75, 0.25])
    law = stationary_law(Hmm().transition)
    np.testing.assert_allclose(law @ np.array(Hmm().transition), law, atol=1e-12)
    np.testing.assert_allclose(stationary_law(((0.0, 1.0), (1.0, 0.0))), [0.5, 0.5])


def test_chains_start_in_the_stationary_law():
    starts = [simulate(Markov((-1.0, 1.0), TWO_STATES), 1, seed)[0] for seed in range(2_000)]
    assert np.mean(np.array(starts) < 0) == pytest.approx(0.75, abs=0.04)


def test_hmm_regimes_last_as_long_as_the_matrix_says_and_bring_their_own_volatility():
    """Means far apart let the regimes be read off the returns."""
    process = Hmm(volatility=(0.001, 0.002, 0.004), mean=(-1.0, 0.0, 1.0), nu=8)
    returns = simulate(process, 400_000)
    regime = np.rint(returns).astype(int) + 1
    np.testing.assert_allclose(np.bincount(regime) / len(regime), stationary_law(process.transition), atol=0.02)
    for state in range(3):
        assert returns[regime == state].std() == pytest.approx(process.volatility[state], rel=0.03)
        stay = np.mean(regime[1:][regime[:-1] == state] == state)
        assert stay == pytest.approx(process.transition[state][state], abs=0.004)


@pytest.mark.parametrize("name", PROCESSES)
def test_an_asset_depends_on_the_seed_and_its_number_only(name):
    market = Synthetic(PROCESSES[name](), n_symbols=8, n_bars=300, seed=5)
    whole = {symbol: market.bars(symbol) for symbol in market.symbols}
    smaller = replace(market, n_symbols=3)
    for symbol in reversed(smaller.symbols):  # another order, a smaller market
        assert smaller.bars(symbol)["close"].to_numpy().tobytes() == whole[symbol]["close"].to_numpy().tobytes()
    closes = {frame["close"].to_numpy().tobytes() for frame in whole.values()}
    assert len(closes) == 8
    assert replace(market, seed=6).bars(market.symbols[0])["close"].to_numpy().tobytes() not in closes


@pytest.mark.parametrize("name", PROCESSES)
def test_more_bars_continue_the_same_history(name):
    short, long = (Synthetic(PROCESSES[name](), n_bars=n) for n in (200, 500))
    symbol = short.symbols[1]
    np.testing.assert_array_equal(long.log_returns(symbol)[:199], short.log_returns(symbol))


def test_bars_are_canonical_and_carry_the_returns():
    market = parse("synthetic:garch?symbols=3&bars=400&interval=15min")
    assert market.symbols == ["GARCH-0000", "GARCH-0001", "GARCH-0002"]
    bars = market.bars("GARCH-0002")
    assert list(bars.columns) == ["unique_id", "ds", "close"] and len(bars) == 400
    assert set(bars["unique_id"]) == {"GARCH-0002"} and bars["ds"].dtype == "datetime64[ns]"
    assert bars["ds"].iloc[0] == np.datetime64("2000-01-01")
    assert set(np.diff(bars["ds"].to_numpy())) == {np.timedelta64(15, "m")}
    np.testing.assert_allclose(np.diff(np.log(bars["close"])), market.log_returns("GARCH-0002"), atol=1e-14)
    assert parse("synthetic:iid?bars=3").bars("IID-0001")["ds"].iloc[2] == np.datetime64("2000-01-03")


def test_the_text_sets_every_parameter():
    market = parse(
        "synthetic:gjr?symbols=20&bars=5000&seed=3&alpha=0.08&nu=7&gamma=0.05&beta=0.8&volatility=.02&mean=1e-4"
    )
    assert market == Synthetic(Gjr(0.02, 0.08, 0.05, 0.8, 7, 1e-4), 20, 5000, 3)
    assert parse("synthetic:sv?nu=inf&phi=0.9&eta=0.1") == Synthetic(Sv(phi=0.9, eta=0.1))
    chain = parse("synthetic:markov?levels=-0.01,0.02&transition=0.9,0.1/0.3,0.7")
    assert chain.process == Markov((-0.01, 0.02), TWO_STATES)


@pytest.mark.parametrize("name", PROCESSES)
def test_parameters_are_json_from_which_the_market_can_be_typed_again(name):
    market = Synthetic(PROCESSES[name](), n_symbols=7, n_bars=99, seed=11, interval="4h")
    figures = json.loads(json.dumps(market.parameters, allow_nan=False))

    def text(value):
        if not isinstance(value, list):
            return str(value)
        nested = isinstance(value[0], list)
        return ("/" if nested else ",").join(map(text, value))

    query = "&".join(f"{key}={text(value)}" for key, value in figures.items() if key != "process")
    assert parse(f"synthetic:{figures['process']}?{query}") == market


@pytest.mark.parametrize(("name", "parameter"), POSSIBLE)
def test_every_parameter_changes_the_returns(name, parameter):
    kind = PROCESSES[name]
    value, others = getattr(kind(), parameter), {"nu": 9.0, "phi": 0.5}
    if parameter == "transition":
        moved = tuple(reversed(value))
    elif isinstance(value, tuple):
        moved = tuple(0.9 * v for v in value)
    else:
        moved = others.get(parameter, 0.5 * value + 0.002)
    assert not np.array_equal(simulate(kind(**{parameter: moved}), 200), simulate(kind(), 200))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("synthetic:gach", "did you mean garch?"),
        ("synthetic:", "choose one of market, garch, gjr, sv, hmm, markov, iid"),
        ("synthetic:garch?alhpa=0.1", "did you mean alpha?"),
        ("synthetic:garch?gamma=0.1", "no parameter 'gamma'"),
        ("synthetic:garch?alpha=0.1&alpha=0.1", "alpha is given twice"),
        ("synthetic:garch?alpha=much", "alpha=much must be written like 0.08"),
        ("synthetic:garch?bars=1.5", "bars=1.5 must be written like 2500"),
        ("synthetic:garch?seed", "seed= must be written like 0"),
        ("synthetic:garch?alpha=0.2", "alpha + gamma/2 + beta = 1.1 must be at most 0.9999"),
        ("synthetic:garch?alpha=-0.1", "must not be negative"),
        ("synthetic:gjr?gamma=-0.1", "must not be negative"),
        ("synthetic:garch?alpha=nan", "must not be negative"),
        ("synthetic:garch?beta=inf", "at most 0.9999"),
        ("synthetic:garch?volatility=0", "volatility=0 must be positive"),
        ("synthetic:iid?nu=2", "nu=2 must be above 2"),
        ("synthetic:iid?mean=nan", "mean=nan must be finite"),
        ("synthetic:sv?phi=1", "phi=1 must lie between -1 and 1"),
        ("synthetic:sv?eta=-1", "eta=-1 must be finite and not negative"),
        ("synthetic:hmm?volatility=0.1,0.2", "one value per regime each"),
        ("synthetic:hmm?volatility=0.1,0.2,0", "volatility=0 must be positive"),
        ("synthetic:markov?levels=1,2", "transition must have 2 rows of 2 values"),
        ("synthetic:markov?levels=1,2&transition=0.5,0.5/0.5", "transition must have 2 rows of 2 values"),
        ("synthetic:markov?levels=1,2&transition=0.5,0.5/0.5,0.6", "row 2 of transition"),
        ("synthetic:markov?levels=1,2&transition=1.5,-0.5/0.5,0.5", "row 1 of transition"),
        ("synthetic:markov?levels=1,2&transition=1,0/0,1", "falls apart"),
        ("synthetic:markov?levels=1,2&transition=a/b", "must be written like 0.6,0.4/0.4,0.6"),
        ("synthetic:markov?levels=nan,2&transition=0.5,0.5/0.5,0.5", "levels must be finite"),
        ("synthetic:iid?symbols=0", "symbols=0 must be from 1"),
        ("synthetic:iid?bars=1", "bars=1 must be from 2"),
        ("synthetic:iid?seed=-1", "seed=-1 must be from 0"),
        ("synthetic:iid?interval=1w", "write it like 30s, 1min, 4h or 1d"),
        ("synthetic:iid?interval=0d", "write it like 30s, 1min, 4h or 1d"),
        ("synthetic:iid?bars=95696", "at most 95695 fit"),
        ("synthetic:iid?interval=99999d", "at most 1 fit"),
        ("synthetic:iid?interval=999999d", "write it like 30s, 1min, 4h or 1d"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(source, says):
    with pytest.raises(BadInput) as error:
        parse(source)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_bars_refuse_unknown_assets_and_prices_beyond_the_floats():
    market = parse("synthetic:iid?symbols=2")
    for symbol in ("IID-0002", "IID-00001", "GARCH-0000", "IID-", "../IID-0000", "IID-0000\n"):
        with pytest.raises(BadInput, match="no asset"):
            market.bars(symbol)
    with pytest.raises(BadInput, match="leaves the floats"):
        parse("synthetic:iid?volatility=20&bars=9000").bars("IID-0000")


def test_assets_of_a_market_differ_as_real_ones_do():
    returns = np.stack([simulate(Market(), 4000, seed) for seed in range(300)])
    spread = returns.std(axis=1)
    assert np.median(spread) == pytest.approx(0.012, rel=0.15)
    assert 0.3 < np.log(spread).std() < 0.8
    kurtoses = np.array([kurtosis(r) for r in returns])
    assert np.quantile(kurtoses, 0.1) < 6 < np.median(kurtoses) < 20 < np.quantile(kurtoses, 0.95)
    size = np.abs(returns) / spread[:, None]
    clusters = [np.corrcoef(a[:-20], a[20:])[0, 1] for a in size]
    assert np.quantile(clusters, 0.1) > 0.02
    assert np.median(clusters) > 0.1
    leverage = np.array([np.corrcoef(r[:-1], a[1:])[0, 1] for r, a in zip(returns, size, strict=True)])
    assert (leverage < -0.03).mean() > 0.4, "most fall more wildly than they rise"
    assert (np.abs(leverage) < 0.03).mean() > 0.1, "some do not"
    order = np.array([np.corrcoef(r[:-1], r[1:])[0, 1] for r in returns])
    assert np.abs(order).max() < 0.3, "returns themselves are next to unpredictable"
