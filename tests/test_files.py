"""Prices as users bring them: every layout of a file that is read, and the words with which the others are refused."""

import gzip
import io
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_pipeline import BadInput, FileOptions
from data_pipeline.sources.files import Part, find_parts, read_part

GOOD = "Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,1,10,5\n2024-01-03,1,2,1,11,5\n2024-01-04,1,2,1,12,5\n"
OHLC = pd.DataFrame(
    {"Open": [1.0, 2.0, 3.0], "High": [2.0, 3.0, 4.0], "Low": [0.5, 1.5, 2.5], "Close": [1.5, 2.5, 3.5]},
    index=pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"], name="Date"),
)


def read(tmp_path, content, name="ACME.csv", **options):
    """Bars of one file of that content, and what was said of it."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_path(path, **options)


def read_path(path, **options):
    (part,) = find_parts(str(path))
    bars, notes = read_part(part, FileOptions(**options))
    assert bars["ds"].dtype == "datetime64[ns]"
    assert all(bars[column].dtype == np.float64 for column in bars.columns[2:])
    assert all("\n" not in note for note in notes)
    return bars, "\n".join(notes)


def refusal(tmp_path, content, name="ACME.csv", **options):
    """The one line with which a file is refused."""
    with pytest.raises(BadInput) as error:
        read(tmp_path, content, name, **options)
    assert "\n" not in str(error.value)
    assert name in str(error.value)
    return str(error.value)


def times(bars):
    return [str(time)[:16].replace("T", " ") for time in bars["ds"].to_numpy()]


# --- layouts: name of the case → (text, first time, closes, words of the notes)
LAYOUTS = {
    "yahoo": (
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,1,2,1,20,10,5\n2024-01-03,1,2,1,21,10.5,5\n",
        "2024-01-02 00:00",
        [20, 21],
        ["time from 'Date'", "asset named 'ACME' after the file"],
    ),
    "cryptodatadownload: a title, newest first, hours with AM and PM, two volumes": (
        "Timestamps are UTC timezone,https://www.CryptoDataDownload.com\r\n"
        "date,symbol,open,high,low,close,volume_btc,volume\r\n"
        "2019-10-17 01-PM,BTCUSD,8051,8056.83,8021.23,8035.88,61.25,492394.56\r\n"
        "2019-10-17 12-PM,BTCUSD,7975.89,8070,7975.89,8051,370.45,2971610.86\r\n"
        "2019-10-17 12-AM,BTCUSD,7975.89,8070,7975.89,8052,370.45,2971610.86\r\n",
        "2019-10-17 13:00",
        [8035.88, 8051, 8052],
        ["skipped above the header: 'Timestamps are UTC", "dates read as %Y-%m-%d %I-%p", "taken as UTC (--timezone)"],
    ),
    "one heading for date and time of day": (
        "Date,Open,High,Low,Close,Volume,OpenInterest\r\n2006-01-02,09:01:00,3602,3603,3597,3599,5699,0\r\n"
        "2006-01-02,09:02:00,3600,3601,3598,3600,894,0\r\n",
        "2006-01-02 09:01",
        [3599, 3600],
        ["'Date' heads two columns", "taken as UTC"],
    ),
    "kronos": (
        "timestamps,open,high,low,close,volume,amount\n2024-06-18 11:15:00,11.27,11.28,11.26,11.27,379,427161\n",
        "2024-06-18 11:15",
        [11.27],
        ["time from 'timestamps'"],
    ),
    "chronos": (
        "item_id,timestamp,target\nACME,2024-01-02,10\nACME,2024-01-03,11\n",
        "2024-01-02 00:00",
        [10, 11],
        ["close from 'target'"],
    ),
    "nixtla": ("unique_id,ds,y\nACME,2024-01-02,10\nACME,2024-01-03,11\n", "2024-01-02 00:00", [10, 11], ["from 'y'"]),
    "date and time": (
        "Date,Time,Close\n01/13/2020,9:30 AM,10\n01/13/2020,4:00 PM,11\n",
        "2020-01-13 09:30",
        [10, 11],
        ["time from 'Date' and 'Time'", "dates read as %m/%d/%Y %I:%M %p"],
    ),
    "metatrader": (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2020.01.02\t09:00:00\t1.1\t1.2\t1.0\t1.15\t100\t0\t2\n",
        "2020-01-02 09:00",
        [1.15],
        ["separator tab", "'<DATE>' and '<TIME>'"],
    ),
    "stooq": (
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "ACME,5,20200102,090000,1,2,1,1.5,7,0\nACME,5,20200102,090500,1,2,1,1.6,7,0\n",
        "2020-01-02 09:00",
        [1.5, 1.6],
        [],
    ),
    "stooq daily": (
        "<TICKER>,<PER>,<DATE>,<TIME>,<CLOSE>\nACME,D,20200102,000000,1.5\n",
        "2020-01-02 00:00",
        [1.5],
        [],
    ),
    "investing.com": (
        '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
        '"01/31/2024","1,234.50","1,230.00","1,240.00","1,220.00","12.3M","1.25%"\n'
        '"01/30/2024","1,219.20","1,230.00","1,240.00","1,220.00","-","-0.25%"\n',
        "2024-01-31 00:00",
        [1234.5, 1219.2],
        ["close from 'Price'", "volume from 'Vol.'", "commas between thousands", "dates read as %m/%d/%Y"],
    ),
    "nasdaq.com": (
        'Date,Close/Last,Volume,Open,High,Low\n01/31/2024,"$1,234.00",33870100,"$1,230.00","$1,240.50","$1,220.00"\n',
        "2024-01-31 00:00",
        [1234],
        ["close from 'Close/Last'"],
    ),
    "fred": (
        "observation_date,DCOILWTICO\n2024-01-01,.\n2024-01-02,70.62\n",
        "2024-01-01 00:00",
        [np.nan, 70.62],
        ["'DCOILWTICO' is the price: the only column of numbers that could be"],
    ),
    "germany": (
        "Datum;Erster;Hoch;Tief;Schlusskurs;Volumen\n31.01.2024;1.230,00;1.240,00;1.220,00;1.234,50;12.345\n"
        "01.02.2024;1.230,00;1.240,00;1.220,00;999,5;999\n",
        "2024-01-31 00:00",
        [1234.5, 999.5],
        ["separator ';'", "decimal comma", "dates read as %d.%m.%Y"],
    ),
    "dukascopy": (
        "Gmt time,Open,High,Low,Close,Volume\n31.01.2024 23:00:00.000,1,2,1,1.5,3\n",
        "2024-01-31 23:00",
        [1.5],
        ["dates read as %d.%m.%Y %H:%M:%S.%f"],
    ),
    "dukascopy local": (
        "Local time,Open,High,Low,Close,Volume\n31.01.2024 23:30:00.000 GMT+0200,1,2,1,1.5,3\n",
        "2024-01-31 21:30",
        [1.5],
        ["time from 'Local time'"],
    ),
    "binance without a header": (
        "1577836800000,7195.24,7196.25,7183.14,7186.68,51.64,1577836859999,371233.5,493,19.6,140888.4,0\n"
        "1577836860000,7187.67,7188.06,7182.20,7184.03,7.24,1577836919999,52080.1,135,2.03,14599.2,0\n",
        "2020-01-01 00:00",
        [7186.68, 7184.03],
        ["no header", "Binance klines", "times are milliseconds since 1970 (UTC)"],
    ),
    "metatrader 4 without a header": (
        "2020.01.02,09:00,1.1,1.2,1.0,1.15,100\n2020.01.02,09:01,1.15,1.3,1.1,1.2,90\n",
        "2020-01-02 09:00",
        [1.15, 1.2],
        ["no header: read as date, time, open, high, low, close, volume"],
    ),
    "histdata without a header": (
        "20200102 170000;1.1;1.2;1.0;1.15;0\n20200102 170100;1.15;1.3;1.1;1.2;0\n",
        "2020-01-02 17:00",
        [1.15, 1.2],
        ["no header: read as date, open, high, low, close, volume"],
    ),
    "yfinance, three header rows": (
        "Price,Close,High,Low,Open,Volume\nTicker,ACME,ACME,ACME,ACME,ACME\nDate,,,,,\n2024-01-02,10,11,9,9.5,100\n",
        "2024-01-02 00:00",
        [10],
        ["the header names assets too"],
    ),
    "yfinance, two header rows and no index": (
        "Date,Adj Close,Close\n,ACME,ACME\n2024-01-02,9,10\n",
        "2024-01-02 00:00",
        [10],
        ["the header names assets too"],
    ),
    "pandas without a name for the index": (
        ",Open,High,Low,Close\n2024-01-02,1,2,1,1.5\n",
        "2024-01-02 00:00",
        [1.5],
        ["time from ''"],
    ),
    "yfinance history, midnight in New York": (
        "Date,Close,Dividends,Stock Splits\n2024-03-08 00:00:00-05:00,10,0,0\n2024-03-11 00:00:00-04:00,11,0.2,2\n",
        "2024-03-08 00:00",
        [10, 11],
        ["midnight in its zone: taken as dates"],
    ),
    "more lines of titles than of bars": (
        "Acme Inc.\nIsin X\nAdjusted\nSource Y\nPrinted today\nDate,Close\n2024-01-02,10\n2024-01-03,11\n",
        "2024-01-02 00:00",
        [10, 11],
        ["skipped above the header: 'Acme Inc. / Isin X"],
    ),
    "blanks around the fields": (
        "Date , Close\n2024-01-02 ,  10 \n 2024-01-03, 11\n",
        "2024-01-02 00:00",
        [10, 11],
        [],
    ),
    "a blank line above, between and below": (
        "\n\nDate,Close\n2024-01-02,10\n\n2024-01-03,11\n\n",
        "2024-01-02 00:00",
        [10, 11],
        [],
    ),
    "months by name": ("Date,Close\n31-Jan-24,1\n01-Feb-24,2\n", "2024-01-31 00:00", [1, 2], ["%d-%b-%y"]),
    "months by long name": (
        'Date,Close\n"May 31, 2024",1\n"June 1, 2024",2\n',
        "2024-05-31 00:00",
        [1, 2],
        ["%B %d, %Y"],
    ),
    "minutes packed": ("time,close\n202401020930,1\n202401020931,2\n", "2024-01-02 09:30", [1, 2], ["%Y%m%d%H%M"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_the_wild_is_read_without_editing_it(tmp_path, layout):
    text, first, closes, words = LAYOUTS[layout]
    bars, notes = read(tmp_path, text)
    assert set(bars["unique_id"]) == {"BTCUSD" if "BTCUSD" in text else "ACME"}
    assert times(bars)[0] == first
    np.testing.assert_array_equal(bars["close"], closes)
    for word in words:
        assert word in notes


def test_every_column_of_a_bar_lands_under_its_name(tmp_path):
    bars, _ = read(tmp_path, LAYOUTS["yahoo"][0])
    assert list(bars.columns) == ["unique_id", "ds", "close", "open", "high", "low", "volume", "adj_close"]
    assert list(bars.iloc[1, 2:]) == [21, 1, 2, 1, 5, 10.5]
    bars, _ = read(tmp_path, LAYOUTS["cryptodatadownload: a title, newest first, hours with AM and PM, two volumes"][0])
    assert times(bars) == ["2019-10-17 13:00", "2019-10-17 12:00", "2019-10-17 00:00"]
    assert list(bars.iloc[0, 2:]) == [8035.88, 8051, 8056.83, 8021.23, 492394.56]
    bars, _ = read(tmp_path, LAYOUTS["germany"][0])
    assert list(bars.iloc[0, 2:]) == [1234.5, 1230, 1240, 1220, 12345]
    bars, _ = read(tmp_path, LAYOUTS["yfinance history, midnight in New York"][0])
    assert list(bars.iloc[1, 2:]) == [11, 0.2, 2]
    bars, _ = read(tmp_path, LAYOUTS["metatrader 4 without a header"][0])
    assert list(bars.iloc[0, 2:]) == [1.15, 1.1, 1.2, 1.0, 100]


def test_a_split_ratio_of_one_is_no_split(tmp_path):
    bars, _ = read(tmp_path, "date,close,divCash,splitFactor\n2024-01-02,10,0.0,1.0\n2024-01-03,5,0.1,2.0\n")
    assert list(bars["split"]) == [0, 2]
    assert list(bars["dividend"]) == [0, 0.1]


def test_volumes_may_be_thousands_millions_and_billions_but_prices_may_not(tmp_path):
    bars, _ = read(
        tmp_path, "Date,Close,Vol.\n2024-01-02,1,12.3K\n2024-01-03,1,4.5M\n2024-01-04,1,1b\n2024-01-05,1,7\n"
    )
    np.testing.assert_allclose(bars["volume"], [12_300, 4_500_000, 1e9, 7])
    assert "row 2, column 'Close': '1.5K' is not a number" in refusal(tmp_path, "Date,Close\n2024-01-02,1.5K\n")


def test_rows_come_raw(tmp_path):
    """Order, repeated rows, zeros, negative and missing prices are for the checks to judge."""
    text = "Date,Close\n2024-01-05,3\n2024-01-02,0\n2024-01-02,0\n2024-01-03,-7\n2024-01-04,\n2024-01-06,inf\n"
    bars, _ = read(tmp_path, text)
    assert [t[:10] for t in times(bars)] == [line.split(",")[0] for line in text.split()[1:]]
    np.testing.assert_array_equal(bars["close"], [3, 0, 0, -7, np.nan, np.inf])


@pytest.mark.parametrize("word", ["", "NA", "na", "NaN", "nan", "NULL", "null", "None", "n/a", "N/A", ".", "-", " "])
@pytest.mark.parametrize("other", ["11", '"1,234.5"'])  # numbers that are parsed fast, and that are not
def test_missing_numbers_are_nan_however_they_are_written(tmp_path, word, other):
    bars, _ = read(tmp_path, f"Date,Close\n2024-01-02,{other}\n2024-01-03,{word}\n")
    assert list(bars["close"].isna()) == [False, True]


def test_an_asset_may_be_called_na_or_001(tmp_path):
    text = "Date,symbol,Close\n2024-01-02,NA,1\n2024-01-02,NULL,1\n2024-01-03,000001,1\n"
    assert list(read(tmp_path, text)[0]["unique_id"]) == ["NA", "NULL", "000001"]
    assert "row 5, column 'symbol': '' names no asset" in refusal(tmp_path, text + "2024-01-03,,1\n")


def test_prices_are_read_to_the_last_bit(tmp_path):
    closes = np.random.default_rng(0).lognormal(size=500)
    rows = "".join(f"2024-01-02,{close!r},\n" for close in closes.tolist())
    fast, _ = read(tmp_path, "Date,Close,Volume\n" + rows)
    slow, _ = read(tmp_path, "Date,Close,Volume\n" + rows + '2024-01-02,1,"1,000,000"\n')
    np.testing.assert_array_equal(fast["close"], closes)
    np.testing.assert_allclose(slow["close"][:-1], closes, rtol=4e-16)


# --- names of assets


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("NVDA_1999-2014_1d.csv", "NVDA"),
        ("AAPL_2024-01-01_2025-12-31_1h.csv", "AAPL"),
        ("STOXX_2006_1min.csv", "STOXX"),
        ("BRK.B_20240101_20241231_5m.csv", "BRK.B"),
        ("BTC_USDT.csv", "BTC_USDT"),
        ("FUND_2040.csv", "FUND_2040"),
        ("aapl.us.txt", "aapl.us"),
        ("ACME", "ACME"),
    ],
)
def test_an_asset_without_a_column_is_named_after_its_file(tmp_path, file, name):
    bars, notes = read(tmp_path, GOOD, file)
    assert set(bars["unique_id"]) == {name}
    assert f"asset named {name!r} after the file" in notes


def test_symbol_names_the_asset_and_a_column_goes_before_it(tmp_path):
    bars, notes = read(tmp_path, GOOD, symbol="X")
    assert set(bars["unique_id"]) == {"X"}
    assert "after the file" not in notes
    bars, _ = read(tmp_path, LAYOUTS["nixtla"][0], symbol="X")
    assert set(bars["unique_id"]) == {"ACME"}


# --- times


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_stamps_since_1970_are_understood_in_any_unit(tmp_path, per_second):
    bars, notes = read(tmp_path, f"timestamp,close\n{1577836800 * per_second},1\n{1577836860 * per_second},2\n")
    assert times(bars) == ["2020-01-01 00:00", "2020-01-01 00:01"]
    assert "seconds since 1970 (UTC)" in notes


def test_seconds_with_a_fraction(tmp_path):
    bars, _ = read(tmp_path, "timestamp,close\n1577836800.25,1\n1577836800.500001,2\n")
    assert [t.isoformat()[-15:] for t in bars["ds"]] == ["00:00:00.250000", "00:00:00.500001"]


@pytest.mark.parametrize(
    "stamp",
    ["2020-01-02T09:00:00-05:00", "2020-01-02 14:00:00Z", "2020-01-02 14:00 UTC", "2020-01-02 16:00:00.000 GMT+0200"],
)
def test_zones_become_utc(tmp_path, stamp):
    bars, notes = read(tmp_path, f"timestamp,close\n{stamp},1\n")
    assert times(bars) == ["2020-01-02 14:00"]
    assert "--timezone" not in notes


def test_local_times_become_utc_and_dates_stay(tmp_path):
    text = "time,close\n2024-01-02 09:30,1\n2024-07-02 09:30,2\n"
    bars, notes = read(tmp_path, text, timezone="America/New_York")
    assert times(bars) == ["2024-01-02 14:30", "2024-07-02 13:30"]
    assert "--timezone" not in notes
    assert times(read(tmp_path, GOOD, timezone="America/New_York")[0])[0] == "2024-01-02 00:00"


@pytest.mark.parametrize("stamp", ["2024-11-03 01:30:00", "2024-03-10 02:30:00"])
def test_a_local_time_that_clocks_show_twice_or_never_is_refused(tmp_path, stamp):
    message = refusal(tmp_path, f"time,close\n2024-01-02 09:30,1\n{stamp},2\n", timezone="America/New_York")
    assert f"row 3, column 'time': '{stamp}' is shown twice or never by the clocks of America/New_York" in message
    assert "UTC" in message


def test_day_and_month_are_never_guessed(tmp_path):
    text = "Date,Close\n01/02/2020,1\n02/02/2020,2\n"
    message = refusal(tmp_path, text)
    assert "--date_format dayfirst or --date_format monthfirst" in message
    assert "'01/02/2020'" in message
    assert times(read(tmp_path, text, date_format="dayfirst")[0])[0] == "2020-02-01 00:00"
    assert times(read(tmp_path, text, date_format="monthfirst")[0])[0] == "2020-01-02 00:00"
    assert times(read(tmp_path, text, date_format="%d/%m/%Y")[0])[0] == "2020-02-01 00:00"
    for day, settled in (("13/02/2020", "2020-02-01"), ("02/13/2020", "2020-01-02")):  # one row settles all
        assert times(read(tmp_path, f"{text}{day},3\n")[0])[0][:10] == settled
    assert "row 5, column 'Date': '02/13/2020'" in refusal(tmp_path, f"{text}13/02/2020,3\n02/13/2020,3\n")


def test_a_given_pattern_of_dates_goes_with_times_of_day_beside_them(tmp_path):
    text = "Date,Time,Close\n03/02/20,09:30,1\n"
    assert "--date_format" in refusal(tmp_path, text)
    assert times(read(tmp_path, text, date_format="%d/%m/%y")[0]) == ["2020-02-03 09:30"]
    assert "'03/02/20 09:30' is not a date written as %Y.%m.%d" in refusal(tmp_path, text, date_format="%Y.%m.%d")


# --- numbers


def test_a_comma_is_never_guessed(tmp_path):
    text = "Date;Close\n2024-01-02;1,234\n2024-01-03;1,235\n"
    message = refusal(tmp_path, text)
    assert "row 2, column 'Close': '1,234' could have thousands or decimals" in message
    assert "--decimal" in message
    assert list(read(tmp_path, text, decimal=",")[0]["close"]) == [1.234, 1.235]
    assert list(read(tmp_path, text, decimal=".")[0]["close"]) == [1234, 1235]
    assert list(read(tmp_path, text + "2024-01-04;1,2\n")[0]["close"]) == [1.234, 1.235, 1.2]  # one cell settles all
    assert list(read(tmp_path, text + "2024-01-04;1.2\n")[0]["close"]) == [1234, 1235, 1.2]
    assert "both" in refusal(tmp_path, text + "2024-01-04;1.2\n2024-01-05;1,2\n")


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("1.234,50", None, 1234.5),
        ("1,234.50", None, 1234.5),
        ("12,34,567.8", None, 1234567.8),
        ("1,234,567", None, 1234567),
        ("1 234,5", None, 1234.5),
        ("1'234.5", None, 1234.5),
        ("0,125", None, 0.125),
        ("-1,5", None, -1.5),
        ("€1,5", None, 1.5),
        ("1.5e-05", None, 1.5e-05),
        ("1.234", ",", 1234),
        ("1.234", ".", 1.234),
    ],
)
def test_numbers_of_many_countries(tmp_path, cell, decimal, value):
    bars, _ = read(tmp_path, f"Date;Close\n2024-01-02;{cell}\n", decimal=decimal)
    assert list(bars["close"]) == [value]


@pytest.mark.parametrize("cell", ["1,23", "1,2345", "12,34.5", "1,234.5,6"])
def test_commas_that_group_nothing_are_no_thousands(tmp_path, cell):
    text = f"Date;Close\n2024-01-02;5\n2024-01-03;{cell}\n"
    assert f"row 3, column 'Close': {cell!r} is not a number" in refusal(tmp_path, text, decimal=".")


# --- columns


def test_flags_choose_columns(tmp_path):
    text = "when,who,a,b,Adj Close\n2024-01-02,X,1,2,3\n2024-01-02,Y,4,5,6\n"
    bars, _ = read(tmp_path, text, id_col="who", time_col="when", target_col="b")
    assert list(bars.columns) == ["unique_id", "ds", "close"]  # a price that was asked for is not replaced by another
    assert list(bars["unique_id"]) == ["X", "Y"]
    assert list(bars["close"]) == [2, 5]
    message = refusal(tmp_path, text, target_col="c")
    assert "--target_col c" in message
    assert "['who', 'a', 'b', 'Adj Close']" in message


def test_columns_that_could_be_meant_are_asked_for(tmp_path):
    assert "['a', 'b']; name it with --target_col" in refusal(tmp_path, "Date,a,b\n2024-01-02,1,2\n")
    text = "from,to,close\n2024-01-02,2024-01-03,1\n"
    assert "['from', 'to']; name it with --time_col" in refusal(tmp_path, text)
    assert times(read(tmp_path, text, time_col="to")[0]) == ["2024-01-03 00:00"]
    assert "2 columns are called 'Close'" in refusal(tmp_path, "Date,Close,Close\n2024-01-02,1,2\n")


def test_a_time_column_of_unknown_name_is_found_by_what_it_holds(tmp_path):
    bars, notes = read(tmp_path, "Stichtag,Kurs\n2024-01-02,1\n")
    assert times(bars) == ["2024-01-02 00:00"]
    assert "time from 'Stichtag'" in notes


def test_the_adjusted_close_alone_is_the_close(tmp_path):
    bars, notes = read(tmp_path, "Date,Adj Close\n2024-01-02,7\n")
    assert list(bars["close"]) == list(bars["adj_close"]) == [7]
    assert "close from 'Adj Close'" in notes


# --- several assets in a file


def wide(order):
    frame = pd.concat({"ACME": OHLC, "EMCA": OHLC * 10}, axis=1, names=["Ticker", "Price"])
    frame.loc["2024-01-03", "EMCA"] = np.nan
    return frame.swaplevel(axis=1) if order == "price first" else frame


@pytest.mark.parametrize("order", ["price first", "ticker first"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_wide_tables_of_several_assets_become_long(tmp_path, order, kind):
    frame, path = wide(order), tmp_path / f"prices.{kind}"
    frame.to_csv(path) if kind == "csv" else frame.to_parquet(path)
    bars, notes = read_path(path)
    assert list(bars["unique_id"]) == ["ACME"] * 3 + ["EMCA"] * 2  # no bar of EMCA where it has no number
    assert "1 empty places" in notes
    assert list(bars["close"]) == [1.5, 2.5, 3.5, 15, 35]
    assert list(bars["high"]) == [2, 3, 4, 20, 40]
    assert times(bars)[3:] == ["2024-01-02 00:00", "2024-01-04 00:00"]


def test_a_bad_cell_of_a_wide_table_is_named_by_its_row(tmp_path):
    text = wide("price first").to_csv().replace(",35.0\n", ",n/k\n")
    assert "row 6, column 'Close': 'n/k' is not a number" in refusal(tmp_path, text)


# --- encodings and folders


def test_compressed_and_utf_16_files_are_read(tmp_path):
    for content, name in (
        (gzip.compress(GOOD.encode()), "ACME.csv.gz"),
        (GOOD.encode("utf-16"), "ACME.csv"),
        (GOOD.encode("utf-8-sig"), "ACME.csv"),
        (GOOD.replace("\n", "\r").encode(), "ACME.csv"),
    ):
        bars, _ = read(tmp_path, content, name)
        assert list(bars["close"]) == [10, 11, 12]
        assert set(bars["unique_id"]) == {"ACME"}


def test_folders_are_searched_and_their_parts_sorted(tmp_path):
    for name in ("b.csv", "a.tsv", "sub/c.CSV", "sub/.hidden.csv", ".git/d.csv", "README.txt", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(GOOD)
    assert [part.name for part in find_parts(str(tmp_path))] == ["a.tsv", "b.csv", "sub/c.CSV"]
    for path in tmp_path.rglob("*.[ct]s[v]"):
        path.unlink()
    (tmp_path / "sub" / "c.CSV").unlink()
    assert [part.name for part in find_parts(str(tmp_path))] == ["README.txt"]  # Stooq's files end so


@pytest.mark.parametrize("key", ["symbol", "unique_id", "ticker"])
def test_the_files_of_a_symbol_are_one_part(tmp_path, key):
    for symbol in ("MSFT", "BRK%2FB"):
        for day in ("2024-01-03", "2024-01-02"):
            folder = tmp_path / f"{key}={symbol}" / f"date={day}"
            folder.mkdir(parents=True)
            stamps = pd.to_datetime([f"{day} 09:30", f"{day} 09:31"])
            pd.DataFrame({"timestamp": stamps, "close": [1.0, 2.0]}).to_parquet(folder / "x.parquet")
    parts = find_parts(str(tmp_path))
    assert [part.name for part in parts] == ["BRK/B", "MSFT"]
    assert pickle.loads(pickle.dumps(parts)) == parts  # they travel to workers
    bars, notes = read_part(parts[0], FileOptions())
    assert set(bars["unique_id"]) == {"BRK/B"}
    assert times(bars) == ["2024-01-02 09:30", "2024-01-02 09:31", "2024-01-03 09:30", "2024-01-03 09:31"]
    assert len(notes) == len(set(notes))


# --- Parquet


def test_parquet_times_come_from_a_column_or_the_index(tmp_path):
    path = tmp_path / "ACME.parquet"
    for frame in (OHLC, OHLC.reset_index(), OHLC.rename_axis(None), OHLC.tz_localize("America/New_York")):
        frame.to_parquet(path)
        bars, _ = read_path(path)
        assert times(bars) == ["2024-01-02 00:00", "2024-01-03 00:00", "2024-01-04 00:00"]
        assert list(bars["close"]) == [1.5, 2.5, 3.5]
        assert set(bars["unique_id"]) == {"ACME"}


def test_parquet_types_are_understood(tmp_path):
    from datetime import date, time
    from decimal import Decimal

    frame = pd.DataFrame(
        {
            "symbol": pd.Categorical(["A", "B"]),
            "date": [date(2024, 1, 2), date(2024, 1, 3)],
            "time": [time(9, 30), time(16, 0)],
            "close": [Decimal("1.25"), None],
            "volume": pd.array([5, None], dtype="Int64"),
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    bars, _ = read_path(tmp_path / "x.parquet", timezone="Europe/Berlin")
    assert list(bars["unique_id"]) == ["A", "B"]
    assert times(bars) == ["2024-01-02 08:30", "2024-01-03 15:00"]
    np.testing.assert_array_equal(bars["close"], [1.25, np.nan])
    np.testing.assert_array_equal(bars["volume"], [5, np.nan])


def test_parquet_of_a_stacked_panel(tmp_path):
    index = pd.MultiIndex.from_product([["A", "B"], OHLC.index], names=["ticker", "date"])
    pd.DataFrame({"close": np.arange(6.0)}, index=index).to_parquet(tmp_path / "x.parquet")
    bars, _ = read_path(tmp_path / "x.parquet")
    assert list(bars["unique_id"]) == ["A"] * 3 + ["B"] * 3
    assert list(bars["close"]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("column", [[20240102, 20240103], [1704153600000, 1704240000000], ["2024-01-02", "2024-01-03"]])
def test_parquet_dates_may_be_numbers_or_text(tmp_path, column):
    pd.DataFrame({"date": column, "close": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    assert times(read_path(tmp_path / "x.parquet")[0]) == ["2024-01-02 00:00", "2024-01-03 00:00"]


# --- refusals


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("\n \n\n", "the file is empty"),
        ("Date,Close\n", "no rows below the header"),
        ("Price,Close\nTicker,A\nDate,\n", "no rows below the header"),
        ("Date,Open\n2024-01-02,1\n", "no close column among ['Open']; name it with --target_col"),
        ("Day2,Close\nx,1\n", "no column of dates among ['Day2', 'Close']; name it with --time_col"),
        ("2024-01-02,5,1\n", "no header row above"),
        ("2024-01-02,1,2,3,4\n", "no header row above"),  # a high that is no high
        ("just words\nand more\n", "say --separator"),
        (GOOD.replace("11,5", "n/k,5"), "row 3, column 'Close': 'n/k' is not a number"),
        (GOOD.replace("11,5", "11,five"), "row 3, column 'Volume': 'five' is not a number"),
        ("\n" + GOOD.replace("\n2024-01-03", "\n\n\n2024-01-03").replace("11,5", "x,5"), "row 6, column 'Close': 'x'"),
        (GOOD.replace("11,5", "11,5,9"), "row 3 has 7 fields, the rows above it 6"),
        (GOOD.replace("12,5", "12"), "row 4 has 5 fields, the rows above it 6"),
        (GOOD.replace(",5\n", ",5,9\n"), "rows have 7 fields, the header 6; name every column"),
        (GOOD.replace(",5\n", ",5,\n"), "rows have 7 fields, the header 6; name every column"),
        (GOOD.replace("2024-01-03", ""), "row 3, column 'Date': '' is not a date"),
        (GOOD.replace("2024-01-03", "yesterday"), "row 3, column 'Date': 'yesterday' is not a date"),
        (GOOD.replace("2024-01-02", "yesterday"), "row 2, column 'Date': 'yesterday' is not a date"),
        (GOOD.replace("2024-01-03", "2024-02-30"), "row 3, column 'Date': '2024-02-30' is not a date"),
        (GOOD.replace("2024-01-03", "9999-12-31"), "'9999-12-31' is not within the years 1678 to 2261"),
        ("time,close\n1577836800,1\n1577836860000,2\n", "row 3, column 'time': '1577836860000' is not in seconds"),
        ("time,close\n1577836800,1\nnoon,2\n", "row 3, column 'time': 'noon' is not a number"),
        (
            "time,close\n2024-01-02T09:00Z,1\n2024-01-02T10:00,2\n",
            "row 3, column 'time': '2024-01-02T10:00' has no time",
        ),
        ("Date,Kurs\n2024-01-02," + "1" * 100_000 + "x\n", "no close column among ['Kurs']"),
        (GOOD.replace("2024-01-02", "1" * 100_000 + "x"), "is not a date"),
        (b"x\0y,1\n" * 9, "a NUL at byte 1"),
        (b"Date,Close\n2024-01-02,1\xff\n", "not text in UTF-8 (byte 23)"),
        (b"\x1f\x8b\x08\0rubbish", "not a whole gzip file"),
        (b"PK\3\4 and so on", "a ZIP archive or an Excel file"),
        (b"\x80\4\x95\0\0", "a pickle can run any program"),
        (b"PAR1 and so on", "not a readable Parquet file"),
        ("," * 10_000 + "\n" + "1," * 10_000, "more than 10,000 columns"),
        ("1" * 10_000_000, "its first line is longer than"),
        ("1," * 5_000_000, "its first line is longer than"),
        (GOOD + "9" * 10_000_000, "not a CSV file"),
        (GOOD + '2024-01-05,1,2,1,"' + "9," * 2_000_000, "not a CSV file"),
        ('"' + "x" * 200_000 + '",Close\n2024-01-02,1\n', "not a CSV file (field larger than field limit"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_files_are_refused_in_one_line_and_at_once(tmp_path, text, says):
    start = time.perf_counter()
    message = refusal(tmp_path, text)
    assert time.perf_counter() - start < 2
    assert says in message
    assert len(message) < len(str(tmp_path)) + 350


def test_parquet_files_that_are_none_are_refused(tmp_path):
    assert "not a readable Parquet file" in refusal(tmp_path, GOOD, "x.parquet")
    OHLC.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    assert "not a readable Parquet file" in refusal(tmp_path, whole[: len(whole) // 2], "x.parquet")
    assert "not a readable Parquet file" in refusal(tmp_path, whole[:4] + bytes(500) + whole[504:], "x.parquet")
    buffer = io.BytesIO()
    OHLC.head(0).to_parquet(buffer)
    assert "no rows" in refusal(tmp_path, buffer.getvalue(), "x.parquet")
    OHLC.assign(Close=["1", "n/k", "3"]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"x\.parquet: row 2, column 'Close': 'n/k' is not a number"):
        read_path(tmp_path / "x.parquet")
    OHLC.assign(symbol=["A", None, "A"]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"x\.parquet: row 2, column 'symbol': '' names no asset"):
        read_path(tmp_path / "x.parquet")


class Trap:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["x.pkl", "x.pickle", "x.joblib", "x.pt", "x.csv", "x.parquet"])
def test_a_pickle_is_never_opened(tmp_path, name, protocol):
    mark = tmp_path / "opened"
    message = refusal(tmp_path, pickle.dumps(Trap(mark), protocol), name)
    assert not mark.exists()
    if protocol >= 2 or not name.endswith((".csv", ".parquet")):
        assert "a pickle can run any program" in message


@pytest.mark.parametrize(
    "source", ["", "none.csv", "http://127.0.0.1:9/x.csv", "s3://bucket/x.parquet", "a\0b", "x" * 5000]
)
def test_what_is_no_file_here_is_refused(source):
    with pytest.raises(BadInput, match="no such file or folder"):
        find_parts(source)


def test_folders_without_prices_and_files_that_vanish_are_named(tmp_path):
    (tmp_path / "notes.md").write_text(GOOD)
    with pytest.raises(BadInput, match=r"no file in this folder ends in \.csv"):
        find_parts(str(tmp_path))
    with pytest.raises(BadInput, match=r"gone\.csv: No such file"):
        read_part(Part("gone", (tmp_path / "gone.csv",)), FileOptions())
    with pytest.raises(BadInput, match="no such file or folder"):
        find_parts("/dev/zero")  # it never ends


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"decimal": ";"}, "--decimal ;"),
        ({"separator": "ab"}, "--separator 'ab'"),
        ({"timezone": "Mars/Olympus"}, "--timezone Mars/Olympus"),
        ({"timezone": "../../etc/passwd"}, "--timezone ../../etc/passwd"),
        ({"timezone": "America"}, "--timezone America"),
        ({"date_format": "yearfirst"}, "--date_format yearfirst"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_reading(options, says):
    with pytest.raises(BadInput) as error:
        read_part(Part("x", (Path("none"),)), FileOptions(**options))
    assert says in str(error.value)


def test_options_of_text_files(tmp_path):
    assert list(read(tmp_path, "Date:Close\n2024-01-02:1\n", separator=":")[0]["close"]) == [1]
    assert list(read(tmp_path, "Date\tClose\n2024-01-02\t1\n", separator="tab")[0]["close"]) == [1]
    assert "--date_format" in refusal(tmp_path, GOOD, date_format="%Q")


def test_plain_numbers_are_read_fast_and_not_as_text(tmp_path):
    n = 100_000
    stamps = np.arange(n).astype("datetime64[m]").astype(str)
    text = "ds,open,high,low,close,volume\n" + "".join(f"{t},1.5,2.5,0.5,2.25,7\n" for t in stamps)
    start = time.perf_counter()
    bars, _ = read(tmp_path, text)
    assert len(bars) == n
    assert time.perf_counter() - start < 2  # 0.1 s where this was written
