"""What every tokenizer promises: causality, bins that hold what they say, a fit that sees training dates only."""

import json
from dataclasses import replace
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dataset_of, garch_series
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import DamagedData, ReturnTokenizer, tokenizer_from_json
from data_pipeline.tokenizers import TokenIds
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.volatility import (
    INPUT_NAMES,
    LAMBDA,
    WARMUP,
    advance,
    filter_returns,
    inputs_from,
    next_volatility,
    steady_state,
)

SERIES = garch_series(1500, 0)
KINDS = ["quantile", "uniform", "volatility", "rolling", "rolling delta", "rolling pct_oc"]
EQUAL = np.arange(1, 128) / 128
returns = st.lists(st.floats(-0.3, 0.3, allow_subnormal=False), min_size=1, max_size=40)


@lru_cache
def fitted(kind):
    kind, _, signal = kind.partition(" ")
    return ReturnTokenizer.fit(kind, [SERIES.log_returns], 128, signal or "log_return")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(future=returns, t=st.integers(WARMUP, 1400))
def test_changing_the_future_leaves_tokens_edges_and_inputs_bit_identical(kind, future, t):
    tokenizer = fitted(kind)
    changed = SERIES.log_returns.copy()
    changed[t + 1 : t + 1 + len(future)] = future[: len(changed) - t - 1]
    before, after = (tokenizer.filter(r) for r in (SERIES.log_returns, changed))
    np.testing.assert_array_equal(tokenizer.encode(SERIES.log_returns)[: t + 1], tokenizer.encode(changed)[: t + 1])
    np.testing.assert_array_equal(before.inputs[: t + 1], after.inputs[: t + 1])
    # the scale of return t + 1 is known before it: it may not change either
    edges = [tokenizer.return_edges(tokenizer.known_before(r)[: t + 2]) for r in (SERIES.log_returns, changed)]
    np.testing.assert_array_equal(*edges)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fit_sees_training_dates_only(kind):
    later = SERIES.times > np.datetime64("2002-12-31")
    wild = np.where(later, 10 * SERIES.log_returns, SERIES.log_returns)
    kind, _, signal = kind.partition(" ")
    fields = {"signal": signal or "log_return", "train_end": "2002-12-31", "validation_end": "2003-06-30"}
    fits = [dataset_of([replace(SERIES, log_returns=r)], kind, **fields).tokenizer for r in (SERIES.log_returns, wild)]
    assert fits[0].to_json() == fits[1].to_json()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(tail=returns)
def test_decoding_stays_inside_the_bin(kind, tail):
    tokenizer = fitted(kind)
    series = np.concatenate([SERIES.log_returns, tail])
    known = tokenizer.known_before(series)
    tokens = tokenizer.encode(series)
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocab_size == 128
    edges = tokenizer.return_edges(known)
    low = np.concatenate([np.full((len(series), 1), -np.inf), edges], axis=1)[np.arange(len(series)), tokens]
    high = np.concatenate([edges, np.full((len(series), 1), np.inf)], axis=1)[np.arange(len(series)), tokens]
    decoded, slack = tokenizer.decode(tokens, known), 1e-12
    for value in (series, decoded):
        assert (low - slack <= value).all()
        assert (value <= high + slack).all()


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_the_same_tokenizer_back(kind):
    tokenizer = fitted(kind)
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())), "here")
    assert type(again) is type(tokenizer)
    np.testing.assert_array_equal(again.encode(SERIES.log_returns), tokenizer.encode(SERIES.log_returns))
    np.testing.assert_array_equal(again.bins.values, tokenizer.bins.values)
    assert tokenizer_from_json(TokenIds(77).to_json(), "here") == TokenIds(77)


@pytest.mark.parametrize("broken", [{}, {"kind": "none"}, {"kind": "quantile"}, {"kind": "ids"}, []])
def test_a_broken_tokenizer_file_is_named(broken):
    with pytest.raises(DamagedData, match="here: not a tokenizer"):
        tokenizer_from_json(broken, "here")


def test_quantile_bins_hold_equally_many_training_returns():
    tokens = fitted("quantile").encode(SERIES.log_returns)[WARMUP:]
    counts = np.bincount(tokens, minlength=128)
    assert counts.max() - counts.min() <= 2


def test_volatility_bins_have_the_promised_levels_and_nest_the_shared_partition():
    levels = fine_tail_levels(128)
    assert len(levels) == 127
    assert (np.diff(levels) > 0).all()
    np.testing.assert_allclose(levels[:8], np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]) / 100)
    np.testing.assert_allclose(levels, 1 - levels[::-1])
    np.testing.assert_allclose(np.diff(levels[7:120]), 0.98 / 112)
    shared = levels[1::2]
    assert len(shared) == 63
    np.testing.assert_allclose(shared[:4], np.array([0.05, 0.2, 0.5, 1.0]) / 100)
    np.testing.assert_allclose(np.diff(shared[3:60]), 0.98 / 56)


def test_volatility_tokens_do_not_know_the_level_of_volatility():
    tokenizer = fitted("volatility")
    calm, wild = SERIES.log_returns, 7 * SERIES.log_returns
    tokens = [tokenizer.encode(r)[WARMUP:] for r in (calm, wild)]
    assert (tokens[0] == tokens[1]).mean() > 0.999  # but for the prior that starts the filters


def test_a_price_that_stands_still_gets_a_bin_of_its_own():
    sample = np.concatenate([np.zeros(500), np.random.default_rng(0).normal(size=500)])
    bins = Bins.fit(sample, EQUAL)
    assert (np.diff(bins.edges) > 0).all()
    token = bins.assign(np.zeros(1))[0]
    assert bins.masses[token] == pytest.approx(0.5, rel=0.1)
    assert bins.values[token] == 0
    assert bins.masses.min() > 0
    assert bins.masses.sum() == pytest.approx(1)


def test_volatility_is_the_normalised_ewma_of_past_squares():
    r = SERIES.log_returns
    weights = LAMBDA ** np.arange(300)[::-1]
    expected = np.sqrt((weights * r[:300] ** 2).sum() / weights.sum())
    assert filter_returns(r).volatility[300] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("cut", [1, WARMUP, 700])
def test_stepping_on_equals_filtering_the_whole(cut):
    whole = filter_returns(SERIES.log_returns, 0.01)
    state = filter_returns(SERIES.log_returns[:cut]).state
    for t in range(cut, 800):
        assert next_volatility(state) == pytest.approx(whole.volatility[t], rel=1e-9)
        state = advance(state, SERIES.log_returns[t])
        np.testing.assert_allclose(inputs_from(state, 0.01), whole.inputs[t], rtol=1e-5, atol=1e-6)


def test_one_step_is_the_same_in_numpy_and_in_jax_and_for_a_batch():
    import jax
    import jax.numpy as jnp

    tokenizer, z = fitted("volatility"), np.array([0.5, -3.0])
    state = jax.tree.map(lambda x: np.stack([x, x]), steady_state(0.02))
    ours = tokenizer.step(state, z)
    theirs = tokenizer.step(jax.tree.map(jnp.float32, state), jnp.float32(z))
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-5)
    alone = tokenizer.step(steady_state(0.02), z[1])
    np.testing.assert_allclose(alone[1], ours[1][1], rtol=1e-12)
    assert ours[1].shape == (2, len(INPUT_NAMES))


def test_stale_prices_do_not_make_infinite_inputs():
    stale = np.concatenate([SERIES.log_returns[:300], np.zeros(2000), [0.01]])
    filtered = filter_returns(stale)
    assert np.isfinite(filtered.inputs).all()
    assert (filtered.volatility > 0).all()
    for series in (np.zeros(300), np.array([0.1])):
        assert np.isfinite(filter_returns(series).inputs).all()


def test_too_little_to_fit_is_said_in_numbers():
    with pytest.raises(ValueError, match="40 training returns are left after 60 of warm-up"):
        ReturnTokenizer.fit("volatility", [SERIES.log_returns[:100]])


@pytest.mark.parametrize("kind", ["rolling delta", "rolling pct_oc"])
def test_a_price_cannot_lose_more_than_itself_in_any_precision(kind):
    tokenizer = fitted(kind)
    known = tokenizer.known_before(SERIES.log_returns)[-1]
    for xp, dtype in ((np, np.float64), (jnp, jnp.float32)):
        worst = tokenizer.scaling.returns(xp.asarray(-1e6, dtype=dtype), xp.asarray(known, dtype=dtype))
        assert worst == pytest.approx(np.log(1e-6), rel=0.01)
