"""The data-quality report: every fault found where it is, nothing found where there is none, nothing invented."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import garch_series
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_pipeline import BadInput
from data_pipeline.calendars import named
from data_pipeline.checks import KINDS, inspect
from mqc_jax.commands.data import check
from mqc_jax.flags import run_command

ALWAYS, NEW_YORK = named("24/7"), named("XNYS")
N = 600
PRICES = ["open", "high", "low", "close"]
places = st.tuples(
    st.integers(0, 10_000), st.integers(60, N - 60)
)  # seed of the history, bar at which something is wrong
few = settings(max_examples=15, deadline=None)


def bars_of(seed, n=N, ohlc=True, start="2000-01-03"):
    """A clean daily history that trades every day, as a source delivers it."""
    series, rng = garch_series(n, seed, start=start), np.random.default_rng(seed)
    close = series.closes
    bars = pd.DataFrame({"unique_id": "A", "ds": series.times, "close": close})
    if not ohlc:
        return bars
    opened = np.concatenate([close[:1], close[:-1]]) * np.exp(0.003 * rng.standard_normal(n))
    wick = np.exp(0.004 * np.abs(rng.standard_normal((2, n))))
    high, low = np.maximum(opened, close) * wick[0], np.minimum(opened, close) / wick[1]
    volume = np.round(1e6 * np.exp(0.25 * rng.standard_normal(n)))
    return bars.assign(open=opened, high=high, low=low, volume=volume)


def scaled(bars, rows, factor, columns=("close",)):
    """The bars with the prices of some rows multiplied."""
    bars = bars.copy()
    for name in set(columns) & set(bars):
        bars.loc[bars.index[rows], name] *= factor
    return bars


def found(cleaned):
    return {(finding.kind, finding.ds) for finding in cleaned.findings}


def day(bars, row):
    return str(bars["ds"].iloc[row])[:10]


def broken_at(cleaned):
    """Days into which no return is formed, but the first."""
    return [day(cleaned.bars, row) for row in np.flatnonzero(cleaned.breaks)[1:]]


@pytest.mark.parametrize("ohlc", [True, False])
def test_clean_histories_have_no_findings(ohlc):
    for seed in range(60):
        bars = bars_of(seed, 800, ohlc)
        cleaned = inspect(bars, ALWAYS)
        assert cleaned.findings == [], seed
        assert cleaned.breaks.tolist() == [True] + [False] * 799
        pd.testing.assert_frame_equal(cleaned.bars, bars)


def test_clean_ticks_of_a_quiet_minute_market_have_no_findings():
    rng, n = np.random.default_rng(0), 40_000
    quiet = np.sin(np.arange(n) / 150) > 0  # hours in which most minutes repeat the last price
    close = 3600 + np.cumsum(np.where(rng.random(n) < np.where(quiet, 0.12, 0.9), rng.choice([-1, 1], n), 0))
    times = np.datetime64("2006-01-02", "ns") + np.arange(n) * np.timedelta64(1, "m")
    assert inspect(pd.DataFrame({"unique_id": "A", "ds": times, "close": close * 1.0}), ALWAYS).findings == []


def test_the_bundled_prices_hold_what_we_know_of_them():
    """Crashes are not errors: the Gulf War's -40 % is reported and kept, 2000, 2001 and 2008 are nothing at all."""
    from data_pipeline.sources import load_bars

    kinds, pieces = {}, {}
    for unique_id, bars in load_bars("bundled").groupby("unique_id"):
        cleaned = inspect(bars, NEW_YORK)
        kinds[unique_id] = pd.Series([finding.kind for finding in cleaned.findings], dtype=object).value_counts()
        pieces[unique_id] = cleaned.breaks.sum()
        assert len(cleaned.bars) == len(bars)
        if unique_id == "WTI":
            assert ("large_move", "1991-01-17") in found(cleaned)
    assert {name: dict(counts) for name, counts in kinds.items()} == {
        "SP500": {},
        "NASDAQ": {},
        "WTI": {"gap": 27, "outside_session": 1, "large_move": 1},
    }
    assert pieces == {"SP500": 1, "NASDAQ": 1, "WTI": 1}


OCTOBER_1987 = [305.23, 298.08, 282.70, 224.84, 236.83, 258.38, 248.25, 248.22, 227.67, 233.19, 233.28]
MARCH_2020 = [
    2746.56,
    2882.23,
    2741.38,
    2480.64,
    2711.02,
    2386.13,
    2529.19,
    2398.10,
    2409.39,
    2304.92,
    2237.40,
    2447.33,
]


@pytest.mark.parametrize("crash", [OCTOBER_1987, MARCH_2020])
def test_crashes_of_the_s_and_p_500_are_neither_spikes_nor_splits(crash):
    for seed in range(30):
        before, after = bars_of(seed, 300, ohlc=False), bars_of(seed + 1, 300, ohlc=False)
        price = np.concatenate([before["close"], crash, after["close"]])
        price[:300] *= crash[0] / price[299]
        price[-300:] *= crash[-1] / price[-300]
        bars = bars_of(0, len(price), ohlc=False).assign(close=price)
        assert inspect(bars, ALWAYS).findings == []


def test_a_fall_by_a_third_on_heavy_trading_is_no_split():
    """NVIDIA's 2008-07-03, in its numbers: -31 % at the open, twice the usual turnover."""
    bars = bars_of(0)
    rows = slice(300, None)
    bars = scaled(scaled(bars, rows, 0.693, PRICES), [300], 3.9, ["volume"])
    assert not {kind for kind, _ in found(inspect(bars, ALWAYS))} & {"spike", "split_unadjusted", "unit_error"}


@few
@given(st.integers(0, 10_000))
def test_shuffled_and_repeated_rows_equal_the_sorted_ones(seed):
    bars, rng = bars_of(seed, 80), np.random.default_rng(seed)
    again = bars.iloc[rng.integers(0, 80, 5)]
    mixed = pd.concat([bars, again]).sample(frac=1, random_state=seed)
    original = mixed.copy()
    cleaned = inspect(mixed, ALWAYS)
    pd.testing.assert_frame_equal(cleaned.bars, bars)
    pd.testing.assert_frame_equal(mixed, original)
    kinds = [finding.kind for finding in cleaned.findings]
    assert kinds.count("duplicate") == 5
    assert kinds.count("disorder") == 1
    assert not cleaned.breaks[1:].any()


def test_newest_first_is_said_once():
    (finding,) = inspect(bars_of(1)[::-1], ALWAYS).findings
    assert (finding.kind, finding.action) == ("disorder", "sorted")
    assert finding.evidence == "599 of 600 rows stand below a later one (newest first)"


def test_conflicting_duplicates_are_refused_with_both_prices():
    bars = bars_of(2, ohlc=False)
    twice = pd.concat([bars, scaled(bars.iloc[[7]], [0], 2)])
    a, b = bars["close"].iloc[7], 2 * bars["close"].iloc[7]
    with pytest.raises(BadInput) as error:
        inspect(twice, ALWAYS)
    for word in ("A:", "2000-01-10", f"{a:g}", f"{b:g}", "remove the wrong row"):
        assert word in str(error.value)
    empty = pd.concat([bars, bars.iloc[[7]].assign(close=np.nan)])
    assert found(inspect(empty.sort_values("ds"), ALWAYS)) == {("duplicate", "2000-01-10")}, (
        "one of the two rows has a price"
    )


def test_a_row_without_a_time_is_refused():
    bars = bars_of(2, 30)
    bars.loc[4, "ds"] = pd.NaT
    with pytest.raises(BadInput, match="A: row 5 has no time"):
        inspect(bars, ALWAYS)


@few
@given(places, st.sampled_from([np.nan, np.inf, 0.0, -37.63]))
def test_unusable_prices_are_dropped_and_break_the_history(place, price):
    seed, row = place
    bars = bars_of(seed, ohlc=False)
    bars.loc[row : row + 2, "close"] = price
    cleaned = inspect(bars, ALWAYS)
    kind = "missing_price" if not np.isfinite(price) else "nonpositive_price"
    assert found(cleaned) == {(kind, day(bars, row))}
    assert f"3 bars, {day(bars, row)} to {day(bars, row + 2)}" in cleaned.findings[0].evidence
    assert broken_at(cleaned) == [day(bars, row + 3)]
    pd.testing.assert_frame_equal(cleaned.bars, bars.drop(index=[row, row + 1, row + 2]).reset_index(drop=True))


def test_rows_without_a_price_on_holidays_are_dropped_without_a_break():
    days = NEW_YORK.bars_between(np.datetime64("2023-01-03"), np.datetime64("2023-12-29"), np.timedelta64(1, "D"))
    holiday = np.datetime64("2023-07-04", "ns")
    bars = bars_of(3, len(days) + 1, ohlc=False).assign(ds=np.sort(np.append(days, holiday)))
    bars.loc[bars["ds"] == holiday, "close"] = np.nan
    cleaned = inspect(bars, NEW_YORK)
    assert [(f.kind, f.ds, f.action) for f in cleaned.findings] == [("missing_price", "2023-07-04", "dropped")]
    assert broken_at(cleaned) == []


@pytest.mark.parametrize(("missing", "action"), [(1, "kept"), (5, "kept"), (6, "break"), (90, "break")])
def test_gaps_up_to_five_bars_are_one_return_and_longer_ones_a_break(missing, action):
    bars = bars_of(4, ohlc=False).drop(index=range(200, 200 + missing))
    cleaned = inspect(bars, ALWAYS)
    (finding,) = cleaned.findings
    assert (finding.kind, finding.ds, finding.action) == ("gap", day(bars, 200), action)
    assert finding.evidence.startswith(f"{missing} bar")
    assert broken_at(cleaned) == ([day(bars, 200)] if action == "break" else [])


def test_bars_while_the_market_is_closed_are_counted_and_kept():
    days = NEW_YORK.bars_between(np.datetime64("2023-01-03"), np.datetime64("2023-12-29"), np.timedelta64(1, "D"))
    weekend = np.array(["2023-03-04", "2023-03-05"], "datetime64[ns]")
    bars = bars_of(3, len(days) + 2, ohlc=False).assign(ds=np.sort(np.append(days, weekend)))
    cleaned = inspect(bars, NEW_YORK)
    (finding,) = cleaned.findings
    assert (finding.kind, finding.ds) == ("outside_session", "2023-03-04")
    assert finding.evidence == "2 of 252 bars at no bar time of XNYS, the last 2023-03-05"
    assert len(cleaned.bars) == len(bars)


@few
@given(places, st.integers(5, 40), st.booleans())
def test_stale_runs_are_found_where_they_are(place, length, ohlc):
    seed, row = place
    bars = bars_of(seed, ohlc=ohlc)
    last = bars["close"].iloc[row]
    for name in set(PRICES) & set(bars):
        bars.loc[row + 1 : row + length - 1, name] = last
    bars.loc[row + length :, list(set(PRICES) & set(bars))] *= last / bars["close"].iloc[row + length - 1]
    if ohlc:
        bars.loc[row + 1 : row + length - 1, "volume"] = 0.0
    cleaned = inspect(bars, ALWAYS)
    stale = [finding for finding in cleaned.findings if finding.kind == "stale"]
    assert [finding.ds for finding in stale] == [day(bars, row)]
    assert f"{length} bars, {day(bars, row)} to" in stale[0].evidence
    assert not cleaned.breaks[1:].any()


def test_equal_closes_with_trading_between_them_are_not_stale():
    bars = bars_of(5)
    bars.loc[100:120, "close"] = bars["close"].iloc[100]
    assert "stale" not in {kind for kind, _ in found(inspect(bars, ALWAYS))}


def test_a_price_that_never_moves_is_flat():
    bars = bars_of(5, ohlc=False).assign(close=7.75)
    assert {kind for kind, _ in found(inspect(bars, ALWAYS))} == {"flat", "short_history"}


def test_bounds_that_do_not_hold_the_body_are_found_and_rounding_is_not():
    bars = bars_of(6)
    assert found(inspect(scaled(bars, [50], 1 - 1e-7, ["high"]).assign(open=bars["close"]), ALWAYS)) == set()
    wrong = bars.copy()
    wrong.loc[50, "high"] = wrong.loc[50, "close"] * 0.99
    wrong.loc[70:71, "low"] = wrong.loc[70:71, "high"]
    wrong.loc[90, "open"] = 0.0
    cleaned = inspect(wrong, ALWAYS)
    assert found(cleaned) == {("ohlc_bounds", day(bars, row)) for row in (50, 70, 90)}
    assert len(cleaned.bars) == N


@few
@given(places, st.sampled_from([0.3, 3.0, 0.01, 100.0]), st.booleans(), st.booleans())
def test_one_bad_bar_is_dropped_between_breaks(place, factor, ohlc, whole_bar):
    seed, row = place
    bars = bars_of(seed, ohlc=ohlc)
    assume(abs(np.log(bars["close"].iloc[row + 1] / bars["close"].iloc[row - 1])) < 0.02)
    wrong = scaled(bars, [row], factor, PRICES if whole_bar else ["close"])
    cleaned = inspect(wrong, ALWAYS)
    kind = "spike" if factor in (0.3, 3.0) else "unit_error"
    assert {(k, ds) for k, ds in found(cleaned) if k != "ohlc_bounds"} == {(kind, day(bars, row))}
    assert broken_at(cleaned) == [day(bars, row + 1)]
    pd.testing.assert_frame_equal(cleaned.bars, bars.drop(index=row).reset_index(drop=True))


def test_the_good_bar_between_two_bad_ones_stays():
    bars = bars_of(7, ohlc=False)
    cleaned = inspect(scaled(bars, [200, 202], 2.7), ALWAYS)
    assert found(cleaned) == {("spike", day(bars, 200)), ("spike", day(bars, 202))}
    assert broken_at(cleaned) == [day(bars, 201), day(bars, 203)]


def test_a_move_that_was_traded_is_no_spike():
    """The next bar opens where the odd one closed: a flash crash, not an error."""
    bars = scaled(bars_of(8), [200], 0.6)
    bars.loc[200, "low"] = bars.loc[200, "close"]
    bars.loc[201, ["open", "low"]] = bars.loc[200, "close"]
    cleaned = inspect(bars, ALWAYS)
    assert {kind for kind, _ in found(cleaned)} == {"large_move"}
    assert not cleaned.breaks[1:].any()


@pytest.mark.parametrize("factor", [0.3, 0.5, 2.0, 3.0])
def test_at_the_last_bar_nobody_can_know_and_it_stays(factor):
    for seed in range(5):
        bars = scaled(bars_of(seed, ohlc=False), [N - 1], factor)
        cleaned = inspect(bars, ALWAYS)
        assert found(cleaned) == {("large_move", day(bars, N - 1))}
        assert not cleaned.breaks[1:].any()


def test_large_moves_are_told_even_where_they_are_usual():
    rng = np.random.default_rng(0)
    wild = np.clip(0.15 * rng.standard_normal(N), -0.3, 0.3)
    wild[[100, 200]] = 0.41, 0.39
    bars = bars_of(0, ohlc=False).assign(close=100 * np.exp(np.cumsum(wild)))
    assert found(inspect(bars, ALWAYS)) == {("large_move", day(bars, 100))}


def test_a_price_that_halves_for_three_days_was_not_split():
    for seed in range(5):
        bars = scaled(bars_of(seed, ohlc=False), slice(300, 303), 0.5)
        assert {kind for kind, ds in found(inspect(bars, ALWAYS)) if ds == day(bars, 300)} == {"large_move"}


@few
@given(places, st.sampled_from([100.0, 0.01, 1000.0, 10.0]), st.integers(2, 40), st.booleans())
def test_a_stretch_in_another_unit_is_a_piece_of_its_own(place, factor, length, ohlc):
    seed, row = place
    bars = bars_of(seed, ohlc=ohlc)
    cleaned = inspect(scaled(bars, slice(row, row + length), factor, PRICES), ALWAYS)
    assert found(cleaned) == {("unit_error", day(bars, row)), ("unit_error", day(bars, row + length))}
    assert broken_at(cleaned) == [day(bars, row), day(bars, row + length)]


@few
@given(places, st.sampled_from([0.5, 1 / 3, 0.25, 0.1, 2.0, 5.0, 10.0]), st.booleans())
def test_splits_that_nobody_adjusted_for_are_breaks(place, factor, ohlc):
    seed, row = place
    bars = scaled(bars_of(seed, ohlc=ohlc), slice(row, None), factor, PRICES)
    if ohlc:
        bars.loc[row:, "volume"] /= factor
    cleaned = inspect(bars, ALWAYS)
    jumps = {(kind, ds) for kind, ds in found(cleaned) if ds == day(bars, row)}
    ordinary = abs(np.log(bars["close"].iloc[row] / bars["close"].iloc[row - 1] / factor)) < 0.015
    assert jumps == {("split_unadjusted", day(bars, row))} or not ordinary
    assert len(jumps) == 1, "a jump as large is never passed over"
    assert broken_at(cleaned) == [ds for kind, ds in jumps if kind == "split_unadjusted"]


def test_a_recorded_split_is_a_break_only_where_the_price_still_shows_it():
    bars = bars_of(10).assign(split=0.0, dividend=0.0)
    bars.loc[300, "split"] = 1.5
    assert found(inspect(bars, ALWAYS)) == set()
    raw = scaled(bars, slice(300, None), 1 / 1.5, PRICES)
    raw.loc[300, "volume"] *= 10
    assert found(inspect(raw, ALWAYS)) == {("split_unadjusted", day(bars, 300))}
    adjusted = raw.assign(adj_close=bars["close"])
    assert found(inspect(adjusted, ALWAYS)) == set(), "adj_close is the price, and it is adjusted"


def paying(seed, wrong_rows=(), factor=1.0):
    """Bars with a quarterly dividend of 0.5 % and the adjusted close it makes; some dividends counted wrongly."""
    bars = bars_of(seed)
    dividend, close = np.zeros(N), bars["close"].to_numpy()
    rows = np.arange(50, N, 63)
    dividend[rows] = np.round(0.005 * close[rows - 1], 4)
    counted = dividend.copy()
    counted[list(wrong_rows)] *= factor
    growth = 1 - np.concatenate([counted[1:] / close[:-1], [0.0]])
    adj_close = close * np.cumprod(growth[::-1])[::-1]
    return bars.assign(adj_close=np.round(adj_close, 6), dividend=dividend)


@pytest.mark.parametrize("columns", [[], ["dividend"]])
def test_adjustments_that_dividends_explain_are_fine(columns):
    for seed in range(10):
        bars = paying(seed).drop(columns=columns).round({"close": 2, "adj_close": 2, "high": 2, "low": 2, "open": 2})
        assert {kind for kind, _ in found(inspect(bars, ALWAYS))} <= {"ohlc_bounds"}


def test_vendors_may_divide_a_dividend_by_the_close_of_its_own_day():
    for seed in range(10):
        bars = bars_of(seed).assign(dividend=0.0)
        bars.loc[300, "dividend"] = 0.03 * bars["close"].iloc[300]
        adj_close = bars["close"].where(bars.index >= 300, bars["close"] / 1.03)
        assert found(inspect(bars.assign(adj_close=adj_close), ALWAYS)) == set()


@pytest.mark.parametrize(("factor", "breaks"), [(0.0, False), (2.0, False), (50.0, True)])
def test_dividends_wrongly_counted_are_found(factor, breaks):
    bars = paying(11, [239], factor)
    cleaned = inspect(bars, ALWAYS)
    assert found(cleaned) == {("dividend_misapplied", day(bars, 239))}
    assert broken_at(cleaned) == ([day(bars, 239)] if breaks else [])


def test_adjusted_closes_without_dividends_must_not_fall_nor_leap():
    bars = paying(12).drop(columns="dividend")
    assert found(inspect(scaled(bars, slice(300, None), 0.99, ["adj_close"]), ALWAYS)) == {
        ("dividend_misapplied", day(bars, 300))
    }
    twice = scaled(bars, slice(300, None), 2, ["adj_close"])  # a split adjusted for, of a close that already was
    cleaned = inspect(twice, ALWAYS)
    assert found(cleaned) == {("dividend_misapplied", day(bars, 300))}
    assert broken_at(cleaned) == [day(bars, 300)]


@few
@given(st.integers(0, 10_000))
def test_whatever_is_wrong_nothing_is_invented(seed):
    rng = np.random.default_rng(seed)
    bars = bars_of(seed, 200)
    for name, value in (("close", np.nan), ("close", -1.0), ("high", 0.0), ("open", np.nan), ("volume", np.nan)):
        bars.loc[rng.integers(0, 200, 3), name] = value
    bars = scaled(bars, rng.integers(0, 200, 8), 10.0 ** rng.integers(-3, 4), PRICES)
    bars = bars.drop(index=rng.integers(0, 200, 20)).sample(frac=1, random_state=seed)
    cleaned = inspect(bars, ALWAYS)
    assert cleaned.bars["ds"].is_monotonic_increasing
    assert len(cleaned.bars.merge(bars, how="inner")) == len(cleaned.bars), "every kept bar was delivered as it is"
    assert (cleaned.bars["close"] > 0).all()
    assert len(cleaned.breaks) == len(cleaned.bars)
    assert {finding.kind for finding in cleaned.findings} <= set(KINDS)
    assert [f.ds for f in cleaned.findings] == sorted(f.ds for f in cleaned.findings)
    gone = len(bars) - len(cleaned.bars)
    assert gone == 0 or any(finding.action.startswith("dropped") for finding in cleaned.findings)


@pytest.mark.parametrize("n", [0, 1, 2, 12])
def test_very_short_histories_are_inspected_too(n):
    cleaned = inspect(bars_of(0, 20).iloc[:n], ALWAYS)
    assert len(cleaned.bars) == len(cleaned.breaks) == n
    assert {kind for kind, _ in found(cleaned)} == ({"short_history"} if n else set())


def test_all_prices_missing_leaves_nothing_and_says_so():
    cleaned = inspect(bars_of(0, 30, ohlc=False).assign(close=np.nan), ALWAYS)
    assert len(cleaned.bars) == len(cleaned.breaks) == 0
    assert [finding.kind for finding in cleaned.findings] == ["missing_price"]


def test_the_picture_shows_the_extremes_of_a_million_bars(tmp_path):
    from data_pipeline.checks import Finding
    from data_pipeline.plots import _envelope, findings_chart

    rng, n = np.random.default_rng(0), 1_000_000
    times = np.datetime64("2015-01-01", "ns") + np.arange(n) * np.timedelta64(1, "m")
    price = np.exp(np.cumsum(1e-4 * rng.standard_normal(n)))
    price[123_456] = 50.0
    shown_times, shown = _envelope(times, price)
    assert len(shown) <= 2400
    between = np.diff(shown_times) / (times[-1] - times[0])
    assert (between > 0).all()
    assert (between < 2 / 1200).all(), "the line leaves no column out"
    assert shown.max() == 50.0
    assert shown.min() == price.min()
    bars = pd.DataFrame({"unique_id": "A", "ds": times, "close": price})
    findings = [Finding("A", str(times[k]), KINDS[k % len(KINDS)], "", "kept") for k in range(0, n, 1000)]
    findings_chart(tmp_path / "many.png", bars, findings, "many")
    findings_chart(tmp_path / "none.png", bars.iloc[:0], [], "none")
    for name in ("many", "none"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def command(tmp_path, *argv):
    code = run_command(check.run, check.flags, [*argv, "--json", str(tmp_path / "out.json")])
    return code, json.loads((tmp_path / "out.json").read_text()) if code == 0 else None


def test_the_command_reports_every_finding_and_draws_each_asset(tmp_path, capsys):
    first = scaled(bars_of(1, ohlc=False), [200], 3)
    second = bars_of(2, ohlc=False).drop(index=[100, 101]).assign(unique_id="../B")
    pd.concat([first, second]).to_csv(tmp_path / "prices.csv", index=False)
    pictures = tmp_path / "pictures"
    code, figures = command(
        tmp_path, "--data", str(tmp_path / "prices.csv"), "--calendar", "24/7", "--plot", str(pictures)
    )
    assert code == 0
    assert figures["assets"] == [
        {"unique_id": "A", "calendar": "24/7", "bars_read": N, "bars_kept": N - 1, "pieces": 2},
        {"unique_id": "../B", "calendar": "24/7", "bars_read": N - 2, "bars_kept": N - 2, "pieces": 1},
    ]
    assert [(f["unique_id"], f["kind"], f["ds"]) for f in figures["findings"]] == [
        ("A", "spike", day(first, 200)),
        ("../B", "gap", "2000-04-14"),
    ]
    assert all(list(f) == ["unique_id", "ds", "kind", "evidence", "action"] for f in figures["findings"])
    assert sorted(path.name for path in pictures.iterdir()) == ["..%2FB.png", "A.png"]
    printed = capsys.readouterr().out
    for words in ("A: 599 bars kept of 600, 2 pieces", "2 bars missing, 2000-04-11 to 2000-04-14", "dropped, break"):
        assert words in printed


def test_pictures_go_to_a_folder_that_is_there_whatever_its_name(tmp_path):
    (tmp_path / "v1.2").mkdir()
    code, _ = command(tmp_path, "--data", "synthetic:garch?symbols=2&bars=100", "--plot", str(tmp_path / "v1.2"))
    assert code == 0
    assert [path.name for path in sorted((tmp_path / "v1.2").iterdir())] == ["GARCH-0000.png", "GARCH-0001.png"]


def test_one_picture_cannot_hold_several_assets(tmp_path, capsys):
    code, _ = command(tmp_path, "--data", "synthetic:garch?symbols=2&bars=100", "--plot", str(tmp_path / "x.png"))
    assert code == 2
    assert "give a folder" in capsys.readouterr().err
