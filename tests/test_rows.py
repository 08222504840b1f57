"""Rows of a dataset: pieces, special tokens, the clock, the two layouts, and nothing known before its time."""

from dataclasses import fields, replace
from itertools import pairwise

import jax
import numpy as np
import pytest
from helpers import dataset_of, garch_series, training_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import PRESETS
from data_pipeline import DataConfig
from data_pipeline.bars import ReturnSeries
from data_pipeline.dataset import SPLITS
from data_pipeline.tokenizers import VQVAETokenizer, special
from data_pipeline.volatility import RANGE_NAMES, WARMUP
from mqc_jax.evaluation import evaluate
from mqc_jax.run import new_model
from mqc_jax.training.batches import scoring_windows
from mqc_jax.training.step import cross_entropy

SERIES = garch_series(1200, 3)
BREAKS = (100, 101, 500, 900)


def broken(series=SERIES, breaks=BREAKS) -> ReturnSeries:
    starts = np.isin(np.arange(len(series)), (0, *breaks))
    gaps = np.where(np.arange(len(series)) % 97 == 50, 2, 0)
    opens = np.arange(len(series)) % 7 == 0
    clock = np.stack([np.log1p(gaps), np.arange(len(series)) % 5, opens], axis=1).astype(np.float32)
    return replace(series, starts=starts, gaps=gaps, opens=opens, clock=clock)


def test_a_break_ends_a_piece_and_no_window_crosses_it():
    dataset = dataset_of([broken(), garch_series(400, 4, "B")])
    assert dataset.manifest["assets"][0]["pieces"] == 5
    begins = dataset.segments[:5, 1]
    np.testing.assert_array_equal(begins, [WARMUP, *BREAKS])
    for length in (8, 64):
        starts = dataset.window_starts(length)
        batch_rows = [starts, np.minimum(starts + length, len(dataset.tokens) - 1)]
        piece = [np.searchsorted(dataset.segments[:, 4], rows, side="right") for rows in batch_rows]
        crossing = piece[0] != piece[1]
        sizes = (dataset.segments[:, 2] - dataset.segments[:, 1])[piece[0][crossing]]
        assert (sizes <= length).all(), "only a piece too short for a window reaches beyond its end"
    for split in SPLITS:
        windows = scoring_windows(dataset, split, 32)
        targets = windows.rows[:, 1:][windows.scored]
        np.testing.assert_array_equal(np.sort(targets), dataset.rows(split))
        first = np.searchsorted(dataset.segments[:, 4], windows.rows[:, :1], side="right")
        assert (np.searchsorted(dataset.segments[:, 4], windows.rows, side="right") == first).all()


def test_volatility_is_carried_over_a_break():
    whole, pieces = dataset_of([SERIES]), dataset_of([broken()])
    np.testing.assert_array_equal(whole.market.volatility, pieces.market.volatility)
    np.testing.assert_array_equal(whole.tokens, pieces.tokens)


def test_what_lies_behind_a_short_piece_has_no_weight():
    dataset = dataset_of([broken()])
    starts = dataset.window_starts(64)
    batch = training_batch(dataset, starts, 64, 3000, seed=0, step=0, inputs=True)
    weights, tokens = np.asarray(batch.weights), np.asarray(batch.tokens)
    first = np.random.default_rng([0, 0]).choice(starts, 3000)
    short = (first >= WARMUP) & (first < 101)
    assert short.any()
    for window in np.flatnonzero(short):
        end = 100 if first[window] < 100 else 101
        np.testing.assert_array_equal(weights[window], first[window] + 1 + np.arange(64) < end)
    assert (weights[first > 101] == 1).all()
    model = new_model(PRESETS["tiny"].model, dataset.tokenizer, dataset.manifest, jax.random.key(0))
    garbage = np.where(np.pad(weights, ((0, 0), (1, 0)), constant_values=1) > 0, tokens, 0)
    nats = [np.asarray(cross_entropy(model, batch._replace(tokens=t))) * weights for t in (tokens, garbage)]
    np.testing.assert_array_equal(*nats)


def test_special_tokens_stand_where_they_should_and_are_neither_scored_nor_predicted():
    plain, marked = dataset_of([broken()]), dataset_of([broken()], special_tokens=True)
    is_return = marked.tokens < 128
    np.testing.assert_array_equal(marked.tokens[is_return], plain.tokens)
    for name in ("times", "closes", "returns", "volatility", "inputs"):
        np.testing.assert_array_equal(getattr(marked.market, name)[is_return], getattr(plain.market, name))
    assert np.isnan(marked.market.returns[~is_return]).all()
    assert np.isfinite(marked.market.inputs).all()
    owner = np.cumsum(is_return) - is_return  # which return comes next
    expected = {
        special.BOS: [WARMUP, *BREAKS],
        special.GAP: [t for t in range(WARMUP, 1200) if t % 97 == 50 and t not in BREAKS],
        special.SESSION_OPEN: [t for t in range(WARMUP, 1200) if t % 7 == 0 and t not in (WARMUP, *BREAKS)],
    }
    expected[special.SESSION_CLOSE] = expected[special.SESSION_OPEN]
    for mark, where in expected.items():
        np.testing.assert_array_equal(owner[marked.tokens == 128 + mark], where)
    for begin in marked.segments[:, 1]:
        assert marked.tokens[begin] == 128 + special.BOS
    for split in SPLITS:
        assert (marked.tokens[marked.rows(split)] < 128).all()
    counted = sum(len(marked.rows(split)) for split in SPLITS)
    assert counted == 1200 - WARMUP, "behind a bos even the first return is scored"
    model = new_model(replace(PRESETS["tiny"].model, n_special=6), marked.tokenizer, marked.manifest, jax.random.key(0))
    report = evaluate(model, marked, "test")
    assert report["n_targets"] == len(marked.rows("test"))
    assert report["nats_per_token"] == pytest.approx(report["token_histogram_nats_per_token"], abs=1e-3)
    batch = training_batch(marked, marked.window_starts(32), 32, 50, seed=0, step=0, inputs=True)
    np.testing.assert_array_equal(batch.weights, np.asarray(batch.tokens[:, 1:]) < 128)
    assert np.isfinite(np.asarray(cross_entropy(model, batch))).all()


def test_no_row_knows_what_comes_after_it_but_the_calendar():
    """An input of a special token is what was known after the return before it."""
    marked = dataset_of([broken()], special_tokens=True)
    rows = np.flatnonzero(marked.tokens >= 128)
    rows = rows[rows > marked.segments[0, 1]]
    is_return = marked.tokens < 128
    before = np.maximum.accumulate(np.where(is_return, np.arange(len(marked.tokens)), 0))
    np.testing.assert_array_equal(marked.market.inputs[rows], marked.market.inputs[before[rows]])


def test_ranges_add_five_inputs_that_are_nothing_where_there_is_none():
    log_range = np.log(np.abs(SERIES.log_returns) + 0.01)
    log_range[[200, 700]] = np.nan
    series = replace(SERIES, log_range=log_range)
    dataset = dataset_of([series, garch_series(400, 4, "B")], ranges=True, clock=True)
    assert dataset.manifest["inputs"][8:13] == list(RANGE_NAMES)
    plain = dataset_of([SERIES, garch_series(400, 4, "B")], clock=True).market.inputs
    inputs = np.delete(dataset.market.inputs, range(8, 13), axis=1)
    np.testing.assert_array_equal(inputs, plain)
    found = dataset.market.inputs[:1200, 8:13]
    assert not found[[200, 700], :2].any()
    assert found[[200, 700], 2:].all(), "averages go on"
    assert not dataset.market.inputs[1200:, 8:13].any()
    volatility = dataset.market.volatility[1:1200]  # known before a bar, so after the one before it
    expected = np.clip(log_range[:-1] - np.log(volatility) - 0.43, -3, 3)
    np.testing.assert_allclose(found[:-1, 1], np.nan_to_num(expected), atol=1e-5)
    average = 0.0
    for t in range(300):
        average = average + (1 - 0.5 ** (1 / 11)) * (found[t, 1] - average) if t else found[0, 1]
    assert found[299, 3] == pytest.approx(average, abs=1e-5)


def test_ranges_come_back_out_of_a_dataset():
    series = replace(broken(), log_range=np.log(np.abs(SERIES.log_returns) + 0.01))
    dataset = dataset_of([series], ranges=True, clock=True)
    again = dataset_of([dataset.series(0)], ranges=True, clock=True)
    np.testing.assert_array_equal(again.market.inputs, dataset.market.inputs)


def test_the_clock_adds_three_inputs():
    dataset = dataset_of([broken()], clock=True)
    assert dataset.manifest["inputs"][-3:] == ["log_gap", "log_pause_ahead", "opens_ahead"]
    np.testing.assert_array_equal(dataset.market.inputs[:, -3:], broken().clock)
    np.testing.assert_array_equal(dataset.market.inputs[:, :-3], dataset_of([broken()]).market.inputs)


KINDS = [
    {"tokenizer": "volatility"},
    {"tokenizer": "quantile"},
    {"tokenizer": "uniform"},
    {"tokenizer": "rolling"},
    {"tokenizer": "rolling", "signal": "delta"},
    {"tokenizer": "volatility", "special_tokens": True, "clock": True},
    {"tokenizer": "volatility", "layout": "interleaved"},
]


@pytest.mark.parametrize("settings_of", KINDS, ids=lambda fields: " ".join(map(str, fields.values())))
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_changing_returns_after_t_changes_no_row_up_to_t(settings_of, data):
    """Tokens, inputs, volatility and edges; and after the training dates, the whole tokenizer."""
    t = data.draw(st.integers(900, 1190))
    wild = data.draw(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=20))
    changed = broken().log_returns.copy()
    changed[t + 1 : t + 1 + len(wild)] = wild[: len(changed) - t - 1]
    other = garch_series(1200, 9, "B")
    days = {"train_end": "2002-01-31", "validation_end": "2002-06-30"}  # before row 900
    pair = [
        dataset_of([replace(broken(), log_returns=r), other], **settings_of, **days)
        for r in (broken().log_returns, changed)
    ]
    assert pair[0].tokenizer.to_json() == pair[1].tokenizer.to_json()
    np.testing.assert_array_equal(pair[0].segments, pair[1].segments)
    until = SERIES.times[t]
    before = np.flatnonzero(pair[0].market.times <= until)
    for name, array in pair[0].arrays().items():
        if name not in ("segments", "closes"):
            np.testing.assert_array_equal(array[before], pair[1].arrays()[name][before], err_msg=name)
    known = [dataset.market.known_before for dataset in pair]
    next_row = np.flatnonzero(np.asarray(pair[0].market.times) > until)[:1]
    np.testing.assert_array_equal(known[0][next_row], known[1][next_row])  # the next return's bins are known by now


@pytest.fixture(scope="module")
def patches() -> VQVAETokenizer:
    return VQVAETokenizer.fit([SERIES.log_returns], codes=16, epochs=1)


def test_patches_stay_inside_pieces_and_their_rows_hold_the_whole_patch(patches):
    dataset = dataset_of([broken()], patches)
    returns, starts = broken().log_returns, [0, *BREAKS, 1200]
    whole = [np.arange(low, low + (high - low) // 2 * 2).reshape(-1, 2) for low, high in pairwise(starts)]
    index = np.concatenate(whole)
    np.testing.assert_allclose(dataset.market.returns, returns[index].sum(axis=1))
    np.testing.assert_array_equal(dataset.market.times, SERIES.times[index[:, 1]])
    np.testing.assert_array_equal(dataset.tokens, patches.encode(returns[index.ravel()]))


@settings(max_examples=10, deadline=None)
@given(t=st.integers(300, 1198), wild=st.floats(-0.5, 0.5))
def test_changing_returns_after_t_changes_no_patch_up_to_t(patches, t, wild):
    changed = np.where(np.arange(1200) > t, wild, SERIES.log_returns)
    pair = [dataset_of([replace(SERIES, log_returns=r)], patches) for r in (SERIES.log_returns, changed)]
    before = np.flatnonzero(pair[0].market.times <= SERIES.times[t])
    for name, array in pair[0].arrays().items():
        if name not in ("segments", "closes"):
            np.testing.assert_array_equal(array[before], pair[1].arrays()[name][before], err_msg=name)


def test_interleaved_assets_stand_side_by_side():
    late = garch_series(1000, 2, "B", "2000-06-01")
    hole = np.isin(np.arange(1000), [300, 301])
    late = ReturnSeries("B", late.times[~hole], late.closes[~hole], late.log_returns[~hole])
    dataset, apart = dataset_of([SERIES, late], layout="interleaved"), dataset_of([SERIES, late])
    tokens = np.asarray(dataset.tokens).reshape(-1, 3)
    assert (tokens[:, 0] == 128 + special.SESSION_OPEN).all()
    times = np.asarray(dataset.market.times).reshape(-1, 3)
    assert (times == times[:, :1]).all()
    for column, series in enumerate([SERIES, late], 1):
        there = np.isin(times[:, 0], series.times)
        assert (tokens[~there, column] == 128 + special.MISSING).all()
        assert (tokens[there, column][:WARMUP] == 128 + special.MISSING).all()
        assert (tokens[there, column][WARMUP:] < 128).all()
        rows = apart.segments[column - 1, 0] + np.arange(len(series))
        returns = np.asarray(dataset.market.returns).reshape(-1, 3)[there, column]
        np.testing.assert_array_equal(returns, series.log_returns)
        mine = dataset.asset_rows(column - 1)
        assert (dataset.assets_of(mine) == column - 1).all()
        np.testing.assert_array_equal(np.asarray(apart.market.returns)[rows][WARMUP:], dataset.market.returns[mine])
        np.testing.assert_array_equal(np.asarray(apart.tokens)[rows][WARMUP:], dataset.tokens[mine])
    (begin, train, *_) = dataset.segments[0]
    assert begin == 0
    assert train % 3 == 0
    assert times.ravel()[train] == SERIES.times[WARMUP], "the other asset need not be there yet"
    borders = [dataset.market.times[row] for row in dataset.segments[0, 2:4]]
    splits = dataset.manifest["splits"]
    assert borders[0] == np.datetime64(splits["train_end"]) + np.timedelta64(1, "D")
    assert borders[1] == np.datetime64(splits["validation_end"]) + np.timedelta64(1, "D")
    model = new_model(
        replace(PRESETS["tiny"].model, n_special=6), dataset.tokenizer, dataset.manifest, jax.random.key(0)
    )
    report = evaluate(model, dataset, "test")
    assert set(report["assets"]) == {"A", "B"}
    assert report["n_targets"] == len(dataset.rows("test"))


CHANGES = {
    "tokenizer": "quantile",
    "train_end": "2001-01-31",
    "validation_end": "2002-12-31",
    "special_tokens": True,
    "clock": True,
    "layout": "interleaved",
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_of_the_data_changes_the_dataset(name):
    base, other = (dataset_of([broken()], **given) for given in ({}, {name: CHANGES[name]}))
    assert base.manifest["arrays"] != other.manifest["arrays"] or base.manifest["splits"] != other.manifest["splits"]
    assert name in {f.name for f in fields(DataConfig)}


def test_layouts_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="layout=interleaved has its own special tokens"):
        DataConfig(layout="interleaved", special_tokens=True)
