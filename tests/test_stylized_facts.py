"""Stylized facts against statsmodels, closed forms and simulations whose facts are known."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.diagnostic import het_arch
from statsmodels.tsa.stattools import acf, ccf

from data_pipeline import BadInput
from data_pipeline.sources import bundled
from data_pipeline.sources.processes import Garch, Gjr
from mqc_jax.evaluation.reference_paths import reference_paths
from mqc_jax.evaluation.stylized_facts import (
    FACTS,
    arch_lm,
    autocorrelation,
    decay_exponent,
    excess_kurtosis,
    facts_inside,
    joint_bands,
    leverage,
    max_drawdown,
    measure,
    skewness,
    stylized_facts,
    tail_index,
)

pytestmark = pytest.mark.filterwarnings("error")


def paths_of(process, n_paths: int = 20, n: int = 3000, seed: int = 0) -> np.ndarray:
    return np.stack([process.simulate(n, rng) for rng in np.random.default_rng(seed).spawn(n_paths)])


@pytest.fixture(scope="module")
def sp500() -> np.ndarray:
    return np.diff(np.log(bundled.bars("SP500")["close"].to_numpy()))


@pytest.fixture(scope="module")
def sp500_references(sp500) -> dict[str, np.ndarray]:
    return reference_paths(sp500, sp500, 100, seed=0)


def test_each_figure_is_that_of_the_libraries():
    paths = 0.001 + paths_of(Gjr(), n_paths=3, n=700)
    for p, path in enumerate(paths):
        np.testing.assert_allclose(autocorrelation(paths, 30)[p], acf(path, nlags=30)[1:])
        np.testing.assert_allclose(leverage(paths, 20)[p], ccf(path**2, path, adjusted=False)[1:21])
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            oracle = het_arch(path - path.mean(), nlags=7)[0]
        assert arch_lm(paths, 7)[p] == pytest.approx(oracle)
        assert skewness(paths)[p] == pytest.approx(stats.skew(path))
        for bars in (1, 5, 20):
            sums = np.convolve(path, np.ones(bars), "valid")
            assert excess_kurtosis(paths, bars)[p] == pytest.approx(stats.kurtosis(sums))


def test_max_drawdown_is_the_worst_of_all_buys_and_later_sales():
    path = np.random.default_rng(0).normal(0, 0.02, 200)
    price = np.exp(np.concatenate([[0.0], np.cumsum(path)]))
    worst = max(1 - price[j] / price[i] for i in range(201) for j in range(i, 201))
    rises, falls = np.full(200, 0.01), np.full(200, -0.01)
    found = max_drawdown(np.stack([path, rises, falls]))
    np.testing.assert_allclose(found, [worst, 0, 1 - np.exp(-2)])


@pytest.mark.parametrize("alpha", [1.5, 3.0, 5.0])
def test_tail_index_recovers_the_exponent_of_a_pareto(alpha):
    """Every one of its tails is Pareto, so Hill's estimate has no bias and a standard error of α / √k."""
    paths = 0.01 * (1 + np.random.default_rng(0).pareto(alpha, (50, 4000)))
    found = tail_index(paths)
    assert found.mean() == pytest.approx(alpha, abs=4 * alpha / np.sqrt(50 * 200))
    assert found.std() == pytest.approx(alpha / np.sqrt(200), rel=0.4)
    largest = np.sort(paths[0])[::-1]
    assert found[0] == pytest.approx(1 / np.mean([np.log(x / largest[200]) for x in largest[:200]]))


def test_each_tail_is_measured_on_its_own_side():
    rng = np.random.default_rng(0)
    heavy_left = np.where(rng.random((1, 20_000)) < 0.5, -(1 + rng.pareto(2, (1, 20_000))), 1 + rng.pareto(6))
    figures = measure(np.where(heavy_left > 0, 1 + rng.pareto(6, heavy_left.shape), heavy_left))
    assert figures["tail_index_left"][0] == pytest.approx(2, rel=0.15)
    assert figures["tail_index_right"][0] == pytest.approx(6, rel=0.15)


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.3])
def test_decay_exponent_recovers_a_power_law_under_noise(beta):
    lags = np.arange(1, 101)
    noise = 0.01 * np.random.default_rng(0).normal(size=(50, 100))
    assert decay_exponent(0.3 * lags[None] ** -beta)[0] == pytest.approx(beta, abs=0.006)
    assert np.median(decay_exponent(0.3 * lags**-beta + noise)) == pytest.approx(beta, abs=0.03)
    assert np.isnan(decay_exponent(-0.3 * lags[None] ** -beta)).all()


def test_normal_noise_has_none_of_the_facts():
    figures = {name: value.mean() for name, value in measure(np.random.default_rng(0).normal(size=(40, 4000))).items()}
    for name in ("acf_returns", "acf_abs_returns", "leverage", "skewness"):
        assert abs(figures[name]) < 0.01, name
    assert abs(figures["kurtosis_1"]) < 0.06
    assert figures["arch_lm"] == pytest.approx(10, abs=2.5)  # χ² with ten degrees of freedom
    assert figures["tail_index_left"] > 4  # no power law: it grows with the sample


def test_clusters_of_volatility_are_seen_and_shuffling_ends_them():
    paths = paths_of(Garch(alpha=0.08, beta=0.9))
    clustered = measure(paths)
    shuffled = measure(np.random.default_rng(1).permuted(paths, axis=1))
    assert clustered["acf_abs_returns"].min() > np.abs(shuffled["acf_abs_returns"]).max()
    assert clustered["acf_abs_returns"].mean() > 20 * np.abs(shuffled["acf_abs_returns"]).mean()
    assert (clustered["arch_lm"] > 50).all() and np.median(shuffled["arch_lm"]) < 20
    assert np.abs(clustered["leverage"].mean()) < 0.01
    for name in ("kurtosis_1", "skewness", "tail_index_left"):
        np.testing.assert_allclose(shuffled[name], clustered[name])
    assert np.median(clustered["kurtosis_20"]) > 2 * np.median(shuffled["kurtosis_20"])


def test_leverage_is_negative_where_falls_raise_volatility():
    falls, mirrored = paths_of(Gjr(gamma=0.15, alpha=0.0)), -paths_of(Gjr(gamma=0.15, alpha=0.0))
    assert (measure(falls)["leverage"] < -0.01).mean() > 0.9
    np.testing.assert_allclose(measure(mirrored)["leverage"], -measure(falls)["leverage"])


def test_the_band_of_one_figure_is_its_5_and_95_percent_quantile():
    values = np.random.default_rng(0).normal(size=(1001, 1))
    np.testing.assert_allclose(joint_bands(values)[0], np.quantile(values, [0.05, 0.5, 0.95]))


def test_paths_without_a_figure_are_left_out_of_the_band():
    values = np.random.default_rng(0).normal(size=(60, 2))
    holes = np.concatenate([values, [[np.nan, 9.0]] * 30])
    np.testing.assert_array_equal(joint_bands(holes), joint_bands(values))
    assert np.isnan(joint_bands(holes[45:])).all()  # 15 paths are left


@pytest.mark.parametrize("n_figures", [1, 2, 3])
def test_a_perfect_generator_is_inside_nine_times_in_ten(n_figures):
    rng = np.random.default_rng(n_figures)
    mix = rng.normal(size=(n_figures, n_figures))
    inside = []
    for _ in range(1000):
        values = rng.normal(size=(201, n_figures)) @ mix
        low, _, high = joint_bands(values[1:]).T
        inside.append(((low <= values[0]) & (values[0] <= high)).all())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


def test_paths_of_the_same_process_pass_and_others_do_not():
    process = Gjr(nu=8.0)
    paths = paths_of(process, n_paths=60, n=1500, seed=1)
    inside = [list(facts_inside(stylized_facts(real, paths)).values()) for real in paths_of(process, 10, 1500, seed=2)]
    assert np.mean(inside) > 0.8
    rough = stylized_facts(paths_of(process, 1, 1500, seed=2)[0], 3 * paths)
    assert facts_inside(rough)["drawdown"] is False
    assert facts_inside(rough)["leverage"] == inside[0][list(FACTS).index("leverage")]  # has no scale


def test_on_the_sp500_memory_is_what_tells_gjr_from_independent_draws(sp500, sp500_references):
    inside = {name: facts_inside(stylized_facts(sp500, paths)) for name, paths in sp500_references.items()}
    for fact in ("volatility_clustering", "arch_effect", "leverage"):
        assert inside["iid_t"][fact] is False
        assert inside["gjr_skew_t"][fact] is inside["bootstrap"][fact] is True
    count = {name: sum(facts.values()) for name, facts in inside.items()}
    assert count["iid_t"] + 3 <= count["gjr_skew_t"] and count["bootstrap"] >= 7


def test_the_answer_is_json_and_says_where_real_lies(sp500, sp500_references):
    figures = stylized_facts(sp500, sp500_references["gjr_skew_t"])
    assert list(figures) == [name for names in FACTS.values() for name in names]
    for figure in json.loads(json.dumps(figures, allow_nan=False)).values():
        (low, high), real = figure["band"], figure["real"]
        assert low <= figure["median"] <= high
        assert figure["inside"] == (low <= real <= high)


@pytest.mark.parametrize("length", [2, 15, 30, 90, 150])
def test_short_series_leave_out_what_they_cannot_tell(length):
    paths = np.random.default_rng(0).normal(0, 0.01, (30, length))
    figures = stylized_facts(paths[0], paths)
    json.dumps(figures, allow_nan=False)
    missing = {name for name, figure in figures.items() if figure["inside"] is None}
    assert ("acf_abs_returns" in missing) == (length <= 100)
    assert ("acf_returns" in missing) == ("leverage" in missing) == (length <= 20)
    assert ("kurtosis_20" in missing) == (length <= 20)
    assert ("arch_lm" in missing) == (length < 22)
    assert ("tail_index_left" in missing) == (length < 40)
    assert figures["max_drawdown"]["inside"] is not None
    facts = facts_inside(figures)
    assert (facts["volatility_clustering"] is None) == (length <= 100)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.003])
def test_a_series_that_does_not_move_has_drawdown_only(value):
    moving = np.random.default_rng(0).normal(0, 0.01, (30, 300))
    still = np.full((30, 300), value)
    real_is_still = stylized_facts(still[0], moving)
    assert [name for name, figure in real_is_still.items() if figure["real"] is not None] == ["max_drawdown"]
    paths_are_still = stylized_facts(moving[0], still)
    assert facts_inside(paths_are_still) == dict.fromkeys(FACTS, False)
    json.dumps([real_is_still, paths_are_still], allow_nan=False)


@pytest.mark.parametrize(
    ("real", "paths", "message"),
    [
        (np.zeros(10), np.zeros((20, 11)), "as many in each path"),
        (np.zeros((1, 10)), np.zeros((20, 10)), "as many in each path"),
        (np.zeros(1), np.zeros((20, 1)), "as many in each path"),
        (np.zeros(10), np.zeros((19, 10)), "19 paths"),
        (np.array([0.0, np.nan]), np.zeros((20, 2)), r"real at \[1\] is nan"),
        (np.zeros(2), np.full((20, 2), np.inf), r"paths at \[0, 0\] is inf"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(real, paths, message):
    with pytest.raises(BadInput, match=message) as refused:
        stylized_facts(real, paths)
    assert "\n" not in str(refused.value)
