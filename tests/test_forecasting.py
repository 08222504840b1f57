"""Paths: prices answer to the tokens drawn, volatility answers to the prices, and the picture is there."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import kstest

from data_pipeline import BadInput
from data_pipeline.tokenizers import TokenIds
from data_pipeline.volatility import WARMUP
from mqc_jax.decoding import Sampler
from mqc_jax.forecasting import History, draw_paths, simulate
from mqc_jax.forecasting.plots import FADING, fan_chart
from mqc_jax.laws.token_law import TokenLaw
from mqc_jax.model import GPT
from mqc_jax.run import load_run


@pytest.fixture(scope="module")
def run(tiny_run):
    return load_run(tiny_run)


@pytest.fixture(scope="module")
def spx(bundled):
    begin, *_, end = bundled.segments[0]
    return np.asarray(bundled.market.returns[begin:end])


def test_history_is_what_the_dataset_holds(run, bundled, spx):
    history = History.of_returns(run.tokenizer, spx, 32)
    end = bundled.segments[0, 4]
    np.testing.assert_array_equal(history.tokens, bundled.tokens[end - 32 : end])
    np.testing.assert_array_equal(history.inputs, bundled.market.inputs[end - 32 : end])
    short = History.of_returns(run.tokenizer, spx[: WARMUP + 5], 32)
    assert len(short.tokens) == 5
    with pytest.raises(BadInput, match="60 returns of history"):
        History.of_returns(run.tokenizer, spx[:WARMUP], 32)


def drawn(run, histories, seed=0, **about):
    keys = [jax.random.fold_in(jax.random.key(seed), m) for m in range(len(histories))]
    return draw_paths(run.model, run.tokenizer, histories, keys, **about)


def test_path_returns_re_encode_to_the_tokens_that_were_drawn(run, spx):
    """Tokenize history and path as one series: the same tokens, so volatility was advanced exactly."""
    found = drawn(run, [History.of_returns(run.tokenizer, spx, 32)], steps=30, n_paths=4)
    same = [
        run.tokenizer.encode(np.concatenate([spx, path]))[-30:] == tokens
        for path, tokens in zip(found.log_returns_MRS[0], found.tokens_MRS[0], strict=True)
    ]
    assert np.mean(same) > 0.99, "all but returns that lie at an edge but for float32's rounding"


def test_returns_fall_anywhere_in_their_bins_and_far_into_the_tails(run, spx):
    """Not on one value per bin: 20,000 draws have 20,000 values, and some lie beyond all that was ever seen."""
    found = drawn(run, [History.of_returns(run.tokenizer, spx, 32)], steps=1, n_paths=20_000)
    returns = found.log_returns_MRS[0, :, 0].astype(np.float64)
    assert len(np.unique(returns)) > 19_000
    probability = np.asarray(jax.nn.softmax(run.model(*prompt(run, spx))[0, -1]), np.float64)[None]
    law = TokenLaw(run.tokenizer, run.tokenizer.filter(np.append(spx, 0.0)).volatility[-1:], probability)
    assert kstest(law.cdf(returns[None])[0], "uniform").pvalue > 0.001
    outer = law.cdf(returns[None])[0] < 0.001
    assert 5 < outer.sum() < 45


def prompt(run, spx, length=32):
    history = History.of_returns(run.tokenizer, spx, length)
    return history.tokens[None], history.inputs[None]


def test_greedy_paths_equal_rebuilding_the_whole_context_at_every_step(run, spx):
    found = drawn(run, [History.of_returns(run.tokenizer, spx, 20)], steps=8, n_paths=1, sampler=Sampler(0))
    series = spx
    for t in range(8):
        logits = run.model(*prompt(run, series, 20 + t))[0, -1]
        assert float(logits[found.tokens_MRS[0, 0, t]]) == pytest.approx(float(logits.max()), abs=1e-4)
        series = np.append(series, found.log_returns_MRS[0, 0, t])


def test_same_seed_same_paths_whatever_their_number(run, spx):
    history = [History.of_returns(run.tokenizer, spx, 32)]

    def draw(seed, n):
        return drawn(run, history, seed, steps=10, n_paths=n).tokens_MRS[0]

    np.testing.assert_array_equal(draw(0, 6), draw(0, 6))
    np.testing.assert_array_equal(draw(0, 2), draw(0, 6)[:2])
    np.testing.assert_array_equal(draw(0, 1100)[:6], draw(0, 6))
    assert not np.array_equal(draw(0, 6), draw(1, 6))
    assert len({tuple(path) for path in draw(0, 6)}) == 6


def test_a_history_has_the_same_paths_alone_and_among_others_of_other_lengths(run, spx):
    histories = [History.of_returns(run.tokenizer, spx[:n], 32) for n in (400, WARMUP + 5, 700)]
    together = drawn(run, histories, steps=10, n_paths=5)
    for m in range(3):
        key = [jax.random.fold_in(jax.random.key(0), m)]
        alone = draw_paths(run.model, run.tokenizer, [histories[m]], key, steps=10, n_paths=5)
        np.testing.assert_array_equal(alone.tokens_MRS[0], together.tokens_MRS[m])
        np.testing.assert_allclose(alone.log_returns_MRS[0], together.log_returns_MRS[m], rtol=1e-5)


def test_special_tokens_of_a_schedule_are_read_and_are_no_returns(run, spx):
    """Volatility stands still over them."""
    config = replace(run.config.model, n_special=2)
    model = GPT(config, jax.random.key(0), 8, run.model.bins)
    model = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), model)
    schedule = np.array([-1, 128, 129, -1, -1])
    found = draw_paths(
        model,
        run.tokenizer,
        [History.of_returns(run.tokenizer, spx, 32)],
        [jax.random.key(0)],
        steps=5,
        n_paths=6,
        schedule=schedule,
    )
    returns = found.log_returns_MRS[0]
    assert np.isnan(returns[:, [1, 2]]).all()
    assert (found.tokens_MRS[0][:, [1, 2]] == [128, 129]).all()
    for path, tokens in zip(returns[:, [0, 3, 4]], found.tokens_MRS[0][:, [0, 3, 4]], strict=True):
        np.testing.assert_array_equal(run.tokenizer.encode(np.concatenate([spx, path]))[-3:], tokens)


def test_returns_without_a_history_of_returns_are_refused(run, spx):
    ids = History.of_returns(run.tokenizer, spx, 32)._replace(state=None, inputs=None)
    with pytest.raises(BadInput, match="cannot go on from volatility tokens"):
        simulate(run.model, run.tokenizer, [ids], [jax.random.key(0)], steps=2, n_paths=2)


def test_a_bare_prompt_starts_from_a_long_calm(run):
    history = History.of_tokens(run.tokenizer, np.array([64, 64, 127], np.int32))
    assert history.inputs[0, 1] == pytest.approx(0, abs=0.05), "log volatility starts at its typical value"
    assert history.inputs[-1, 0] > 0.3, "and answers to a tail token"
    bare = History.of_tokens(TokenIds(128), np.array([1, 2], np.int32))
    assert bare.inputs is None


def test_a_shock_widens_what_follows(run, spx):
    calm = np.append(spx, 0.0)
    shocked = np.append(spx, -0.12)
    histories = [History.of_returns(run.tokenizer, series, 32) for series in (calm, shocked)]
    spread = drawn(run, histories, steps=5, n_paths=400).log_returns_MRS.sum(axis=2).std(axis=1)
    assert spread[1] > 1.5 * spread[0]


@pytest.mark.parametrize("realised", [0, 5])
def test_the_fan_chart_is_written(tmp_path, realised):
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 100)))
    times = np.datetime64("2020-01-01") + np.arange(100)
    paths = prices[-1 - realised] * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (50, 20)), axis=1))
    fan_chart(
        tmp_path / "f.png", title="A", times=times, prices=prices, cutoff=99 - realised, cutoff_label="x", paths=paths
    )
    assert (tmp_path / "f.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("levels", [(50, 80, 95), (99, 60)])
def test_every_level_asked_for_has_its_band_in_the_picture(tmp_path, levels):
    paths = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (500, 20)), axis=1))
    times, prices = np.datetime64("2020-01-01") + np.arange(50), np.full(50, 100.0)
    about = {"title": "A", "times": times, "prices": prices, "cutoff": 49, "cutoff_label": "x", "paths": paths}
    fan_chart(tmp_path / "f.png", **about, levels=levels)
    pixels = imread(tmp_path / "f.png")[..., :3].reshape(-1, 3)
    shades = FADING(np.linspace(0, 1, len(levels)))[:, :3]
    sizes = [int((np.abs(pixels - shade).max(axis=1) < 0.01).sum()) for shade in shades]
    assert min(sizes) > 500, f"a band is missing, or hidden behind a wider one: {sizes}"
