"""Yahoo through the real client over real HTTP, against a stand-in on loopback; no request can leave the machine."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import repeat

import numpy as np
import pandas as pd
import pytest
import yfinance
from conftest import ROOT
from curl_cffi.requests import Session
from yahoo_server import SPLIT, Market, send_to, yahoo_server

from data_pipeline import BadInput, MqcError
from data_pipeline.sources import yahoo
from data_pipeline.sources.request import POPULAR, Wanted
from data_pipeline.sources.yahoo_frame import normalize, total_return_close
from data_pipeline.store import Store, StoredSeries
from data_pipeline.update import days_to_ask
from mqc_jax.commands.data import fetch
from mqc_jax.commands.data import list as listing
from mqc_jax.flags import run_command

TODAY = datetime.now(UTC).date()
COLUMNS = ["unique_id", "ds", "open", "high", "low", "close", "adj_close", "volume", "dividend", "split"]


@pytest.fixture(scope="module", autouse=True)
def nothing_leaves_the_machine(tmp_path_factory):
    """Whatever is not sent to the stand-in goes to a proxy that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        patch.setenv("no_proxy", "127.0.0.1")
        yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))
        yield


@pytest.fixture
def server(monkeypatch):
    with yahoo_server() as running:
        monkeypatch.setattr(Session, "request", send_to(f"http://127.0.0.1:{running.server_port}", Session.request))
        monkeypatch.setattr(yahoo, "FIRST_WAIT_S", 0.001)
        yield running


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


def run(command, *argv):
    return run_command(command.run, command.flags, argv)


def stored(place, symbol="AAPL", interval="1d"):
    return Store(place).read(symbol, interval)


def outcomes(place, *argv):
    """The figures of a fetch by ticker, also when some failed."""
    try:
        figures = fetch.run(fetch.flags([*argv, "--store", place]), silent())
    except MqcError as error:
        figures = error.figures
    return {row["symbol"]: row for row in figures["tickers"]}


def silent():
    from rich.console import Console

    return Console(quiet=True)


# What the client returns, as raw bars


def flat_frame(times, name):
    index = pd.DatetimeIndex(times, name=name)
    names = ("Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits")
    return pd.DataFrame({column: np.arange(len(index)) + 10.0 * k for k, column in enumerate(names)}, index=index)


DAYS = pd.DatetimeIndex(["2024-03-08", "2024-03-11"])


@pytest.mark.parametrize("shape", ["flat", "field, ticker", "ticker, field", "no zone"])
def test_frames_of_every_shape_give_the_same_bars(shape):
    frame = flat_frame(DAYS if shape == "no zone" else DAYS.tz_localize("America/New_York"), "Date")
    if shape == "field, ticker":
        frame = pd.concat({"MSFT": frame + 1, "AAPL": frame}, axis=1).swaplevel(axis=1).sort_index(axis=1)
    if shape == "ticker, field":
        frame = pd.concat({"MSFT": frame + 1, "AAPL": frame}, axis=1)
    bars = normalize(frame, "AAPL")
    assert list(bars.columns) == COLUMNS
    assert set(bars["unique_id"]) == {"AAPL"}
    assert list(bars["ds"]) == list(DAYS)  # the exchange's dates, through the change to summer time
    assert bars["ds"].dtype == "datetime64[ns]"
    assert (bars["close"].iloc[1], bars["adj_close"].iloc[1], bars["split"].iloc[1]) == (31, 41, 71)
    assert set(bars.drop(columns=["unique_id", "ds"]).dtypes) == {np.dtype(float)}


def test_a_day_whose_midnight_the_clock_skips_keeps_its_date():
    times = pd.DatetimeIndex(["2018-11-01 00:00", "2018-11-04 01:00"]).tz_localize("America/Sao_Paulo")
    assert list(normalize(flat_frame(times, "Date"), "VALE3.SA")["ds"].dt.strftime("%d %H")) == ["01 00", "04 00"]


def test_intraday_bars_are_in_utc_and_have_no_adjusted_close():
    times = pd.DatetimeIndex(["2024-03-08 15:30", "2024-03-11 09:30"]).tz_localize("America/New_York")
    bars = normalize(flat_frame(times, "Datetime"), "AAPL")
    assert list(bars["ds"]) == [pd.Timestamp("2024-03-08 20:30"), pd.Timestamp("2024-03-11 13:30")]
    assert "adj_close" not in bars
    with pytest.raises(BadInput, match="without a zone"):
        normalize(flat_frame(times.tz_localize(None), "Datetime"), "AAPL")


def test_a_symbol_that_is_not_in_the_frame_is_named():
    with pytest.raises(BadInput, match="TSLA"):
        normalize(pd.concat({"AAPL": flat_frame(DAYS, "Date")}, axis=1), "TSLA")


def test_the_total_return_close_by_hand():
    close, dividend = np.array([100.0, 99, 110, 108]), np.array([7.0, 1, 0, 2])
    adjusted = total_return_close(close, dividend)
    np.testing.assert_allclose(adjusted, [97.2, 97.2, 108, 108], rtol=1e-14)  # 100 · 0.99 · 108/110, 99 · 108/110, …
    holed = total_return_close(np.array([100.0, np.nan, 110, 108]), np.array([0, 0, 10.0, 0]))
    np.testing.assert_allclose(holed, [90, np.nan, 110, 108], rtol=1e-14)
    with pytest.raises(BadInput, match="bar 2: a dividend of 100 after a close of 100"):
        total_return_close(np.array([100.0, 1]), np.array([0, 100.0]))


# Fetching


def test_what_yahoo_sends_is_stored_as_it_is(server, place):
    assert run(fetch, "aapl", "--store", place) == 0
    bars, market = stored(place), Market("AAPL", server.today)
    assert list(bars.columns) == COLUMNS
    np.testing.assert_array_equal(bars["ds"].to_numpy().astype("datetime64[D]"), market.days)
    for name in ("close", "adj_close", "dividend", "split"):
        np.testing.assert_array_equal(bars[name], getattr(market, name))
    assert (bars["close"] > bars["adj_close"]).any()
    known = Store(place).series("AAPL", "1d")
    assert (known.source, known.currency, known.timezone) == ("yahoo", "USD", "America/New_York")
    assert known.fetched_from == "1900-01-01"


def test_where_yahoo_gives_no_adjusted_close_ours_agrees_with_the_one_it_would_give(server, place):
    server.answers["AAPL"] = repeat("no_adjclose")
    assert run(fetch, "AAPL", "--store", place) == 0
    np.testing.assert_allclose(stored(place)["adj_close"], Market("AAPL", server.today).adj_close, rtol=1e-13)


@pytest.mark.parametrize("answer", ["429", "500", "empty", "malformed", "partial"])
def test_a_failure_that_passes_is_retried_and_forgotten(server, place, answer):
    server.answers["AAPL"] = iter([answer] * 3)  # the client itself asks twice after an error status
    assert run(fetch, "AAPL", "--store", place, "--end", "2024-05-31") == 0  # past days go through the client's cache
    assert len(stored(place)) == int(np.busday_count("2022-01-03", "2024-06-01"))
    assert len(server.price_requests("AAPL")) == 4


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ("429", "failed", "too many requests (429)"),
        ("500", "failed", "server failed (500)"),
        ("malformed", "failed", "not readable"),
        ("empty", "empty", "without any price"),
        ("partial", "partial", "the last 2 bars have no price yet"),
    ],
)
def test_a_failure_that_lasts_is_told_and_overwrites_nothing(server, place, capsys, answer, status, reason):
    server.answers["AAPL"] = repeat("good")
    assert run(fetch, "AAPL", "--store", place) == 0
    before = Store(place).file("AAPL", "1d").read_bytes()
    server.answers["AAPL"], server.requests[:] = repeat(answer), []
    capsys.readouterr()
    assert run(fetch, "AAPL", "MSFT", "--store", place, "--retries", "2") == 5
    out, err = capsys.readouterr()
    assert f"AAPL {status} " in " ".join(out.split()) and reason in " ".join(out.split())
    assert err.startswith("error: 1 of 2 tickers incomplete (AAPL: ") and reason in err
    assert err.count("\n") == 1  # and nothing of the client's own
    assert len(server.price_requests("AAPL")) == 3 * (2 if answer in ("429", "500") else 1)
    assert Store(place).file("AAPL", "1d").read_bytes() == before
    assert len(stored(place, "MSFT")) == len(stored(place))


def test_a_server_that_does_not_answer_is_given_up(server, place, monkeypatch):
    monkeypatch.setattr(yahoo, "TIMEOUT_S", 0.3)
    server.answers["AAPL"] = repeat("slow")
    row = outcomes(place, "AAPL", "--retries", "1")["AAPL"]
    assert (row["status"], row["exit_code"]) == ("failed", 5)
    assert "no answer from Yahoo (Timeout)" in row["reason"]
    assert len(server.price_requests("AAPL")) == 2


def test_an_unknown_ticker_is_not_retried(server, place):
    for symbol in ("UNKNOWN1", "UNKNOWN2", "UNKNOWN3"):  # the client treats the first two differently
        server.requests.clear()
        row = outcomes(place, symbol)[symbol]
        assert (row["status"], row["exit_code"]) == ("failed", 2)
        assert "does not know this ticker" in row["reason"]
        assert len([path for path, _ in server.requests if path.endswith(f"chart/{symbol}")]) <= 2
    assert not os.path.exists(place)


def test_a_request_that_yahoo_refuses_is_not_retried_and_told_in_its_words(server, place):
    server.answers["AAPL"] = repeat("400")
    row = outcomes(place, "AAPL")["AAPL"]
    assert (row["status"], row["exit_code"], row["reason"]) == ("failed", 2, "Yahoo refuses: as scripted")
    assert len(server.price_requests("AAPL")) == 2  # both by the client


def test_an_end_that_is_missing_is_stored_up_to_there_and_completed_next_time(server, place):
    server.answers["AAPL"] = repeat("partial")
    row = outcomes(place, "AAPL", "--retries", "1")["AAPL"]
    assert (row["status"], row["last"]) == ("partial", "2024-06-04T00:00:00")
    server.answers.clear()
    assert outcomes(place, "AAPL")["AAPL"]["bars_added"] == 3
    np.testing.assert_array_equal(stored(place)["close"], Market("AAPL", server.today).close)


def test_an_update_asks_for_the_new_bars_and_a_few_old_ones(server, place):
    outcomes(place, "AAPL")
    server.today, server.requests[:] = date(2024, 6, 12), []
    row = outcomes(place, "AAPL")["AAPL"]
    assert (row["status"], row["bars_added"]) == ("updated", 3)
    (query,) = server.price_requests("AAPL")
    assert date.fromtimestamp(int(query["period1"])) == date(2024, 6, 7) - timedelta(days=14)
    np.testing.assert_array_equal(stored(place)["close"], Market("AAPL", server.today).close)
    assert outcomes(place, "AAPL")["AAPL"]["status"] == "unchanged"


def test_the_bar_of_a_running_session_is_completed_by_the_next_fetch(server, place):
    server.answers["AAPL"] = iter(["running"])
    outcomes(place, "AAPL")
    market = Market("AAPL", server.today)
    assert stored(place)["close"].iloc[-1] == pytest.approx(1.01 * market.close[-1])
    assert outcomes(place, "AAPL")["AAPL"]["status"] == "updated"
    np.testing.assert_array_equal(stored(place)["close"], market.close)


@pytest.mark.parametrize(("day", "factor"), [(date(2024, 6, 18), SPLIT), (date(2024, 9, 3), SPLIT)])
def test_a_split_or_dividend_brings_the_whole_history_anew(server, place, day, factor):
    if day.month == 9:
        server.today = date(2024, 8, 26)  # after the split: only a dividend lies between
    outcomes(place, "AAPL", "--start", "2022-06-01")
    old, server.today = stored(place), day
    assert outcomes(place, "AAPL")["AAPL"]["status"] == "restated"
    market, begin = Market("AAPL", day), np.datetime64("2022-06-01")
    for name in ("close", "adj_close", "dividend", "split"):
        np.testing.assert_array_equal(stored(place)[name], getattr(market, name)[market.days >= begin])
    assert old["adj_close"].iloc[0] != stored(place)["adj_close"].iloc[0]


def test_a_restated_history_that_fails_to_come_leaves_the_old_one(server, place):
    outcomes(place, "AAPL")
    before = Store(place).file("AAPL", "1d").read_bytes()
    server.today, server.answers["AAPL"] = date(2024, 6, 18), iter(["good", *["500"] * 9])
    row = outcomes(place, "AAPL", "--retries", "1")["AAPL"]
    assert (row["status"], row["bars"]) == ("failed", len(pd.read_parquet(Store(place).file("AAPL", "1d"))))
    assert Store(place).file("AAPL", "1d").read_bytes() == before


def test_first_and_last_day_are_included_and_earlier_days_come_on_demand(server, place):
    outcomes(place, "AAPL", "--start", "2024-02-01", "--end", "2024-03-01")
    days = stored(place)["ds"]
    assert (days.iloc[0], days.iloc[-1]) == (pd.Timestamp("2024-02-01"), pd.Timestamp("2024-03-01"))
    outcomes(place, "AAPL", "--start", "2024-01-01", "--end", "2024-01-05")  # without a hole in between
    assert len(stored(place)) == int(np.busday_count("2024-01-01", "2024-03-02"))
    outcomes(place, "AAPL", "--max")
    np.testing.assert_array_equal(stored(place)["close"], Market("AAPL", server.today).close)


def test_intraday_bars_keep_utc_and_only_priced_times(server, place, capsys):
    server.today = TODAY
    assert run(fetch, "AAPL", "--interval", "1h", "--store", place, "--start", "2001-01-01") == 0
    assert (
        f"Yahoo keeps no 1h bars from before {TODAY - timedelta(days=728)}: starting there" in capsys.readouterr().out
    )
    bars = stored(place, interval="1h")
    assert bars["close"].notna().all() and "adj_close" not in bars
    new_york = bars["ds"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    assert set(new_york.dt.strftime("%H:%M")) == {f"{hour:02}:30" for hour in range(9, 16)}
    outcomes(place, "AAPL", "--interval", "30m")  # which the client makes from 15m
    assert stored(place, interval="30m")["close"].notna().all()


def series(fetched_from, last):
    return StoredSeries("A", "1m", "yahoo", fetched_from, None, None, 9, f"{fetched_from}T14:30:00", f"{last}T15:00:00")


@pytest.mark.parametrize(
    ("known", "start", "end", "asked"),
    [
        (None, None, None, ("1900-01-01", None)),
        (None, "2024-01-02", "2024-02-01", ("2024-01-02", "2024-02-01")),
        (("2020-01-01", "2024-03-31"), None, None, ("2024-03-17", None)),
        (("2024-03-25", "2024-03-31"), None, None, ("2024-03-25", None)),  # not from before what was asked for once
        (("2020-01-01", "2024-03-31"), "2024-05-01", None, ("2024-03-17", None)),  # no hole
        (("2020-01-01", "2024-03-31"), "2019-01-01", "2019-02-01", ("2019-01-01", "2024-03-31")),
        (("2020-01-01", "2024-03-31"), "2021-01-01", "2022-01-01", None),
    ],
)
def test_stored_days_never_have_a_hole(known, start, end, asked):
    day = {text: text and date.fromisoformat(text) for text in (start, end)}
    wanted = Wanted("1d", day[start], day[end], date(2024, 6, 1))
    asked = asked and tuple(text and date.fromisoformat(text) for text in asked)
    assert days_to_ask(known and series(*known), wanted) == asked


# What the user types


@pytest.mark.parametrize(
    "ticker", ["../x", "/etc/passwd", "a/b", "A\0B", "", "A" * 33, "..", "A B", "-A", "US0378331005"]
)
def test_what_is_no_ticker_is_refused_before_any_request(server, place, capsys, ticker, tmp_path):
    assert run(fetch, "AAPL", "--tickers", ticker, "--store", place) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    (tmp_path / "list.txt").write_text(f"MSFT\n'{ticker}'\n")
    assert run(fetch, "--tickers_file", str(tmp_path / "list.txt"), "--store", place) == 2
    assert "line 2" in capsys.readouterr().err
    assert server.requests == []
    assert not os.path.exists(place)


def test_tickers_come_from_everywhere_once_and_in_order(tmp_path):
    (tmp_path / "list.txt").write_text("# mine\nibm, ^gspc # and\n\nEURUSD=X AAPL\n")
    file = str(tmp_path / "list.txt")
    given = fetch.flags(["AAPL", "--tickers", "BRK-B", "AAPL", "--tickers_file", file, "--add_popular"])
    tickers = fetch._tickers(given)
    assert tickers[:5] == ["AAPL", "BRK-B", "IBM", "^GSPC", "EURUSD=X"]
    assert sorted(tickers[5:]) == sorted(set(POPULAR) - {"AAPL", "BRK-B"})
    assert len(set(POPULAR)) == 20


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "no tickers"),
        (["AAPL", "--max", "--start", "2020-01-01"], "--max asks for all history and --start for less"),
        (["AAPL", "--start", "2020-02-30"], "--start 2020-02-30: not a date"),
        (["AAPL", "--start", "2020-02-03", "--end", "2020-02-02"], "--start 2020-02-03 is after --end 2020-02-02"),
        (["AAPL", "--start", "2999-01-01"], "--start 2999-01-01 is after today"),
        (["AAPL", "--interval", "1m", "--end", "2020-01-01"], "Yahoo's 1m bars begin on"),
        (["AAPL", "--interval", "7m"], "--interval"),
        (["AAPL", "--retries", "-1"], "--retries -1"),
        (["--tickers_file", "nowhere.txt"], "nowhere.txt: no such file"),
        (["AAPL", "--store", "."], "is there and is not a store"),
    ],
)
def test_flags_that_make_no_sense_are_refused_in_one_line(server, tmp_path, monkeypatch, capsys, argv, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").touch()
    assert run(fetch, *argv) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert server.requests == []


def test_the_table_and_the_figures_tell_of_every_ticker(server, place, capsys):
    server.answers["MSFT"] = repeat("429")
    rows = outcomes(place, "AAPL", "MSFT", "UNKNOWN1", "--retries", "0")
    assert {symbol: row["status"] for symbol, row in rows.items()} == {
        "AAPL": "ok",
        "MSFT": "failed",
        "UNKNOWN1": "failed",
    }
    assert rows["AAPL"]["bars"] == rows["AAPL"]["bars_added"] == len(stored(place))
    assert run(fetch, "AAPL", "--store", place, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["tickers"][0]["last"] == "2024-06-07T00:00:00"


def test_json_is_written_also_when_some_failed(server, place, tmp_path):
    assert run(fetch, "AAPL", "UNKNOWN1", "--store", place, "--json", str(tmp_path / "f.json")) == 2
    rows = json.loads((tmp_path / "f.json").read_text())["tickers"]
    assert [row["status"] for row in rows] == ["ok", "failed"]


@pytest.mark.parametrize("to_stdout", [False, True])
def test_each_ticker_is_named_before_yahoo_is_asked_and_a_failure_told_at_once(place, monkeypatch, capsys, to_stdout):
    heard = []

    def no_network(*_):
        heard.append(capsys.readouterr())
        raise yahoo.NotDelivered("no answer from Yahoo")

    monkeypatch.setattr(yahoo, "_ask", no_network)
    argv = ["AAPL", "MSFT", "--retries", "0", "--store", place, *(["--json", "-"] if to_stdout else [])]
    assert run(fetch, *argv) == 5
    said = ["AAPL, 1 of 2\n", "AAPL: no answer from Yahoo\nMSFT, 2 of 2\n"]
    assert [(out, err) for out, err in heard] == [("", line) if to_stdout else (line, "") for line in said]


def test_the_help_says_whose_data_it_is(capsys):
    with pytest.raises(SystemExit):
        fetch.flags(["--help"])
    assert "personal use only" in " ".join(capsys.readouterr().out.replace("│", " ").split())


# Offline


def test_a_filled_store_is_listed_and_read_without_yahoo(server, place, capsys, tmp_path, monkeypatch):
    outcomes(place, "AAPL", "^GSPC")
    monkeypatch.undo()  # Yahoo is no longer the stand-in but its own address, behind a proxy that is not there
    capsys.readouterr()
    assert run(listing, "--store", place, "--json", str(tmp_path / "list.json")) == 0
    out = capsys.readouterr().out
    assert "AAPL" in out and "^GSPC" in out and "2022-01-03" in out and "yahoo" in out
    rows = json.loads((tmp_path / "list.json").read_text())["series"]
    assert [(row["symbol"], row["bars"]) for row in rows] == [("AAPL", 635), ("^GSPC", 635)]
    assert rows[0]["size_bytes"] == Store(place).file("AAPL", "1d").stat().st_size
    assert len(stored(place)) == 635
    row = outcomes(place, "AAPL", "--retries", "0")["AAPL"]
    assert (row["status"], row["bars"], row["exit_code"]) == ("failed", 635, 5)


def test_a_damaged_file_is_told_beside_the_others(server, place, capsys):
    outcomes(place, "AAPL", "MSFT")
    Store(place).file("AAPL", "1d").write_bytes(b"PAR1")
    capsys.readouterr()
    assert run(listing, "--store", place) == 3
    out, err = capsys.readouterr()
    assert "MSFT" in out
    assert "AAPL.parquet: broken" in err and "mqc data fetch AAPL" in err and err.count("\n") == 1
    row = outcomes(place, "AAPL")["AAPL"]
    assert (row["status"], row["exit_code"]) == ("failed", 3)
    assert Store(place).file("AAPL", "1d").read_bytes() == b"PAR1"


def test_listing_what_is_no_store_says_how_to_make_one(place, capsys):
    assert run(listing, "--store", place) == 2
    assert "'mqc data fetch AAPL --store" in capsys.readouterr().err
    assert not os.path.exists(place)


REDIRECTED = """
import sys
from curl_cffi.requests import Session
from yahoo_server import send_to
Session.request = send_to(sys.argv[1], Session.request)
from mqc_jax.commands.data import fetch
from mqc_jax.flags import run_command
sys.exit(run_command(fetch.run, fetch.flags, sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_real_process_fetches_and_is_silent_about_the_client(server, place, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # where the client remembers time zones and cookies
    server.crumb_status = 429  # the client can do without, and logs that it does
    url = f"http://127.0.0.1:{server.server_port}"
    argv = ["AAPL", "UNKNOWN1", "--store", place, "--retries", "0"]
    done = subprocess.run(
        [sys.executable, "-c", REDIRECTED, url, *argv], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 1 of 2 tickers incomplete") and done.stderr.count("\n") == 1
    np.testing.assert_array_equal(stored(place)["close"], Market("AAPL", server.today).close)
