"""Which bars are due: holidays, breaks, daylight saving and nights, as the exchanges publish them."""

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.calendars import DAY, MONTH, WEEK, Calendar, bar_interval, infer, named, no_calendar
from data_pipeline.errors import BadInput
from data_pipeline.exchanges import INDICES, SUFFIXES, guess

MINUTE, HOUR = np.timedelta64(1, "m"), np.timedelta64(1, "h")


def at(text):
    return np.datetime64(text, "ns")


def times(*texts):
    return np.array(texts, "datetime64[ns]")


def utc(zone, *texts):
    return pd.DatetimeIndex(texts).tz_localize(zone).tz_convert("UTC").tz_localize(None).to_numpy("datetime64[ns]")


def bars(calendar, first, last, interval=DAY):
    return calendar.bars_between(at(first), at(last), interval)


def equal(actual, expected):
    np.testing.assert_array_equal(actual.astype("datetime64[ns]"), expected.astype("datetime64[ns]"))


def inferred(symbol, times):
    calendar, _ = infer(symbol, times)
    return None if calendar is None else calendar.name


def days_closed(calendar, first, last):
    return np.setdiff1d(pd.bdate_range(first, last).to_numpy("datetime64[ns]"), bars(calendar, first, last))


# Sessions and holidays


def test_new_york_traded_on_252_days_of_2024():
    closed = "2024-01-01 2024-01-15 2024-02-19 2024-03-29 2024-05-27 2024-06-19 2024-07-04 2024-09-02 2024-11-28"
    assert len(bars(named("XNYS"), "2024-01-01", "2024-12-31")) == 252
    equal(days_closed(named("XNYS"), "2024-01-01", "2024-12-31"), times(*closed.split(), "2024-12-25"))


def test_new_york_s_holidays_of_1986_are_known():
    closed = "1986-01-01 1986-02-17 1986-03-28 1986-05-26 1986-07-04 1986-09-01 1986-11-27 1986-12-25"
    equal(days_closed(named("XNYS"), "1986-01-01", "1986-12-31"), times(*closed.split()))


def test_twenty_years_of_sessions_are_the_dates_of_the_s_and_p_500():
    from arch.data import sp500

    dates = sp500.load().index.to_numpy("datetime64[ns]")
    equal(named("NYSE").bars_between(dates[0], dates[-1], DAY), dates)


def test_london_keeps_christmas():
    equal(
        bars(named("XLON"), "2024-12-23", "2024-12-30"), times("2024-12-23", "2024-12-24", "2024-12-27", "2024-12-30")
    )
    minutes = bars(named("XLON"), "2024-12-24", "2024-12-27", MINUTE)
    assert minutes[-1] == at("2024-12-24T12:29")  # closes at 12:30 on Christmas Eve


@pytest.mark.parametrize(
    ("day", "closes"),
    [("2024-07-02", "16:00"), ("2024-07-03", "13:00"), ("2024-11-29", "13:00"), ("2024-12-24", "13:00")],
)
def test_new_york_closes_early_on_the_eve_of_holidays(day, closes):
    last = utc("America/New_York", f"{day} {closes}")[0] - MINUTE
    assert bars(named("XNYS"), day, f"{day}T23:59", MINUTE)[-1] == last


def test_hong_kong_and_tokyo_have_lunch():
    hong_kong = bars(named("XHKG"), "2024-06-03", "2024-06-03T23:59", HOUR)
    clock = ["09:30", "10:30", "11:30", "13:00", "14:00", "15:00"]  # 9:30-12:00 and 13:00-16:00
    equal(hong_kong, utc("Asia/Hong_Kong", *(f"2024-06-03 {time}" for time in clock)))
    tokyo = bars(named("XTKS"), "2024-11-01", "2024-11-01T23:59", 30 * MINUTE)
    clock = ["09:00", "09:30", "10:00", "10:30", "11:00", "12:30", "13:00", "13:30", "14:00", "14:30"]
    equal(tokyo, utc("Asia/Tokyo", *(f"2024-11-01 {time}" for time in clock)))
    longer = bars(named("XTKS"), "2024-11-05", "2024-11-05T23:59", 30 * MINUTE)  # since then until 15:30
    assert longer[-1] == utc("Asia/Tokyo", "2024-11-05 15:00")[0]


def test_hong_kong_s_new_year_s_eve_has_no_afternoon():
    minutes = bars(named("XHKG"), "2024-02-09", "2024-02-13T23:59", MINUTE)  # closed on the 12th and 13th
    equal(minutes[[0, -1]], utc("Asia/Hong_Kong", "2024-02-09 09:30", "2024-02-09 11:59"))


def test_hours_are_counted_from_the_open_and_follow_daylight_saving():
    hours = bars(named("XNYS"), "2024-03-08", "2024-03-11T23:59", HOUR)  # clocks went forward on the 10th
    clock = ["09:30", "10:30", "11:30", "12:30", "13:30", "14:30", "15:30"]
    equal(hours, utc("America/New_York", *(f"{day} {time}" for day in ("2024-03-08", "2024-03-11") for time in clock)))
    assert hours[0] == at("2024-03-08T14:30")
    assert hours[7] == at("2024-03-11T13:30")


def test_bars_may_be_stamped_at_their_end():
    calendar, _ = named("XNYS").fit(utc("America/New_York", "2024-01-03 14:30", "2024-01-03 15:30", "2024-01-03 16:00"))
    assert calendar.label == "end"
    ends = ["10:30", "11:30", "12:30", "13:30", "14:30", "15:30", "16:00"]  # the close cuts the last hour short
    expected = utc("America/New_York", *(f"2024-01-03 {end}" for end in ends))
    equal(bars(calendar, "2024-01-03", "2024-01-03T23:59", HOUR), expected)
    equal(calendar.next_bars(at("2024-01-02T21:00"), 7, HOUR), expected)
    assert not calendar.gap_bars(expected, HOUR).any()
    assert (calendar.session_of(expected) == np.datetime64("2024-01-03")).all()


# Markets without a night


def test_crypto_never_closes():
    calendar = named("24/7")
    equal(bars(calendar, "2023-12-30", "2024-01-01"), times("2023-12-30", "2023-12-31", "2024-01-01"))
    equal(
        calendar.next_bars(at("2024-01-05T20:00"), 3, 4 * HOUR), times("2024-01-06", "2024-01-06T04", "2024-01-06T08")
    )
    assert calendar.gap_bars(times("2024-01-05T22", "2024-01-06T01"), HOUR)[1] == 2


def test_foreign_exchange_rests_from_friday_evening_to_sunday_evening_in_new_york():
    calendar = named("24/5")
    weekend = calendar.next_bars(at("2024-01-05T20:00"), 3, HOUR)  # 17:00 in New York is 22:00 UTC in winter
    equal(weekend, times("2024-01-05T21:00", "2024-01-07T22:00", "2024-01-07T23:00"))
    equal(calendar.next_bars(at("2024-07-05T20:00"), 1, HOUR), times("2024-07-07T21:00"))
    around = times("2024-01-05T21:59", "2024-01-07T22:00", "2024-01-07T23:59", "2024-01-08T00:00", "2024-01-08T22:00")
    expected = times("2024-01-05", "2024-01-08", "2024-01-08", "2024-01-08", "2024-01-09")
    equal(calendar.session_of(around), expected)
    np.testing.assert_array_equal(calendar.opens(around), [True, True, False, False, True])


def test_futures_begin_on_the_evening_before_and_rest_an_hour():
    calendar = named("CMES")  # 17:00 to 16:00 in Chicago
    hours = bars(calendar, "2024-01-05T20:00", "2024-01-09T00:00", HOUR)
    assert at("2024-01-05T21:00") in hours and at("2024-01-05T22:00") not in hours
    equal(hours[2:4], times("2024-01-07T23:00", "2024-01-08T00:00"))
    equal(hours[-3:], times("2024-01-08T21:00", "2024-01-08T23:00", "2024-01-09T00:00"))
    equal(calendar.session_of(hours[-3:]), times("2024-01-08", "2024-01-09", "2024-01-09"))
    assert not calendar.gap_bars(hours, HOUR).any()


# The future


def test_next_days_pass_over_the_new_year():
    equal(named("XNYS").next_bars(at("2024-12-30"), 3, DAY), times("2024-12-31", "2025-01-02", "2025-01-03"))
    equal(named("XTKS").next_bars(at("2024-12-30"), 2, DAY), times("2025-01-06", "2025-01-07"))


def test_holidays_are_known_five_years_ahead():
    future = named("XNYS").next_bars(at("2026-01-02"), 6 * 252, DAY)
    assert (np.diff(future) > np.timedelta64(0, "ns")).all() and future[0] == at("2026-01-05")
    for holiday in ("2031-04-11", "2031-11-27", "2031-12-25"):  # Good Friday, Thanksgiving, Christmas
        assert at(holiday) not in future and at(holiday) - DAY in future


def test_bars_beyond_what_is_known_are_refused():
    with pytest.raises(BadInput, match="the last day known of XSHG"):
        named("XSHG").next_bars(at("2026-12-01"), 40_000, DAY)


@pytest.mark.parametrize("label", ["start", "end"])
@pytest.mark.parametrize("interval", [7 * MINUTE, HOUR, 4 * HOUR, DAY, WEEK])
@pytest.mark.parametrize("name", ["XNYS", "XHKG", "24/5", "24/7", "CMES", "IEPA", "XNZE"])
def test_next_bars_continue_bars_between_and_nothing_is_missing_in_them(name, interval, label):
    calendar = Calendar(name, named(name).hours, label)
    expected = bars(calendar, "2024-02-05", "2024-04-15", interval)
    assert len(expected) > 8
    equal(calendar.next_bars(expected[0], len(expected) - 1, interval), expected[1:])
    assert not calendar.gap_bars(expected, interval).any()
    assert (np.diff(calendar.session_of(expected)) >= np.timedelta64(0, "ns")).all()
    if interval != 4 * HOUR:  # whose second bar, cut short by the close or by lunch, hides the spacing
        assert bar_interval(expected) == interval
        assert calendar.fit(expected)[1].all()


# Gaps and sessions


def test_a_holiday_is_no_gap_and_a_missing_session_is_one():
    calendar = named("XNYS")
    days = times("2024-07-02", "2024-07-03", "2024-07-05", "2024-07-09")  # the 4th was a holiday, the 8th a Monday
    np.testing.assert_array_equal(calendar.gap_bars(days, DAY), [0, 0, 0, 1])
    minutes = times("2024-07-03T16:59", "2024-07-05T13:30", "2024-07-05T13:34", "2024-07-08T13:30")
    np.testing.assert_array_equal(calendar.gap_bars(minutes, MINUTE), [0, 0, 3, 385])


@settings(deadline=None, max_examples=30)
@given(st.data(), st.sampled_from(["XNYS", "XHKG", "24/5"]), st.sampled_from([30 * MINUTE, 2 * HOUR, DAY]))
def test_bars_and_gaps_add_up_to_the_expected_bars(data, name, interval):
    calendar = named(name)
    expected = bars(calendar, "2024-03-25", "2024-04-12", interval)
    chosen = data.draw(st.lists(st.sampled_from(list(expected)), min_size=1, unique=True).map(np.sort))
    covered = calendar.bars_between(chosen[0], chosen[-1], interval)
    assert calendar.gap_bars(chosen, interval).sum() + len(chosen) == len(covered)


def test_bars_outside_the_sessions_belong_to_the_next_one_and_are_no_gap():
    calendar = named("XNYS")
    stray = times("2024-07-03T16:59", "2024-07-03T18:00", "2024-07-04T15:00", "2024-07-05T13:29", "2024-07-05T13:30")
    np.testing.assert_array_equal(calendar.gap_bars(stray, MINUTE), 0)
    np.testing.assert_array_equal(calendar.gap_bars(times("2024-07-04T15:00", "2024-07-05T13:31"), MINUTE), [0, 1])
    equal(calendar.session_of(stray), times("2024-07-03", *["2024-07-05"] * 4))
    np.testing.assert_array_equal(calendar.opens(stray), [True, True, False, False, False])


def test_dates_are_sessions_even_where_the_market_is_shut_at_midnight_utc():
    early = times("2012-12-24", "2012-12-31")  # Auckland closed at 12:45, 23:45 UTC on the day before
    equal(named("XNZE").session_of(early), early)
    ends = Calendar("24/7", named("24/7").hours, "end")
    equal(ends.session_of(early), early)
    equal(ends.session_of(early, HOUR), times("2012-12-23", "2012-12-30"))  # hours that end at midnight


def test_weeks_and_months_keep_the_phase_of_their_labels():
    shanghai = named("XSHG")  # all of the week of 2 October 2023 was a holiday
    equal(bars(shanghai, "2023-09-25", "2023-10-16", WEEK), times("2023-09-25", "2023-10-09", "2023-10-16"))
    calendar = named("XNYS")
    equal(calendar.next_bars(at("2023-12-29"), 2, WEEK), times("2024-01-05", "2024-01-12"))
    equal(calendar.next_bars(at("2024-01-31"), 3, MONTH), times("2024-02-29", "2024-03-31", "2024-04-30"))
    equal(calendar.next_bars(at("2024-04-30"), 1, MONTH), times("2024-05-31"))
    equal(calendar.next_bars(at("2024-01-30"), 2, MONTH), times("2024-02-29", "2024-03-30"))
    equal(calendar.next_bars(at("2023-11-01"), 3, MONTH), times("2023-12-01", "2024-01-01", "2024-02-01"))
    equal(calendar.next_bars(at("2023-11-01"), 2, 3 * MONTH), times("2024-02-01", "2024-05-01"))


@pytest.mark.parametrize("interval", [np.timedelta64(0, "h"), -HOUR, 36 * HOUR])
def test_odd_intervals_are_refused(interval):
    with pytest.raises(BadInput, match="shorter than a day nor whole days"):
        named("XNYS").next_bars(at("2024-01-02"), 1, interval)


def test_without_a_calendar_nothing_is_missing_and_nothing_foretold():
    calendar = no_calendar("ACME_7")
    stamps = times("2024-01-05T09:01", "2024-01-05T22:00", "2024-01-09T09:01")
    assert calendar.name == "none"
    assert not calendar.gap_bars(stamps, MINUTE).any()
    assert len(calendar.bars_between(stamps[0], stamps[-1], MINUTE)) == 0
    np.testing.assert_array_equal(calendar.opens(stamps), [True, False, True])
    equal(calendar.session_of(stamps), times("2024-01-05", "2024-01-05", "2024-01-09"))
    with pytest.raises(BadInput, match="no calendar is known for ACME_7; give --calendar"):
        calendar.next_bars(stamps[-1], 5, MINUTE)
    assert named("none").name == "none"


# The usual spacing


def test_the_usual_spacing_is_the_commonest():
    calendar = named("XNYS")
    assert bar_interval(bars(calendar, "2024-01-01", "2024-03-01")) == DAY
    assert bar_interval(bars(calendar, "2024-01-01", "2024-03-01", MINUTE)) == MINUTE
    assert bar_interval(bars(calendar, "2024-01-01", "2024-03-01", 4 * HOUR)) == 4 * HOUR  # two a day
    assert bar_interval(pd.date_range("2020-01-31", periods=40, freq="ME").to_numpy()[::-1]) == MONTH
    assert bar_interval(pd.date_range("2020-01-01", periods=9, freq="QS").to_numpy()) == 3 * MONTH
    rare = np.random.default_rng(0).choice(bars(calendar, "2024-01-01", "2024-03-01", MINUTE), 5000, replace=False)
    assert bar_interval(np.sort(rare)) == MINUTE


def test_a_single_bar_has_no_spacing():
    with pytest.raises(BadInput, match="fewer than two bars"):
        bar_interval(times("2024-01-02", "2024-01-02"))


# Names and guesses


def test_names_are_aliases_or_are_refused_with_the_nearest():
    assert named("NYSE").name == "XNYS"
    with pytest.raises(BadInput, match="no calendar is called 'nyse'; did you mean NYSE, XNYS"):
        named("nyse")
    with pytest.raises(BadInput, match="24/7"):
        named("the moon")


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        *[(symbol, "24/7") for symbol in ("BTC-USD", "DOGE-USDT", "BTCUSD", "ETHUSDT", "BTC/USD", "ETHBTC", "BTC-EUR")],
        *[(symbol, "24/5") for symbol in ("EURUSD=X", "EURUSD", "EUR/USD", "JPY=X", "USDJPY", "XAUUSD")],
        *[
            (symbol, "XNYS")
            for symbol in ("AAPL", "F", "GOOGL", "BRK-B", "BRK.B", "^GSPC", "SP500", "NASDAQ", "WTI", "SPY.US")
        ],
        *[("VOD.L", "XLON"), ("SAP.DE", "XETR"), ("BMW.F", "XFRA"), ("MC.PA", "XPAR"), ("ASML.AS", "XAMS")],
        *[("7203.T", "XTKS"), ("0700.HK", "XHKG"), ("600519.SS", "XSHG"), ("000001.SZ", "XSHG"), ("005930.KS", "XKRX")],
        *[("RY.TO", "XTSE"), ("BHP.AX", "XASX"), ("M&M.NS", "XBOM"), ("PETR4.SA", "BVMF"), ("NESN.SW", "XSWX")],
        *[("^N225", "XTKS"), ("^FTSE", "XLON"), ("^GDAXI", "XETR"), ("^HSI", "XHKG")],
        *[("CL=F", "CMES"), ("ES=F", "CMES"), ("6E=F", "CMES"), ("KC=F", "IEPA")],
    ],
)
def test_symbols_suggest_calendars(symbol, name):
    suggested = guess(symbol)
    assert suggested is not None and suggested.calendar == name


@pytest.mark.parametrize(
    "symbol", ["ACME_7", "NVDA_1999-2014_1d", "aapl", "LONGNAME", "X.ZZ", "", "series 1", "../etc", "12"]
)
def test_other_names_suggest_nothing(symbol):
    assert guess(symbol) is None
    calendar, reason = infer(symbol, times("2024-01-02", "2024-01-03"))
    assert calendar is None and reason.endswith("--calendar settles it")


def test_every_suggested_calendar_exists():
    names = set(SUFFIXES.values()) | set(INDICES) | {"24/7", "24/5", "CMES", "IEPA"}
    assert names <= set(exchange_calendars.get_calendar_names(include_aliases=False))


def test_a_guess_that_the_bars_keep_is_told():
    calendar, reason = infer("AAPL", bars(named("XNYS"), "2024-01-01", "2024-12-31", HOUR))
    assert calendar is not None and (calendar.name, calendar.label) == ("XNYS", "start")
    assert reason == "AAPL looks like a US ticker: calendar XNYS, bars stamped at their start"
    calendar, reason = infer("AAPL", bars(named("XNYS"), "2024-01-01", "2024-12-31", HOUR) + MINUTE)
    assert calendar is None and "100.00% of its bars are at no bar time of XNYS, such as 2024-01-02 14:31 UTC" in reason


def test_bars_that_lie_outside_the_sessions_refute_the_guess():
    days = pd.bdate_range("2006-01-02", "2006-02-27")
    stamps = np.concatenate([pd.date_range(day + pd.Timedelta("9h1min"), periods=780, freq="min") for day in days])
    calendar, reason = infer("STOXX", stamps.astype("datetime64[ns]"))
    assert calendar is None
    assert reason.startswith("STOXX looks like a US ticker, but 5")
    assert "such as 2006-01-02 09:01 UTC; --calendar settles it" in reason


def test_bars_at_the_weekend_refute_a_currency_pair():
    always = np.arange(at("2024-01-01"), at("2024-02-01"), HOUR)
    assert infer("EURUSD", always)[0] is None
    assert inferred("BTCUSD", always) == "24/7"
    assert inferred("EURUSD", bars(named("24/5"), "2024-01-01", "2024-02-01", HOUR)) == "24/5"


def test_one_stray_bar_is_forgiven_and_two_in_forty_are_not():
    days = bars(named("XNYS"), "2024-01-01", "2024-03-01")
    strays = times("2024-01-15", "2024-02-19")  # holidays
    assert inferred("AAPL", np.sort(np.append(days, strays[:1]))) == "XNYS"
    assert infer("AAPL", np.sort(np.append(days, strays)))[0] is None


def test_a_calendar_that_does_not_reach_back_says_so():
    calendar, reason = infer("^N225", pd.bdate_range("1990-01-04", "1999-12-30").to_numpy("datetime64[ns]"))
    assert calendar is None and "XTKS is known from 1997-01-06 to" in reason and "\n" not in reason


def test_a_calendar_that_cannot_be_built_and_a_single_bar_are_reasons(monkeypatch):
    def broken(*_, **__):
        raise ValueError("Special dates [1, 2] are not sessions")

    assert "fewer than two bars" in infer("AAPL", times("2024-01-02"))[1]
    monkeypatch.setattr(exchange_calendars, "get_calendar", broken)
    calendar, reason = infer("TEVA.TA", bars(named("24/7"), "2024-01-01", "2024-02-01"))
    assert calendar is None and "exchange_calendars cannot build XTAE (Special dates)" in reason
