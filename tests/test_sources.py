"""Prices as users bring them: what is read, and what is refused with which words."""

import numpy as np
import pandas as pd
import pytest

from data_pipeline import BadInput, check_bars, load_bars, return_series

GOOD = "Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,1,10,5\n2024-01-03,1,2,1,11,5\n2024-01-04,1,2,1,12,5\n"


def bars_of(tmp_path, text, name="ACME.csv"):
    path = tmp_path / name
    path.write_text(text)
    return load_bars(str(path))


def test_bundled_prices_are_arch_s_own():
    from arch.data import sp500

    bars = load_bars("bundled")
    assert list(bars["unique_id"].unique()) == ["SP500", "NASDAQ", "WTI"]
    spx = bars[bars["unique_id"] == "SP500"]
    np.testing.assert_array_equal(spx["close"], sp500.load()["Close"])
    series = {s.unique_id: s for s in return_series(bars)}
    assert {name: len(s.log_returns) for name, s in series.items()} == {"SP500": 5030, "NASDAQ": 5030, "WTI": 8318}
    np.testing.assert_allclose(series["SP500"].log_returns, np.diff(np.log(spx["close"])))
    assert series["SP500"].times[0] == np.datetime64("1999-01-05")


def test_a_csv_is_read_and_named_after_its_file(tmp_path):
    bars = bars_of(tmp_path, GOOD)
    assert list(bars["close"]) == [10, 11, 12]
    assert set(bars["unique_id"]) == {"ACME"}
    assert bars["ds"].iloc[0] == pd.Timestamp("2024-01-02")


def test_the_adjusted_close_is_the_price_where_there_is_one(tmp_path):
    bars = bars_of(tmp_path, "Date,Close,Adj Close\n2024-01-02,20,10\n2024-01-03,21,10.5\n")
    assert list(bars["close"]) == [10, 10.5]


def test_several_assets_in_a_file_and_several_files_in_a_folder(tmp_path):
    (tmp_path / "b.csv").write_text("ds,unique_id,y\n2024-01-02,X,1\n2024-01-02,Y,5\n2024-01-03,X,2\n2024-01-03,Y,6\n")
    (tmp_path / "a.csv").write_text(GOOD)
    bars = load_bars(str(tmp_path))
    assert [s.unique_id for s in return_series(bars)] == ["a", "X", "Y"]
    assert [len(s.log_returns) for s in return_series(bars)] == [2, 1, 1]


def test_an_asset_may_be_called_na(tmp_path):
    bars = bars_of(
        tmp_path, "Date,symbol,Close\n2024-01-02,NA,1\n2024-01-02,NULL,1\n2024-01-03,NA,1\n2024-01-03,NULL,1\n"
    )
    assert [s.unique_id for s in return_series(bars)] == ["NA", "NULL"]


def test_a_bad_row_is_named_by_its_own_file(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "b.csv").write_text(GOOD.replace("11,5", "0,5"))
    with pytest.raises(BadInput, match=r"b\.csv: row 2 "):
        load_bars(str(tmp_path))


def test_zoned_frames_become_utc_and_missing_dates_are_refused():
    times = pd.to_datetime(["2024-01-02T00:00+05:00", "2024-01-03T00:00+05:00"])
    bars = check_bars(pd.DataFrame({"unique_id": "A", "ds": times, "close": [1.0, 2.0]}), "x")
    assert bars["ds"].iloc[0] == pd.Timestamp("2024-01-01 19:00")
    with pytest.raises(BadInput, match="date is missing"):
        check_bars(pd.DataFrame({"unique_id": "A", "ds": [times[0], pd.NaT], "close": [1.0, 2.0]}), "x")


def test_real_time_zones_become_utc(tmp_path):
    bars = bars_of(tmp_path, "timestamp,close\n2024-01-02T00:00:00+05:00,1\n2024-01-02T01:00:00+05:00,2\n")
    assert bars["ds"].iloc[0] == pd.Timestamp("2024-01-01 19:00")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("Date,Close\n", "no rows"),
        ("Date,Open\n2024-01-02,1\n", "no close column among ['Date', 'Open']"),
        ("Day,Close\n2024-01-02,1\n", "no ds column among ['Day', 'Close']"),
        (GOOD.replace("11,5", "n/k,5"), "row 2: 'n/k' as close is not a number"),
        (GOOD.replace("11,5", ",5"), "row 2 (ACME, 2024-01-03"),
        (GOOD.replace("11,5", "0,5"), "close is not positive"),
        (GOOD.replace("11,5", "-11,5"), "close is not positive"),
        (GOOD.replace("11,5", "inf,5"), "not finite"),
        (GOOD.replace("11,5", "11,5,9"), "Expected 6 fields in line 3, saw 7"),
        (GOOD.replace(",5\n", ",5,9\n"), "rows have more fields than the header has names"),
        (GOOD.replace(",5\n", ",5,\n"), "rows have more fields than the header has names"),
        (GOOD.replace("2024-01-03", ""), "'' is not a date"),
        ("Date,symbol,Close\n2024-01-02,X,1\n2024-01-03,,1\n", "the asset has no name"),
        (GOOD.replace("2024-01-03", "yesterday"), "row 2: 'yesterday' is not a date"),
        (GOOD.replace("2024-01-03", "2024-01-02"), "row 2 (ACME, 2024-01-02 00:00:00, close 11.0): the date appears"),
        (GOOD.replace("2024-01-03", "2023-01-03"), "sort the rows by date, oldest first"),
    ],
)
def test_bad_files_are_refused_with_the_row_and_the_mend(tmp_path, text, says):
    with pytest.raises(BadInput) as error:
        bars_of(tmp_path, text)
    assert says in str(error.value)
    assert "ACME.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_empty_folders_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        load_bars(str(tmp_path / "none.csv"))
    with pytest.raises(BadInput, match=r"no \*\.csv file"):
        load_bars(str(tmp_path))
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\x01binary")
    with pytest.raises(BadInput, match=r"x\.csv"):
        load_bars(str(tmp_path / "x.csv"))


def test_interleaved_assets_may_share_dates_but_not_go_back():
    frame = pd.DataFrame({"unique_id": ["A", "A", "B", "B"], "ds": pd.to_datetime(["2024-01-02", "2024-01-03"] * 2)})
    assert len(check_bars(frame.assign(close=1.0), "x")) == 4
    mixed = frame.iloc[[0, 2, 1, 3]].assign(close=1.0)
    assert len(check_bars(mixed, "x")) == 4
    backward = frame.iloc[[1, 2, 0, 3]].assign(close=1.0)
    with pytest.raises(BadInput, match="sort the rows"):
        check_bars(backward, "x")
