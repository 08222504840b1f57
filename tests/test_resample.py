"""Coarser bars: nothing invented, nothing lost, nothing known early."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.calendars import Calendar, named, no_calendar
from data_pipeline.errors import BadInput
from data_pipeline.resample import interval_name, parse_interval, resample

MINUTE = np.timedelta64(1, "m")
NUMBERS = ["open", "high", "low", "close", "volume", "dividend", "split", "adj_close"]
LADDER = ["1min", "5min", "1h", "1d", "1w"]


def random_bars(times, seed=0):
    """Bars whose prices and volumes are whole numbers, so that sums do not depend on their order."""
    rng = np.random.default_rng(seed)
    low, open_, close, high = np.sort(rng.integers(90, 120, (4, len(times))), axis=0)
    swap = rng.random(len(times)) < 0.5
    open_, close = np.where(swap, close, open_), np.where(swap, open_, close)
    volume = rng.integers(0, 9, len(times))
    dividend = rng.integers(1, 4, len(times)) * (rng.random(len(times)) < 0.01)
    split = np.where(rng.random(len(times)) < 0.01, 2.0, 0.0)
    columns = dict(zip(NUMBERS, [open_, high, low, close, volume, dividend, split, close / 2], strict=True))
    return pd.DataFrame({"unique_id": "A", "ds": times} | {name: v.astype(float) for name, v in columns.items()})


def session_minutes(calendar, first="2024-07-02", last="2024-07-08T23:59"):
    return calendar.bars_between(np.datetime64(first, "ns"), np.datetime64(last, "ns"), MINUTE)


def same(a, b):
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True), check_dtype=False)


@st.composite
def sparse_minutes(draw):
    """Minutes of some days of New York or Hong Kong, stamped either way, up to a fifth of them missing."""
    name, label, seed = (
        draw(st.sampled_from(["XNYS", "XHKG"])),
        draw(st.sampled_from(["start", "end"])),
        draw(st.integers(0, 99)),
    )
    calendar = Calendar(name, named(name).hours, label)
    times = session_minutes(calendar, "2024-07-03", "2024-07-09T12:00")
    missing = np.random.default_rng(seed).random(len(times)) < draw(st.sampled_from([0.0, 0.02, 0.2]))
    return calendar, random_bars(times[~missing], seed)


def test_a_bar_is_the_first_open_the_extremes_the_last_close_and_the_sums():
    times = pd.date_range("2024-07-02 13:30", periods=10, freq="min").to_numpy("datetime64[ns]")
    bars = pd.DataFrame(
        {
            "unique_id": "A",
            "ds": times,
            "open": [3.0, 4, 5, 6, 7, 8, 7, 6, 5, 4],
            "high": [4.0, 9, 6, 7, 8, 9, 8, 7, 6, 5],
            "low": [2.0, 3, 4, 1, 6, 7, 6, 5, 4, 3],
            "close": [4.0, 5, 6, 7, 8, 7, 6, 5, 4, 3],
            "volume": [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            "adj_close": [2.0, 2.5, 3, 3.5, 4, 3.5, 3, 2.5, 2, 1.5],
            "dividend": [0.0, 0.1, 0, 0.2, 0, 0, 0, 0, 0, 0],
            "split": [0.0, 2, 0, 3, 0, 0, 0, 0, 0, 0],
        }
    )
    made = resample(bars, "5min", named("XNYS"))
    assert list(made.columns) == list(bars.columns)
    assert list(made["ds"]) == [pd.Timestamp("2024-07-02 13:30"), pd.Timestamp("2024-07-02 13:35")]
    np.testing.assert_allclose(made.drop(columns=["unique_id", "ds"]).to_numpy(), [
        [3, 9, 1, 8, 15, 4, 0.3, 6],
        [8, 9, 3, 3, 40, 1.5, 0, 0],
    ])  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(sparse_minutes())
def test_one_step_or_many_give_the_same_bars(given_bars):
    calendar, bars = given_bars
    step = bars
    for before, interval in itertools.pairwise(LADDER):
        step = resample(step, interval, calendar, spacing=parse_interval(before))
        same(step, resample(bars, interval, calendar))


@pytest.mark.parametrize("name", ["XNYS", "24/5", "24/7"])
@pytest.mark.parametrize("label", ["start", "end"])
def test_hours_make_the_same_weeks_as_their_days(name, label):
    calendar, hour = Calendar(name, named(name).hours, label), np.timedelta64(1, "h")
    bars = random_bars(calendar.bars_between(np.datetime64("2024-06-03"), np.datetime64("2024-06-24"), hour))
    pairs = resample(bars, "2h", calendar)
    days = resample(bars, "1d", calendar)
    same(days, resample(pairs, "1d", calendar))
    same(resample(days, "1w", calendar), resample(bars, "1w", calendar))


@settings(deadline=None, max_examples=40)
@given(sparse_minutes(), st.sampled_from(LADDER[1:4]), st.floats(0.3, 0.99))
def test_a_bar_is_the_same_whatever_comes_after_it(given_bars, interval, share):
    calendar, bars = given_bars
    cut = int(share * len(bars))
    whole, known = resample(bars, interval, calendar), resample(bars.iloc[:cut], interval, calendar)
    same(known, whole[: len(known)])
    changed = bars.copy()
    changed.loc[cut:, NUMBERS] *= 7.0
    same(known, resample(changed, interval, calendar)[: len(known)])


@settings(deadline=None, max_examples=25)
@given(sparse_minutes(), st.sampled_from(LADDER[1:4]))
def test_volume_is_conserved_and_prices_stay_in_order(given_bars, interval):
    calendar, bars = given_bars
    made = resample(bars, interval, calendar)
    labels, _ = calendar.coarser(bars["ds"].to_numpy(), MINUTE, parse_interval(interval))
    covered = bars[labels <= made["ds"].max()]
    for name in ("volume", "dividend"):
        assert made[name].sum() == covered[name].sum()
    assert (made["high"] >= made[["open", "close"]].max(axis=1)).to_numpy().all()
    assert (made["low"] <= made[["open", "close"]].min(axis=1)).to_numpy().all()
    assert len(bars) - len(covered) < np.count_nonzero(labels == labels[-1]) + 1
    assert made["ds"].is_monotonic_increasing and made["ds"].is_unique


def test_a_finished_session_is_a_bar_and_an_unfinished_one_is_none():
    calendar = named("XNYS")
    bars = random_bars(session_minutes(calendar, "2024-07-02", "2024-07-03T23:59"))  # the 3rd closes at 13:00
    assert [str(day)[:10] for day in resample(bars, "1d", calendar)["ds"]] == ["2024-07-02", "2024-07-03"]
    assert [str(day)[:10] for day in resample(bars.iloc[:-1], "1d", calendar)["ds"]] == ["2024-07-02"]
    hours = resample(bars, "1h", calendar)  # 9:30 … 15:30, then 9:30 … 12:30 cut short by the close
    assert len(hours) == 7 + 4
    assert hours["ds"].iloc[-1] == pd.Timestamp("2024-07-03 16:30")
    assert len(resample(bars.iloc[:-1], "1h", calendar)) == 7 + 3


def test_a_week_ends_with_its_last_session():
    calendar = named("XNYS")
    days = calendar.bars_between(np.datetime64("2024-03-18"), np.datetime64("2024-03-28"), np.timedelta64(1, "D"))
    bars = random_bars(days)  # Good Friday was the 29th
    weeks = resample(bars, "1w", calendar)
    assert [str(day)[:10] for day in weeks["ds"]] == ["2024-03-18", "2024-03-25"]
    np.testing.assert_array_equal(weeks["volume"].to_numpy().sum(), bars["volume"].to_numpy().sum())
    assert len(resample(bars.iloc[:-1], "1w", calendar)) == 1
    assert [str(day)[:10] for day in resample(bars, "1mo", calendar)["ds"]] == ["2024-03-01"]


def test_bars_do_not_straddle_lunch_or_the_night():
    calendar = named("XHKG")
    bars = random_bars(session_minutes(calendar, "2024-06-03", "2024-06-04T23:59"))
    hours = resample(bars, "1h", calendar)
    clock = pd.DatetimeIndex(hours["ds"]).tz_localize("UTC").tz_convert("Asia/Hong_Kong").strftime("%H:%M")
    assert list(clock) == ["09:30", "10:30", "11:30", "13:00", "14:00", "15:00"] * 2
    assert hours["volume"].iloc[2] == bars["volume"].iloc[120:150].sum()  # 11:30 to 12:00


def test_bars_stamped_at_their_end_stay_so():
    calendar = Calendar("XNYS", named("XNYS").hours, "end")
    bars = random_bars(session_minutes(calendar, "2024-07-02", "2024-07-02T23:59"))
    hours = resample(bars, "1h", calendar)
    assert [str(time)[11:16] for time in hours["ds"]] == ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:00"]
    assert hours["volume"].iloc[0] == bars["volume"].iloc[:60].sum()
    assert resample(bars, "1d", calendar)["ds"].tolist() == [pd.Timestamp("2024-07-02")]


def test_a_bar_that_ends_later_is_not_in_an_earlier_bar():
    times = pd.date_range("2024-07-02 13:32", periods=24, freq="5min").to_numpy("datetime64[ns]")  # off by 2 minutes
    bars = random_bars(times)
    made = resample(bars, "15min", named("XNYS"))
    assert made["ds"].iloc[0] == pd.Timestamp("2024-07-02 13:30")
    assert made["close"].iloc[0] == bars["close"].iloc[1]  # 13:37 to 13:42; the next ends at 13:47


def test_currencies_have_days_that_begin_in_the_evening():
    calendar = named("24/5")
    hours = np.timedelta64(1, "h")
    times = calendar.bars_between(np.datetime64("2024-01-05T12"), np.datetime64("2024-01-09T21"), hours)
    bars = random_bars(times)
    days = resample(bars, "1d", calendar)
    assert [str(day)[:10] for day in days["ds"]] == ["2024-01-05", "2024-01-08", "2024-01-09"]
    assert (
        days["volume"].iloc[1]
        == bars["volume"][(bars["ds"] >= "2024-01-07 22:00") & (bars["ds"] < "2024-01-08 22:00")].sum()
    )


def test_without_a_calendar_days_are_those_of_utc():
    times = pd.date_range("2024-01-05 09:01", "2024-01-07 23:59", freq="min").to_numpy("datetime64[ns]")
    bars = random_bars(times)
    assert [str(day)[:10] for day in resample(bars, "1d", no_calendar())["ds"]] == [
        "2024-01-05",
        "2024-01-06",
        "2024-01-07",
    ]
    assert len(resample(bars.iloc[:-1], "1d", no_calendar())) == 2


def test_missing_figures_stay_missing_and_missing_bars_are_not_invented():
    calendar = named("XNYS")
    bars = random_bars(session_minutes(calendar, "2024-07-02", "2024-07-02T23:59"))
    bars.loc[3, "close"] = np.nan
    bars.loc[4, ["high", "volume"]] = np.nan
    bars = bars.drop(index=range(10, 15)).drop(columns=["adj_close", "split"])
    made = resample(bars, "5min", calendar)
    assert len(made) == 78 - 1 and pd.Timestamp("2024-07-02 13:40") not in set(made["ds"])
    assert made[["high", "volume"]].iloc[0].isna().all() and made.iloc[1:].notna().all().all()
    assert "adj_close" not in made and "split" not in made
    assert made["low"].iloc[0] == bars["low"].iloc[[0, 1, 2, 4]].min()
    empty = bars.assign(close=np.nan)
    assert len(resample(empty, "5min", calendar)) == 0 and list(resample(empty, "5min", calendar)) == list(bars)


def test_bars_outside_the_sessions_are_left_out():
    calendar = named("XNYS")
    inside = random_bars(session_minutes(calendar, "2024-07-02", "2024-07-03T23:59"))
    before = random_bars(pd.date_range("2024-07-03 12:00", periods=60, freq="min").to_numpy("datetime64[ns]"), seed=1)
    same(resample(pd.concat([inside, before]).sort_values("ds"), "1d", calendar), resample(inside, "1d", calendar))


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ("1min", "1min bars cannot be made of 5min bars"),
        ("7min", "7min bars cannot be made of 5min bars"),
        ("36h", "bars of 36 h are neither shorter than a day nor whole days"),
        ("fortnight", "interval 'fortnight'"),
    ],
)
def test_finer_bars_and_fractions_are_refused(interval, says):
    calendar = named("XNYS")
    bars = resample(random_bars(session_minutes(calendar)), "5min", calendar)
    with pytest.raises(BadInput, match=says):
        resample(bars, interval, calendar)
    same(resample(bars, "5min", calendar), bars)


def test_weeks_do_not_make_months():
    weeks = random_bars(pd.date_range("2024-01-01", periods=30, freq="W-MON").to_numpy("datetime64[ns]"))
    with pytest.raises(BadInput, match="1mo bars cannot be made of 1w bars"):
        resample(weeks, "1mo", named("XNYS"))


def test_disorder_is_refused():
    bars = random_bars(session_minutes(named("XNYS")))
    for wrong in (bars.iloc[::-1], pd.concat([bars, bars]).sort_values("ds")):
        with pytest.raises(BadInput, match="times do not rise"):
            resample(wrong, "5min", named("XNYS"))


@pytest.mark.parametrize(
    ("text", "seconds", "name"),
    [
        ("1m", 60, "1min"),
        ("1min", 60, "1min"),
        ("5m", 300, "5min"),
        ("60m", 3600, "1h"),
        ("90min", 5400, "90min"),
        ("h", 3600, "1h"),
        ("4H", 14400, "4h"),
        ("1d", 86400, "1d"),
        ("24h", 86400, "1d"),
        ("1wk", 604800, "1w"),
        ("1mo", 30 * 86400, "1mo"),
        ("30s", 30, "30s"),
    ],
)
def test_intervals_are_read_and_named(text, seconds, name):
    assert parse_interval(text) == np.timedelta64(seconds, "s")
    assert parse_interval(text).dtype == np.dtype("timedelta64[ns]")
    assert interval_name(parse_interval(text)) == name


@pytest.mark.parametrize("text", ["", "1M", "0min", "-1h", "1.5h", "5", "1x", "99999h", "1h30m", "1 2 d"])
def test_other_intervals_are_refused(text):
    with pytest.raises(BadInput, match="write 1min, 5min, 1h"):
        parse_interval(text)
