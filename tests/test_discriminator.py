"""The discriminator finds what differs and nothing else, and learns nothing from the dates it is scored on."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu

from data_pipeline import BadInput
from data_pipeline.sources import bundled
from data_pipeline.sources.processes import Gjr
from mqc_jax.evaluation.discriminator import (
    BLOCK,
    RIDGE,
    STEP,
    WINDOW,
    auc,
    discriminate,
    halves,
    logistic_regression,
    window_features,
)
from mqc_jax.evaluation.reference_paths import reference_paths

pytestmark = pytest.mark.filterwarnings("error")


def paths_of(process, n_paths: int, n: int, seed: int) -> np.ndarray:
    return np.stack([process.simulate(n, rng) for rng in np.random.default_rng(seed).spawn(n_paths)])


def test_auc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 40), rng.integers(0, 6, 70)
    oracle = mannwhitneyu(positive, negative).statistic / (40 * 70)
    assert auc(positive, negative) == pytest.approx(oracle)
    assert (auc(np.ones(3), np.zeros(2)), auc(np.zeros(3), np.ones(2)), auc(np.ones(3), np.ones(2))) == (1, 0, 0.5)


def test_logistic_regression_is_where_the_penalised_likelihood_is_highest():
    rng = np.random.default_rng(0)
    features = np.concatenate([np.ones((80, 1)), rng.normal(size=(80, 4))], axis=1)
    labels, weights = (rng.random(80) < 0.3).astype(float), rng.random(80)

    def loss(coefficients):
        logits = features @ coefficients
        return weights @ (np.logaddexp(0, logits) - labels * logits) + RIDGE / 2 * coefficients[1:] @ coefficients[1:]

    oracle = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(logistic_regression(features, labels, weights), oracle, atol=1e-5)


@pytest.mark.parametrize("length", [1024, 1101, 1258])
def test_no_window_that_is_scored_shares_a_date_with_one_that_was_learnt_from(length):
    early, late = halves(length)
    start = STEP * np.arange(len(window_features(np.zeros(length))))
    assert len(start) == len(early) == len(late) and early.sum() > 8 and late.sum() > 8
    assert start[early].max() + WINDOW <= length // 2 <= start[late].min()
    assert start[late].max() + WINDOW <= length


def test_what_differs_only_on_the_scored_dates_is_not_learnt():
    """A classifier that knows nothing of the difference is as often below 0.5 as above, and one that does at 1."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        paths, real = rng.normal(size=(20, 1024)), rng.normal(size=1024)
        real[512:] = rng.standard_t(2, 512)
        found.append(discriminate(real, paths, draws=1).auc)
    assert np.mean(found) == pytest.approx(0.5, abs=0.2)
    real = np.random.default_rng(0).standard_t(2, 1024)
    assert discriminate(real, np.random.default_rng(1).normal(size=(20, 1024)), draws=1).auc > 0.95


def test_features_do_not_depend_on_the_level_of_volatility_and_a_still_window_has_some():
    path = np.random.default_rng(0).normal(size=1200)
    np.testing.assert_allclose(window_features(path), window_features(1e-3 * path), atol=1e-12)
    assert np.isfinite(window_features(np.zeros(1200))).all()


def test_windows_of_one_process_are_not_told_apart():
    found = [
        discriminate(real, paths_of(Gjr(), 20, 1024, seed=1), draws=2).auc for real in paths_of(Gjr(), 8, 1024, seed=2)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_on_the_sp500_independent_draws_are_told_apart_and_gjr_hardly():
    real = np.diff(np.log(bundled.bars("SP500")["close"].to_numpy()))
    references = reference_paths(real, real, 20)
    gjr, iid = (discriminate(real, references[name], draws=20) for name in ("gjr_skew_t", "iid_t"))
    assert iid.auc > 0.8 > 0.65 > gjr.auc
    for found in (gjr, iid):
        for low, high in (found.path_vs_paths, found.real_vs_real):
            assert low < 0.5 < high < iid.auc


def test_same_seed_same_answer_and_only_the_first_paths_count():
    paths = paths_of(Gjr(), 45, 1024, seed=3)
    real = paths_of(Gjr(), 1, 1024, seed=4)[0]
    first = discriminate(real, paths, draws=10, seed=1)
    assert first == discriminate(real, paths[:40], draws=10, seed=1)
    other = discriminate(real, paths, draws=10, seed=2)
    assert first[:2] == other[:2] and first.real_vs_real != other.real_vs_real


@pytest.mark.parametrize(
    ("real", "paths", "message"),
    [
        (np.zeros(1023), np.zeros((20, 1023)), "1024 or more"),
        (np.zeros(1200), np.zeros((20, 1201)), "as many in each path"),
        (np.zeros(1200), np.zeros((19, 1200)), "19 paths"),
        (np.zeros(1200), np.full((20, 1200), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(real, paths, message):
    with pytest.raises(BadInput, match=message) as refused:
        discriminate(real, paths)
    assert "\n" not in str(refused.value)


def test_the_first_null_is_each_path_against_all_others():
    paths = paths_of(Gjr(), 21, 1024, seed=5)
    aucs = [discriminate(path, np.delete(paths, p, axis=0), draws=1).auc for p, path in enumerate(paths)]
    assert discriminate(paths[0], paths, draws=1).path_vs_paths == pytest.approx(np.quantile(aucs, [0.05, 0.95]))


def test_the_second_null_tells_regimes_of_the_real_series_apart():
    """Two kinds of blocks: a split that sorts them by kind, early and late, has an AUC near 0 or 1."""
    rng = np.random.default_rng(0)
    calm, wild = rng.normal(size=(8, BLOCK)), rng.standard_t(1.5, (8, BLOCK))
    regimes = np.stack([calm, wild], axis=1)[:4].ravel()
    low, high = discriminate(regimes, rng.normal(size=(20, 1024)), draws=300).real_vs_real
    assert low < 0.25 and high > 0.75  # half against the whole would stay within
    low, high = discriminate(np.tile(calm[0], 8), rng.normal(size=(20, 1024)), draws=20).real_vs_real
    assert low == pytest.approx(0.5) and high == pytest.approx(0.5)
