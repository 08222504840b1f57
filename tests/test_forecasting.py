"""Paths: prices answer to the tokens drawn, volatility answers to the prices, and the picture is there."""

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from data_pipeline import BadInput
from data_pipeline.tokenizers import TokenIds
from data_pipeline.volatility import WARMUP
from mqc_jax.decoding import Sampler
from mqc_jax.forecasting import History, path_returns, sample_tokens
from mqc_jax.forecasting.plots import FADING, fan_chart
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


def test_path_returns_re_encode_to_the_tokens_that_were_drawn(run, spx):
    """Tokenize history and path as one series: the same tokens, so volatility was advanced exactly."""
    history = History.of_returns(run.tokenizer, spx, 32)
    tokens = sample_tokens(run.model, run.tokenizer, history, jax.random.key(0), steps=30, n_paths=4, sampler=Sampler())
    for path, drawn in zip(path_returns(run.tokenizer, history, tokens), tokens, strict=True):
        np.testing.assert_array_equal(run.tokenizer.encode(np.concatenate([spx, path]))[-30:], drawn)


def test_greedy_paths_equal_rebuilding_the_whole_context_at_every_step(run, spx):
    history = History.of_returns(run.tokenizer, spx, 20)
    drawn = sample_tokens(run.model, run.tokenizer, history, jax.random.key(0), steps=8, n_paths=1, sampler=Sampler(0))
    series = spx
    for t in range(8):
        context = History.of_returns(run.tokenizer, series, 20 + t)
        logits = run.model(context.tokens[None], context.inputs[None])[0, -1]
        assert float(logits[drawn[0, t]]) == pytest.approx(float(logits.max()), abs=1e-4)
        series = np.append(
            series, path_returns(run.tokenizer, History.of_returns(run.tokenizer, series, 1), drawn[:, t : t + 1])
        )


def test_same_seed_same_paths_whatever_their_number(run, spx):
    history = History.of_returns(run.tokenizer, spx, 32)

    def draw(seed, n):
        return sample_tokens(
            run.model, run.tokenizer, history, jax.random.key(seed), steps=10, n_paths=n, sampler=Sampler()
        )

    np.testing.assert_array_equal(draw(0, 6), draw(0, 6))
    np.testing.assert_array_equal(draw(0, 2), draw(0, 6)[:2])
    assert not np.array_equal(draw(0, 6), draw(1, 6))
    assert len({tuple(path) for path in draw(0, 6)}) == 6


def test_one_step_paths_have_the_mean_and_spread_of_the_predicted_law(run, spx):
    history = History.of_returns(run.tokenizer, spx, 32)
    tokens = sample_tokens(
        run.model, run.tokenizer, history, jax.random.key(0), steps=1, n_paths=20_000, sampler=Sampler()
    )
    drawn = path_returns(run.tokenizer, history, tokens)[:, 0]
    p = np.asarray(jax.nn.softmax(run.model(history.tokens[None], history.inputs[None])[0, -1]), np.float64)
    volatility = run.tokenizer.filter(np.append(spx, 0.0)).volatility[-1]
    values = run.tokenizer.decode(np.arange(128), volatility)
    mean, std = p @ values, np.sqrt(p @ values**2 - (p @ values) ** 2)
    assert drawn.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(20_000))
    assert drawn.std() == pytest.approx(std, rel=0.05)


def test_a_bare_prompt_starts_from_a_long_calm(run):
    history = History.of_tokens(run.tokenizer, np.array([64, 64, 127], np.int32))
    assert history.inputs[0, 1] == pytest.approx(0, abs=0.05), "log volatility starts at its typical value"
    assert history.inputs[-1, 0] > 0.3, "and answers to a tail token"
    bare = History.of_tokens(TokenIds(128), np.array([1, 2], np.int32))
    assert bare.inputs is None


def test_a_shock_widens_what_follows(run, spx):
    calm = np.append(spx, 0.0)
    shocked = np.append(spx, -0.12)
    spread = []
    for series in (calm, shocked):
        history = History.of_returns(run.tokenizer, series, 32)
        tokens = sample_tokens(
            run.model, run.tokenizer, history, jax.random.key(0), steps=5, n_paths=400, sampler=Sampler()
        )
        spread.append(path_returns(run.tokenizer, history, tokens).sum(1).std())
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
