"""The Forecaster: any frame in, honest quantiles on the right dates out, and one line for what cannot be."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_pipeline import BadInput, load_bars
from data_pipeline.calendars import named
from data_pipeline.config import DataConfig
from data_pipeline.shards import read_asset
from mqc_jax import Forecaster
from mqc_jax.cli import main
from mqc_jax.forecasting.forecast import DECILES
from mqc_jax.forecasting.histories import Past

DAY = np.timedelta64(1, "D")


@pytest.fixture(scope="module")
def forecaster(tiny_run):
    return Forecaster.from_run(tiny_run)


@pytest.fixture(scope="module")
def hourly(forecaster):
    """The same model, as if its bars had been hours."""
    assets = [about | {"interval": "1h"} for about in forecaster.run.manifest["assets"]]
    return replace(forecaster, run=forecaster.run._replace(manifest=forecaster.run.manifest | {"assets": assets}))


def prices(unique_id, times, seed=0):
    """A long frame of a random walk at these times."""
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, len(times))))
    return pd.DataFrame({"unique_id": unique_id, "ds": times, "y": closes})


def sessions(last, n=300, calendar="XNYS"):
    """The last `n` days of an exchange up to `last`."""
    first = np.datetime64(last) - 2 * n * DAY
    return named(calendar).bars_between(first, np.datetime64(last), DAY)[-n:]


APPLE = prices("AAPL", sessions("2018-12-21"))


def as_long(frame, path):
    return frame, {}


def as_close(frame, path):
    return frame.rename(columns={"unique_id": "symbol", "ds": "Date", "y": "Close"}).sample(frac=1, random_state=0), {}


def as_chronos(frame, path):
    return frame.rename(columns={"unique_id": "item_id", "ds": "timestamp", "y": "target"}), {}


def as_yfinance(frame, path):
    columns = pd.MultiIndex.from_product([["Close", "Open"], ["AAPL"]], names=["Price", "Ticker"])
    index = pd.DatetimeIndex(frame["ds"], name="Date").tz_localize("America/New_York")
    return pd.DataFrame(np.stack([frame["y"], frame["y"]], axis=1), index=index, columns=columns), {}


def as_yfinance_flat(frame, path):
    return pd.DataFrame({"Close": frame["y"].to_numpy()}, index=pd.DatetimeIndex(frame["ds"])), {"symbol": "AAPL"}


def as_own_names(frame, path):
    columns = {"id_col": "who", "time_col": "when", "target_col": "what"}
    return frame.set_axis(["who", "when", "what"], axis=1), columns


def as_csv(frame, path):
    frame[["ds", "y"]].to_csv(path / "AAPL.csv", index=False)
    return path / "AAPL.csv", {}


SHAPES = [as_long, as_close, as_chronos, as_yfinance, as_yfinance_flat, as_own_names, as_csv]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_frame_gives_the_same_forecast(forecaster, tmp_path, shape):
    df, reading = shape(APPLE, tmp_path)
    expected = forecaster.predict(APPLE, 5, n_paths=20)
    pd.testing.assert_frame_equal(forecaster.predict(df, 5, n_paths=20, **reading), expected)


def test_a_frame_of_the_runs_own_prices_is_forecast_as_training_saw_them(forecaster):
    """History, volatility and calendar are those of the dataset, so the paths are equal bit for bit."""
    expected = forecaster.paths(h=4, n_paths=10, as_array=True, as_of="2018-06-29")
    found = forecaster.paths(load_bars("bundled"), 4, n_paths=10, as_array=True, as_of="2018-06-29")
    np.testing.assert_array_equal(found, expected)


def test_a_series_has_the_same_paths_alone_and_in_company(forecaster):
    other, third = prices("MSFT", sessions("2018-11-30", 700), 1), prices("BTC-USD", sessions("2018-12-21", 90), 2)
    company = pd.concat([other, APPLE, third])
    together = forecaster.paths(company, 6, n_paths=8, seed=3, calendar="XNYS")
    alone = forecaster.paths(APPLE, 6, n_paths=8, seed=3)
    np.testing.assert_array_equal(together[together.unique_id == "AAPL"], alone)
    np.testing.assert_array_equal(forecaster.paths(APPLE, 6, n_paths=5, seed=3)["mqc"], alone["mqc"][: 5 * 6])
    renamed = forecaster.paths(APPLE.assign(unique_id="IBM"), 6, n_paths=8, seed=3)
    for others in (forecaster.paths(APPLE, 6, n_paths=8, seed=4), renamed):
        assert not np.array_equal(others["mqc"], alone["mqc"])


def test_bars_to_come_keep_the_holidays_of_their_exchange(forecaster):
    """New York trades half the day on Christmas Eve, and not on Christmas and New Year; crypto knows no holiday."""
    coin = prices("BTC-USD", pd.date_range(end="2018-12-21", periods=300), 1)
    out = forecaster.predict(pd.concat([APPLE, coin]), 7, n_paths=5)
    days = out["ds"].dt.strftime("%m-%d").to_numpy().reshape(2, 7).tolist()
    assert days[0] == ["12-24", "12-26", "12-27", "12-28", "12-31", "01-02", "01-03"]
    assert days[1] == ["12-22", "12-23", "12-24", "12-25", "12-26", "12-27", "12-28"]
    assert out.attrs["calendar"] == {"AAPL": "XNYS", "BTC-USD": "24/7"}


@pytest.mark.parametrize(("label", "ahead"), [("start", ["20:30", "14:30", "15:30"]), ("end", ["21:00", "15:30"])])
def test_hours_to_come_are_stamped_as_those_given_are(hourly, label, ahead):
    """So that they can be laid beside what comes; the exchange cuts its last bar short."""
    calendar = replace(named("XNYS"), label=label)
    times = calendar.bars_between(np.datetime64("2018-01-02"), np.datetime64("2018-12-22"), np.timedelta64(1, "h"))
    out = hourly.predict(prices("AAPL", times[:-1]), len(ahead), n_paths=5)
    assert out["ds"].dt.strftime("%H:%M").tolist() == ahead


def test_the_clock_of_bars_to_come_is_what_training_sees_once_they_have_come():
    frame = prices("AAPL", sessions("2019-01-31")).rename(columns={"y": "close"})
    config = DataConfig(clock=True)
    (whole,) = (reading.shard.load() for reading in read_asset(frame, config))
    seen = len(whole) - 26
    past = Past(
        "AAPL", None, whole.times[:seen], whole.closes[:seen], "close", DAY, named("XNYS"), whole.times[seen - 1]
    )
    stamps = past.bars_ahead(26)
    np.testing.assert_array_equal(stamps, whole.times[seen:])
    np.testing.assert_array_equal(past.clock_ahead(stamps), whole.clock[seen:])
    assert whole.clock[seen:, 1].max() == pytest.approx(np.log(4)), "Martin Luther King's day ends a long weekend"


def test_a_forecast_as_of_a_day_knows_nothing_later(forecaster):
    """Not even through the checks of prices, which judge a bar by the next."""
    frame = prices("AAPL", sessions("2018-12-31"))
    spiked = frame.assign(y=np.where(frame["ds"] == "2018-12-21", 3 * frame["y"], frame["y"]))
    expected = forecaster.predict(spiked[spiked["ds"] <= "2018-12-21"], 5, n_paths=20)
    found = forecaster.predict(spiked, 5, n_paths=20, as_of="2018-12-21")
    pd.testing.assert_frame_equal(found, expected)
    assert found.attrs == expected.attrs
    day = pd.Timestamp("2018-12-21").date()
    pd.testing.assert_frame_equal(forecaster.predict(spiked, 5, n_paths=20, as_of=day), expected)


def test_an_hour_is_known_when_it_is_complete(hourly):
    frame = prices("BTC-USD", pd.date_range("2018-01-01", periods=400, freq="h"))
    out = hourly.predict(frame, 1, n_paths=5, as_of=pd.Timestamp("2018-01-10 12:00"))
    assert out["ds"].item() == pd.Timestamp("2018-01-10 12:00"), "the bar that starts at noon is not complete by noon"
    assert out.attrs["cutoff"] == {"BTC-USD": "2018-01-10 12:00"}


def test_columns_are_nixtlas_and_hold_what_they_say(forecaster):
    asked = {"h": 3, "n_paths": 200, "seed": 1}
    out = forecaster.predict(APPLE, level=[80, 97.5], quantiles=[0.05], mean=True, **asked)
    bands = ["mqc-lo-80", "mqc-hi-80", "mqc-lo-97.5", "mqc-hi-97.5"]
    assert list(out) == ["unique_id", "ds", "mqc", *bands, "mqc-ql0.05", "mqc-mean"]
    paths = forecaster.paths(APPLE, as_array=True, **asked)[0]
    expected = np.quantile(paths, [0.5, 0.1, 0.9, 0.0125, 0.9875, 0.05], axis=0)
    np.testing.assert_allclose(out[["mqc", *bands, "mqc-ql0.05"]].to_numpy().T, expected)
    np.testing.assert_allclose(out["mqc-mean"], paths.mean(axis=0))
    returns = forecaster.predict(APPLE, level=[80], of="return", **asked)
    last = APPLE["y"].iloc[-1]
    np.testing.assert_allclose(forecaster.paths(APPLE, of="return", as_array=True, **asked)[0], np.log(paths / last))
    np.testing.assert_allclose(returns["mqc-lo-80"], np.quantile(np.log(paths / last), 0.1, axis=0))


def test_columns_are_those_of_chronos_when_asked(forecaster):
    out = forecaster.predict(APPLE, 2, n_paths=50, style="chronos")
    assert list(out) == ["item_id", "timestamp", "target_name", "predictions", *(f"{k / 10}" for k in range(1, 10))]
    assert set(out["target_name"]) == {"close"}
    np.testing.assert_array_equal(out["predictions"], out["0.5"])
    assert (np.diff(out[[f"{q:g}" for q in DECILES]], axis=1) > 0).all()
    assert list(forecaster.predict(APPLE, 2, n_paths=50, style="chronos", quantiles=[0.05]))[4:] == ["0.05"]


def test_paths_of_prices_compound_the_returns_drawn(forecaster):
    past = forecaster.pasts(APPLE)
    drawn = forecaster.simulate(past, 3, n_paths=4).log_returns
    array = forecaster.paths(APPLE, 3, n_paths=4, as_array=True)
    before = np.concatenate([np.full((1, 4, 1), APPLE["y"].iloc[-1]), array[..., :-1]], axis=2)
    np.testing.assert_allclose(array, before * np.exp(drawn))


def test_paths_come_long_or_as_an_array(forecaster):
    frame = pd.concat([APPLE, prices("MSFT", sessions("2018-12-21"), 1)])
    long, array = forecaster.paths(frame, 4, n_paths=3), forecaster.paths(frame, 4, n_paths=3, as_array=True)
    assert array.shape == (2, 3, 4)
    assert list(long) == ["unique_id", "ds", "sample_id", "mqc"]
    one = long[(long.unique_id == "MSFT") & (long.sample_id == 2)]
    np.testing.assert_array_equal(one["mqc"], array[1, 2])
    assert one["ds"].is_monotonic_increasing


def test_a_frame_says_what_it_rests_on(forecaster):
    adjusted = APPLE.rename(columns={"y": "close"}).assign(adj_close=APPLE["y"] / 2)
    attrs = forecaster.predict(adjusted, 2, n_paths=5, seed=9).attrs
    assert attrs["cutoff"] == {"AAPL": "2018-12-21"}
    assert attrs["price"] == {"AAPL": "adj_close"}
    assert attrs["in_sample"] == {"AAPL": False}
    assert (attrs["n_paths"], attrs["seed"], attrs["of"], attrs["point"]) == (5, 9, "price", "median")
    assert forecaster.predict(APPLE.assign(ds=sessions("2009-12-21")), 2, n_paths=5).attrs["in_sample"]["AAPL"]


def test_a_missing_price_cuts_history_as_in_training_and_is_told(forecaster):
    frame = APPLE.assign(y=APPLE["y"].where(np.arange(len(APPLE)) != len(APPLE) - 4))
    out = forecaster.predict(frame, 2, n_paths=5)
    assert np.isfinite(out["mqc"]).all()
    assert "AAPL: 1 missing_price" in out.attrs["notes"]
    assert any("cut 2 bars before its end" in note for note in out.attrs["notes"])


def test_without_a_calendar_no_date_is_invented(forecaster):
    frame = prices("my fund", sessions("2018-12-21"))
    with pytest.raises(BadInput, match="no calendar is known for my fund; give --calendar"):
        forecaster.predict(frame, 2, n_paths=5)
    assert forecaster.paths(frame, 2, n_paths=5, as_array=True).shape == (1, 5, 2)
    assert np.isnat(forecaster.next_return(frame).ds).all()
    dated = forecaster.predict(frame, 2, n_paths=5, calendar="XNYS")
    assert dated["ds"].dt.strftime("%m-%d").tolist() == ["12-24", "12-26"]


def test_an_asset_of_the_run_keeps_its_calendar_and_forces_it_on_no_other(forecaster):
    manifest = forecaster.run.manifest
    assets = [manifest["assets"][0] | {"unique_id": "my fund", "calendar": "24/7"}]
    manifest = manifest | {"assets": assets, "options": manifest["options"] | {"calendar": "24/7"}}
    known = replace(forecaster, run=forecaster.run._replace(manifest=manifest))
    frame = pd.concat([prices("my fund", sessions("2018-12-21")), APPLE])
    assert known.predict(frame, 2, n_paths=5).attrs["calendar"] == {"my fund": "24/7", "AAPL": "XNYS"}


def test_the_next_return_is_the_models_own_law(forecaster):
    """Of histories of unlike length: the masses are those of the model on each history by itself."""
    frame = pd.concat([APPLE, prices("MSFT", sessions("2018-12-31", 70), 1)])
    found = forecaster.next_return(frame)
    assert found.unique_ids == ("AAPL", "MSFT")
    assert found.ds.astype("datetime64[D]").astype(str).tolist() == ["2018-12-24", "2019-01-02"]
    for row, past in enumerate(forecaster.pasts(frame)):
        logits = forecaster.run.model(past.history.tokens[None], past.history.inputs[None])[0, -1]
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(found.law.masses_NK[row], expected, rtol=1e-4)
    alone = forecaster.next_return(APPLE)
    np.testing.assert_allclose(alone.quantile([0.01, 0.5]), found.quantile([0.01, 0.5])[:1], rtol=1e-6)


def test_density_cdf_quantiles_and_shortfall_of_the_next_return_agree(forecaster):
    found = forecaster.next_return(APPLE)
    levels = np.linspace(0.001, 0.999, 40)
    points = found.quantile(levels)[0]
    np.testing.assert_allclose(found.cdf(points)[0], levels, atol=1e-9)
    slope = (found.cdf(points + 1e-8) - found.cdf(points - 1e-8))[0] / 2e-8
    np.testing.assert_allclose(found.density(points)[0], slope, rtol=1e-4)
    below = found.quantile((np.arange(20_000) + 0.5) / 20_000 * 0.05).mean()
    np.testing.assert_allclose(found.expected_shortfall(0.05), [[below]], rtol=1e-3)


def test_one_step_paths_follow_the_law_of_the_next_return(forecaster):
    drawn = forecaster.paths(APPLE, 1, n_paths=20_000, of="return", as_array=True).ravel()
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    edges = forecaster.next_return(APPLE).quantile(levels)[0]
    share = (drawn[:, None] <= edges).mean(axis=0)
    np.testing.assert_allclose(share, levels, atol=0.012 + 4 * np.sqrt(0.25 / 20_000))  # a bin holds 1/128


def changed(**columns):
    return APPLE.assign(**columns)


TWICE = pd.concat([APPLE, APPLE.iloc[-1:].assign(y=1.0)])
REFUSED = {
    "h=0": (APPLE, {"h": 0}, "h=0 must be from 1 to 10000"),
    "h<0": (APPLE, {"h": -5}, "h=-5 must be from 1"),
    "h huge": (APPLE, {"h": 10**9}, "h=1000000000 must be from 1"),
    "h half": (APPLE, {"h": 2.5}, "h=2.5 must be a whole number"),
    "too much": (APPLE, {"h": 10_000, "n_paths": 100_000}, "ask for fewer paths"),
    "n_paths": (APPLE, {"n_paths": 0}, "n_paths=0 must be from 1"),
    "seed": (APPLE, {"seed": -1}, "seed=-1 must be from 0"),
    "level 0": (APPLE, {"level": [0]}, "level 0 must lie between 0 and 100"),
    "level 100": (APPLE, {"level": [80, 100]}, "level 100 must lie between"),
    "level nan": (APPLE, {"level": [float("nan")]}, "level nan must lie between"),
    "level twice": (APPLE, {"level": [80, 80]}, "one of them is there twice"),
    "level bare": (APPLE, {"level": 80}, "level=80 must be a list"),
    "quantile 0": (APPLE, {"quantiles": [0]}, "quantiles 0 must lie between 0 and 1"),
    "quantile 1": (APPLE, {"quantiles": [0.1, 1]}, "quantiles 1 must lie between"),
    "of": (APPLE, {"of": "prices"}, "of='prices' must be one of price, return"),
    "style": (APPLE, {"style": "gluonts"}, "must be one of nixtla, chronos"),
    "asset": (APPLE, {"assets": ["DAX"]}, "DAX: not in these prices; choose one of AAPL"),
    "own asset": (None, {"assets": ["DAX"]}, "DAX: not in this run; choose one of SP500, NASDAQ, WTI"),
    "all NaN": (changed(y=np.nan), {}, "AAPL: 0 returns do not outlast the warm-up of 60"),
    "short": (APPLE.iloc[:61], {}, "AAPL: 60 returns do not outlast the warm-up of 60; give at least 63 bars"),
    "one bar": (APPLE.iloc[:1], {}, "AAPL: 0 returns do not outlast"),
    "too early": (APPLE, {"as_of": "2000-01-01"}, "--as_of 2000-01-01: no bar of AAPL by then"),
    "early": (APPLE, {"as_of": "2017-11-01"}, "returns by 2017-11-01 do not outlast"),
    "no date": (APPLE, {"as_of": "soon"}, "not a date"),
    "empty": (APPLE.iloc[:0], {}, "frame: no rows"),
    "duplicates": (TWICE, {}, "AAPL: conflicting duplicate: 2018-12-21 appears twice"),
    "columns": (APPLE.set_axis(["a", "b", "e"], axis=1).assign(d=APPLE["y"]), {}, "name it with --target_col"),
    "no such column": (APPLE, {"target_col": "price"}, "--target_col price: frame has no such column"),
    "weekly": (prices("AAPL", pd.date_range("2010-01-04", periods=200, freq="7D")), {}, "bars of 1w, and"),
    "hourly": (prices("BTC-USD", pd.date_range("2018-01-01", periods=99, freq="h")), {}, "was trained on bars of 1d"),
    "numbered": (changed(ds=np.arange(len(APPLE))), {}, "'0' is not a date"),
    "calendar": (APPLE, {"calendar": "XNYC"}, "did you mean XNYS"),
    "series": (APPLE["y"], {}, "df is a Series; give a pandas frame, or the path of a file"),
    "list": ([1, 2], {}, "df is a list"),
    "no file": ("none.csv", {}, "'none.csv': no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_forecast_is_refused_in_one_line(forecaster, case):
    df, asked, says = REFUSED[case]
    with pytest.raises(BadInput) as refusal:
        forecaster.predict(df, **({"n_paths": 5} | asked))
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("level", [[50, 80, 95], [90]])
def test_utilsforecast_takes_the_frames_as_they_are(forecaster, level):
    from utilsforecast.evaluation import evaluate
    from utilsforecast.losses import coverage, mae, mqloss
    from utilsforecast.plotting import plot_series

    frame = pd.concat([prices(name, sessions("2018-12-31"), k) for k, name in enumerate(["AAPL", "MSFT"])])
    out = forecaster.predict(frame, 5, level=level, n_paths=100, as_of="2018-12-21")
    joined = out.merge(frame, on=["unique_id", "ds"])
    assert len(joined) == len(out), "every bar forecast has come"
    scores = evaluate(joined, [mae, mqloss, coverage], level=level)
    assert set(scores["unique_id"]) == {"AAPL", "MSFT"}
    assert np.isfinite(scores["mqc"]).all()
    expected = (joined["y"] - joined["mqc"]).abs().groupby(joined["unique_id"]).mean()
    found = scores[scores["metric"] == "mae"].set_index("unique_id")["mqc"]
    np.testing.assert_allclose(found, expected)
    figure = plot_series(frame, out, level=level, max_insample_length=50, engine="matplotlib")
    assert len(figure.axes) == 2
    assert {line.get_label() for line in figure.axes[0].lines} == {"y", "mqc"}


def test_a_file_is_forecast_drawn_and_written_by_one_command(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prices("AAPL", sessions("2018-12-31")).to_csv("AAPL.csv", index=False)
    asked = ["--checkpoint", str(tiny_run), "--horizon", "5", "--level", "90,50", "--as_of", "2018-12-21"]
    written = ["--plot", "f.png", "--out", "f.csv", "--json", "f.json"]
    assert main(["forecast", "AAPL.csv", *asked, "--n_paths", "50", *written]) == 0
    out, figures = pd.read_csv("f.csv"), json.loads((tmp_path / "f.json").read_text())
    assert list(out) == ["unique_id", "ds", "mqc", "mqc-lo-50", "mqc-hi-50", "mqc-lo-90", "mqc-hi-90"]
    assert (
        out["ds"].tolist() == figures["bars"] == ["2018-12-24", "2018-12-26", "2018-12-27", "2018-12-28", "2018-12-31"]
    )
    np.testing.assert_allclose(out["mqc-lo-90"], figures["price_quantiles_by_bar"]["0.05"])
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "AAPL looks like a US ticker: calendar XNYS" in printed
    assert f"{out['mqc'].iloc[-1]:,.2f}" in printed


def test_a_file_without_a_calendar_is_forecast_and_that_is_said(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prices("fund", sessions("2018-12-31"))[["ds", "y"]].to_csv("my fund.csv", index=False)
    asked = ["forecast", "my fund.csv", "--checkpoint", str(tiny_run), "--n_paths", "20"]
    assert main(asked) == 0
    assert "no calendar knows the bars to come of my fund; --calendar dates them" in capsys.readouterr().out
    assert main([*asked, "--out", "f.csv"]) == 2
    assert "give --calendar" in capsys.readouterr().err
    assert main([*asked, "--out", "f.csv", "--calendar", "XNYS"]) == 0
    assert pd.read_csv("f.csv")["ds"].iloc[0] == "2019-01-02"


def test_predict_answers_in_the_originals_words_with_its_uncertainty(
    tiny_run, forecaster, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    APPLE.to_csv("AAPL.csv", index=False)
    asked = ["predict", "--csv", "AAPL.csv", "--checkpoint", str(tiny_run), "--json", "p.json"]
    assert main([*asked, "--context_length", "500", "--tokenizer", str(tiny_run / "tokenizer.json")]) == 0
    printed, figures = capsys.readouterr().out.lower(), json.loads((tmp_path / "p.json").read_text())
    law, last = forecaster.next_return(APPLE), APPLE["y"].iloc[-1]
    assert figures["bar"] == "2018-12-24"
    np.testing.assert_allclose(figures["current_close"], last)
    np.testing.assert_allclose(figures["close_band_80_percent"], last * np.exp(law.quantile([0.1, 0.9])[0]))
    np.testing.assert_allclose(figures["probability_of_a_rise"], 1 - law.cdf(0)[0, 0])
    np.testing.assert_allclose(figures["expected_close"], last * np.exp(law.law.mean()[0]))
    for words in (f"current close:    {last:,.2f}", "expected close:", "expected change:", "80 % band", "of a rise"):
        assert words in printed
    assert main([*asked, "--context_length", "2"]) == 0
    assert json.loads((tmp_path / "p.json").read_text())["probability_of_a_rise"] != figures["probability_of_a_rise"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["predict", "--csv", "AAPL.csv", "--temperature", "0.8"], "--temperature 0.8: an 80 % band of another law"),
        (["predict", "--csv", "AAPL.csv", "--top_k", "50"], "--top_k 50: an 80 % band of another law"),
        (["predict", "--csv", "AAPL.csv", "--context_length", "0"], "--context_length 0 must be 1 or more"),
        (["predict", "--csv", "AAPL.csv", "--tokenizer", "t.json"], "not the one"),
        (["predict"], "--csv"),
        (["forecast", "AAPL.csv", "--level", "50,100"], "level 100.0 must lie between 0 and 100"),
        (["forecast", "AAPL.csv", "--level", "most"], "--level most: give percentages"),
        (["forecast", "AAPL.csv", "--out", "no/f.csv"], "--out no/f.csv: no folder no"),
        (["forecast", "AAPL.csv", "--asset", "DAX"], "choose one of AAPL"),
    ],
)
def test_commands_refuse_in_one_line(tiny_run, tmp_path, monkeypatch, capsys, argv, says):
    monkeypatch.chdir(tmp_path)
    APPLE.to_csv("AAPL.csv", index=False)
    (tmp_path / "t.json").write_text("{}")
    assert main([*argv, "--checkpoint", str(tiny_run)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
