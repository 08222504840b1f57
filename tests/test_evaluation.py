"""Scores against brute force, baselines against their definitions, and a model that knows nothing gains nothing."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import dataset_of
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import PRESETS
from data_pipeline import BadInput, DataConfig, prepare
from data_pipeline.bars import ReturnSeries
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from mqc_jax.evaluation import evaluate
from mqc_jax.evaluation.baselines import HALF_LIFE, STAY, RawReturnLaw, TokenCounts
from mqc_jax.evaluation.partition import Partition
from mqc_jax.evaluation.scores import hac_standard_error, mean_by_date
from mqc_jax.laws.distribution import bin_masses, cdf, log_density
from mqc_jax.run import load_run, new_model

SAMPLE = np.random.default_rng(0).standard_t(4, 3000)
BINS = Bins.fit(SAMPLE, np.arange(1, 32) / 32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_a_distribution_rises_from_zero_to_one_and_holds_its_masses(seed):
    masses = np.random.default_rng(seed).dirichlet(np.ones(32), size=2)
    points = np.sort(np.random.default_rng(seed + 1).normal(0, 3, (2, 200)), axis=1)
    values = cdf(points, BINS, masses)
    assert (np.diff(values, axis=1) >= -1e-15).all()
    assert (values >= 0).all()
    assert (values <= 1).all()
    edges = np.broadcast_to(BINS.edges, (2, 31))
    np.testing.assert_allclose(cdf(edges, BINS, masses), np.cumsum(masses, axis=1)[:, :-1], atol=1e-12)
    np.testing.assert_allclose(bin_masses(edges, BINS, masses), masses, atol=1e-12)
    np.testing.assert_allclose(bin_masses(points, BINS, masses).sum(1), 1, atol=1e-12)


def test_outer_bins_have_the_mean_that_their_values_say():
    """Brute-force integration of the tail: E[X | X > last edge] is the bin's conditional mean."""
    x = BINS.edges[-1] + np.concatenate([np.linspace(0, 100, 1_000_001), np.geomspace(100.001, 1e7, 1_000_000)])
    tail = 1 - cdf(x[None], BINS, BINS.masses)[0]
    mean_excess = np.trapezoid(tail, x) / BINS.masses[-1]
    assert BINS.edges[-1] + mean_excess == pytest.approx(BINS.values[-1], rel=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_density_is_log_mass_minus_log_width_and_integrates_to_one(seed):
    masses = np.random.default_rng(seed).dirichlet(np.ones(32))
    middle = (BINS.edges[1:] + BINS.edges[:-1]) / 2
    inside = np.log(masses[1:-1]) - np.log(np.diff(BINS.edges))
    np.testing.assert_allclose(log_density(middle, BINS, masses), inside, rtol=1e-12)
    for side, tail, edge, mass in (
        (-1, BINS.left, BINS.edges[0], masses[0]),
        (1, BINS.right, BINS.edges[-1], masses[-1]),
    ):
        excess = np.concatenate([[0], np.geomspace(1e-6, 1e9, 400_001)]) * tail.scale
        density = np.exp(log_density(edge + side * np.maximum(excess, 1e-12), BINS, masses))
        assert np.trapezoid(density, excess) == pytest.approx(mass, rel=1e-4)
    points = np.linspace(-30, 30, 601)
    step = 1e-6
    slope = np.diff(cdf(np.stack([points - step, points + step], axis=1), BINS, masses), axis=1)[:, 0] / (2 * step)
    away = np.abs(points[:, None] - BINS.edges).min(axis=1) > step
    np.testing.assert_allclose(slope[away], np.exp(log_density(points, BINS, masses))[away], rtol=1e-3, atol=1e-9)


def test_masses_of_the_training_law_match_counts():
    points = np.array([[-2.0, -0.5, 0.1, 3.0]])
    counts = np.histogram(SAMPLE, np.concatenate([[-np.inf], points[0], [np.inf]]))[0] / len(SAMPLE)
    np.testing.assert_allclose(bin_masses(points, BINS, BINS.masses)[0], counts, atol=0.01)


def test_adaptive_law_is_the_weighted_count_of_earlier_returns():
    law, returns = RawReturnLaw.fit(SAMPLE), np.random.default_rng(1).normal(0, 3, 400)
    t, decay = 250, 0.5 ** (1 / HALF_LIFE)
    seen = law.bins.assign(returns[:t]) // 2
    weights = (1 - decay) * decay ** np.arange(t)[::-1]
    prior = law.bins.masses.reshape(16, 2).sum(1)
    coarse = (1 - STAY) * (np.bincount(seen, weights, minlength=16) + decay**t * prior) + STAY * prior
    expected = law.bins.masses * np.repeat(coarse / prior, 2)
    got = law.adaptive_masses(returns)
    np.testing.assert_allclose(got[t], expected, rtol=1e-9)
    np.testing.assert_allclose(got.sum(1), 1)
    future = returns.copy()
    future[t:] = 0
    np.testing.assert_array_equal(law.adaptive_masses(future)[: t + 1], got[: t + 1])


def test_token_laws_are_probabilities_known_in_advance():
    tokens = np.random.default_rng(0).integers(0, 9, 500)
    law = TokenCounts(tokens[:300], 10)
    assert law.masses.sum() == pytest.approx(1)
    assert law.masses.min() > 0
    changed = np.where(np.arange(500) >= 400, 9, tokens)
    before, after = law.adaptive_masses(tokens), law.adaptive_masses(changed)
    np.testing.assert_array_equal(before[:400], after[:400])
    assert after[-1] > before[-1]


def test_hac_standard_error_is_right_for_white_and_for_dependent_series():
    rng = np.random.default_rng(0)
    white = rng.normal(size=4000)
    assert hac_standard_error(white) == pytest.approx(1 / np.sqrt(4000), rel=0.1)
    moving = white[1:] + white[:-1]  # long-run variance 4
    assert hac_standard_error(moving) == pytest.approx(2 / np.sqrt(4000), rel=0.12)


def test_hac_standard_error_equals_statsmodels():
    import statsmodels.api as sm

    series = np.random.default_rng(1).normal(size=700).cumsum() * 0.1
    lags = int(4 * 7 ** (2 / 9))
    fit = sm.OLS(series, np.ones(700)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert hac_standard_error(series) == pytest.approx(fit.bse[0], rel=1e-9)


def test_mean_by_date_weighs_dates_equally():
    times = np.array(["2024-01-02", "2024-01-01", "2024-01-02", "2024-01-02"], "datetime64[D]")
    np.testing.assert_allclose(mean_by_date(np.array([1.0, 5.0, 2.0, 3.0]), times), [5, 2])


def test_report_of_a_known_model_is_what_counting_gives(tiny_run, bundled):
    """Uncached, unbatched, by hand: cross-entropy, perplexity, top-1 and top-5 accuracy."""
    model = load_run(tiny_run).model
    report = evaluate(model, bundled, "test")
    from mqc_jax.training.validate import predictions

    rows, log_p = (np.concatenate(part) for part in zip(*predictions(model, bundled, "test", 32), strict=True))
    true = bundled.tokens[rows]
    order = np.argsort(-log_p, axis=1)
    assert report["n_targets"] == 3771
    assert report["nats_per_token"] == pytest.approx(-log_p[np.arange(len(rows)), true].mean(), abs=1e-6)
    assert report["perplexity"] == pytest.approx(np.exp(report["nats_per_token"]))
    assert report["top1_accuracy"] == pytest.approx((order[:, 0] == true).mean(), abs=1e-3)
    assert report["top5_accuracy"] == pytest.approx((order[:, :5] == true[:, None]).any(1).mean(), abs=1e-3)
    shared = np.exp(log_p).reshape(-1, 64, 2).sum(-1)[np.arange(len(rows)), true // 2]
    expected = mean_by_date(-np.log(shared), bundled.market.times[rows]).mean()  # the tokens' edges are sketched
    assert report["shared_bins"]["model_nats_per_return"] == pytest.approx(expected, abs=6e-3)


def test_an_untrained_model_scores_its_training_histogram_and_uniform_logits_score_log_v(bundled):
    config = PRESETS["tiny"].model
    fresh = evaluate(new_model(config, bundled.tokenizer, bundled.manifest, jax.random.key(0)), bundled, "test")
    assert fresh["nats_per_token"] == pytest.approx(fresh["token_histogram_nats_per_token"], abs=1e-3)
    plain = replace(config, ordinal=False, inputs=False)
    report = evaluate(new_model(plain, bundled.tokenizer, bundled.manifest, jax.random.key(0)), bundled, "validation")
    assert report["nats_per_token"] == pytest.approx(np.log(128), abs=1e-6)
    assert report["perplexity"] == pytest.approx(128, rel=1e-5)
    rows = bundled.rows("validation")
    assert report["top1_accuracy"] == (bundled.tokens[rows] == 0).mean(), "ties are broken by id, not called hits"


def test_the_unigram_itself_gains_nothing_over_the_unigram(bundled):
    """On independent returns no law beats the training law by more than its error."""
    rng = np.random.default_rng(5)
    days = (np.datetime64("2000-01-03") + np.arange(4000)).astype("datetime64[ns]")
    returns = 0.01 * rng.standard_t(5, 4000)
    series = [ReturnSeries("iid", days, np.exp(np.cumsum(returns)), returns)]
    dataset = dataset_of(series, "quantile")
    model = new_model(
        replace(PRESETS["tiny"].model, inputs=True), dataset.tokenizer, dataset.manifest, jax.random.key(0)
    )
    report = evaluate(model, dataset, "test")
    assert abs(report["bits_gained_over_unigram"]) < 0.02


def test_bundled_baselines_are_the_published_ones(bundled):
    """The unconditional law on the 64 shared bins, test 2014-2018, within what smoothing can change of 4.2455 nats."""
    rows = bundled.rows("test")
    shared = Partition(bundled, bundled.market, bundled.tokenizer).baseline_nats(rows)[1]
    unigram, adaptive = shared["unigram"], shared["adaptive_unigram"]
    times = bundled.market.times[rows]
    assert mean_by_date(unigram, times).mean() == pytest.approx(4.2455, abs=0.005)
    assert mean_by_date(adaptive, times).mean() < 4.2


def test_two_tokenizers_are_scored_on_the_same_bins(bundled, tmp_path):
    raw = prepare(DataConfig("bundled", tokenizer="quantile"), tmp_path / "raw")
    rows = bundled.rows("test")
    edges = [Partition(d, d.market, d.tokenizer).return_edges(rows) for d in (bundled, raw)]
    np.testing.assert_array_equal(*edges)
    market, training = bundled.market, bundled.training_rows()
    z = market.returns[training] / market.volatility[training]
    exact = np.quantile(z, fine_tail_levels(128)[1::2])
    np.testing.assert_allclose(edges[0], market.volatility[rows][:, None] * exact)


def test_windows_beyond_the_context_hardly_change_the_score(tiny_run, bundled):
    model = load_run(tiny_run).model
    long, longer = (evaluate(model, bundled, "validation", seq_len=n)["nats_per_token"] for n in (128, 512))
    assert long == pytest.approx(longer, abs=2e-3)


def test_a_split_without_rows_is_refused(panel, tiny_run):
    empty = replace(panel, segments=np.where(np.arange(5) == 4, panel.segments[:, 3:4], panel.segments))
    with pytest.raises(BadInput, match="no rows in the test split"):
        evaluate(load_run(tiny_run).model, empty, "test")


def test_a_late_listing_is_scored_against_the_law_of_all_assets(tiny_run, bundled):
    """An asset without training dates has no law of its own."""
    (old_begin, *_, old_end), (_, _, _, new_begin, new_end) = bundled.segments[:2]

    def series(name, rows):
        market = bundled.market
        return ReturnSeries(name, market.times[rows], market.closes[rows], market.returns[rows])

    series = [series("OLD", slice(old_begin, old_end)), series("NEW", slice(new_begin, new_end))]
    dataset = dataset_of(series, bundled.tokenizer, train_end="2010-12-31", validation_end="2013-12-31")
    report = evaluate(load_run(tiny_run).model, dataset, "test")
    assert set(report["assets"]) == {"OLD", "NEW"}
    assert np.isfinite(report["unigram_nats_per_token"])


def test_predictions_do_not_feel_later_returns(tiny_run, bundled):
    """Leak canary through the whole pipeline: double every return after 2016 and score 2014-2015 again."""
    model, cut = load_run(tiny_run).model, np.datetime64("2016-01-01")
    series = []
    for asset, s in zip(bundled.assets, bundled.segments, strict=True):
        times, returns = bundled.market.times[s[0] : s[4]], bundled.market.returns[s[0] : s[4]]
        series.append(ReturnSeries(asset, times, np.exp(returns), np.where(times >= cut, 2 * returns, returns)))
    changed = dataset_of(series, bundled.tokenizer, train_end="2010-12-31", validation_end="2013-12-31")
    from mqc_jax.training.validate import predictions

    scores = []
    for dataset in (bundled, changed):
        early = {}
        for rows, log_p in predictions(model, dataset, "test", 32):
            keep = dataset.market.times[rows] < cut
            early |= dict(zip(rows[keep], log_p[keep], strict=True))
        scores.append(np.stack([early[row] for row in sorted(early)]))
    assert len(scores[0]) > 1400
    np.testing.assert_array_equal(*scores)
