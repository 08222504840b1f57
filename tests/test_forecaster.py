"""`Forecaster`: frames of any shape in, frames that other tools read out, on the right dates, alike in any company."""

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers import garch_series
from utilsforecast.evaluation import evaluate
from utilsforecast.losses import coverage, mae, scaled_crps
from utilsforecast.plotting import plot_series

from data_pipeline import BadInput, calendars
from mqc_jax import Forecaster
from mqc_jax.cli import run_script
from mqc_jax.forecasting.risk import value_at_risk

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def forecaster(tiny_run):
    return Forecaster.from_run(tiny_run)


def sessions(n: int, end: str, calendar: str = "XNYS") -> pd.DatetimeIndex:
    """The last `n` bars of a calendar up to `end`."""
    last = np.datetime64(end)
    times = calendars.named(calendar).bars_between(last - np.timedelta64(3 * n, "D"), last, np.timedelta64(1, "D"))
    return pd.DatetimeIndex(times[-n:])


def prices(n: int = 300, unique_id: str = "ACME", seed: int = 1, end: str = "2024-12-20", calendar: str = "XNYS"):
    closes = garch_series(n, seed).closes
    return pd.DataFrame({"unique_id": unique_id, "ds": sessions(n, end, calendar), "y": closes})


def test_the_same_prices_in_any_shape_have_the_same_forecast(forecaster, tmp_path):
    nixtla = prices()
    wanted = forecaster.predict(nixtla, h=3, n_paths=20)
    chronos = nixtla.rename(columns={"unique_id": "item_id", "ds": "timestamp", "y": "target"})
    plain = nixtla.rename(columns={"ds": "Date", "y": "Close"})[["Date", "Close"]]
    indexed = plain.set_index("Date")
    by_ticker = pd.concat({"Close": indexed[["Close"]].rename(columns={"Close": "ACME"})}, axis=1)
    by_ticker.columns.names = ["Price", "Ticker"]
    file = tmp_path / "ACME.csv"
    plain.to_csv(file, index=False)
    for given, more in ((chronos, {}), (plain, {"symbol": "ACME"}), (indexed, {"symbol": "ACME"}), (by_ticker, {})):
        pd.testing.assert_frame_equal(forecaster.predict(given, h=3, n_paths=20, **more), wanted)
    pd.testing.assert_frame_equal(forecaster.predict(file, h=3, n_paths=20), wanted)


def test_a_series_has_the_same_paths_alone_and_in_company(forecaster):
    many = pd.concat([prices(300, "A"), prices(90, "B", seed=2), prices(500, "C", seed=3)])
    together = forecaster.predict(many, h=5, n_paths=30)
    alone = forecaster.predict(many[many["unique_id"] == "B"], h=5, n_paths=30)
    np.testing.assert_allclose(together[together["unique_id"] == "B"]["mqc"], alone["mqc"], rtol=1e-5)
    paths = forecaster.paths(many, 5, n_paths=30, as_array=True)
    assert paths.shape == (3, 30, 5)
    fewer = forecaster.paths(many, 5, n_paths=7, as_array=True)
    np.testing.assert_allclose(fewer, paths[:, :7], rtol=1e-5)
    other = forecaster.paths(many, 5, n_paths=7, as_array=True, seed=1)
    assert not np.allclose(other, fewer)


@pytest.mark.parametrize(
    ("calendar", "end", "ahead"),
    [
        ("XNYS", "2024-12-20", ["2024-12-23", "2024-12-24", "2024-12-26", "2024-12-27", "2024-12-30", "2024-12-31"]),
        ("24/7", "2024-12-23", ["2024-12-24", "2024-12-25", "2024-12-26", "2024-12-27", "2024-12-28", "2024-12-29"]),
    ],
)
def test_dates_ahead_are_those_of_the_calendar_over_a_holiday_week(forecaster, calendar, end, ahead):
    found = forecaster.predict(prices(end=end, calendar=calendar), h=6, n_paths=5, calendar=calendar)
    assert found["ds"].dt.strftime("%Y-%m-%d").tolist() == ahead


def test_columns_say_what_they_are_and_bands_are_nested(forecaster):
    found = forecaster.predict(prices(), h=4, level=[80, 95], quantiles=[0.05], n_paths=400, mean=True)
    bands = ["mqc-lo-95", "mqc-ql0.05", "mqc-lo-80", "mqc", "mqc-hi-80", "mqc-hi-95"]
    assert set(found.columns) == {"unique_id", "ds", "mqc-mean", *bands}
    assert (np.diff(found[bands].to_numpy(), axis=1) >= 0).all()
    assert found.attrs["point"] == "median"
    assert found.attrs["cutoff"] == {"ACME": "2024-12-20"}
    assert found.attrs["in_sample"] == {"ACME": False}
    widths = (found["mqc-hi-95"] - found["mqc-lo-95"]).to_numpy()
    assert (np.diff(widths) > 0).all(), "uncertainty grows"


def test_returns_are_those_of_the_prices(forecaster):
    history = prices()
    price, log_return = (forecaster.paths(history, 4, n_paths=9, of=of, as_array=True) for of in ("price", "return"))
    np.testing.assert_allclose(history["y"].iloc[-1] * np.exp(log_return), price, rtol=1e-6)
    long = forecaster.paths(history, 4, n_paths=9)
    assert list(long.columns) == ["unique_id", "ds", "sample_id", "mqc"]
    np.testing.assert_array_equal(long["mqc"].to_numpy().reshape(1, 9, 4), price)


def test_chronos_columns(forecaster):
    found = forecaster.predict(prices(), h=2, n_paths=50, style="chronos")
    deciles = [f"0.{k}" for k in range(1, 10)]
    assert list(found.columns) == ["item_id", "timestamp", "target_name", "predictions", *deciles]
    np.testing.assert_array_equal(found["predictions"], found["0.5"])


def test_nixtlas_tools_read_the_forecast_unchanged(forecaster):
    many = pd.concat([prices(300, "A"), prices(200, "B", seed=2)])
    cut = many.groupby("unique_id").tail(5).index
    history, came = many.drop(cut), many.loc[cut]
    history, came = (part.reset_index(drop=True) for part in (many.groupby("unique_id").head(-5), came))
    found = forecaster.predict(history, h=5, level=[80, 95], n_paths=100)
    joined = came.merge(found, on=["unique_id", "ds"])
    assert len(joined) == 10, "the dates forecast are those that came"
    scores = evaluate(joined, metrics=[mae, coverage, scaled_crps], level=[80, 95], models=["mqc"], train_df=history)
    assert set(scores["metric"]) == {"mae", "coverage_level80", "coverage_level95", "scaled_crps"}
    assert np.isfinite(scores["mqc"]).all()
    assert plot_series(history, found, level=[80, 95], engine="matplotlib").axes


def test_as_of_knows_nothing_later(forecaster):
    history = prices()
    day = history["ds"].iloc[-30]
    cut = forecaster.predict(history.iloc[:-29], h=5, n_paths=20)
    pd.testing.assert_frame_equal(forecaster.predict(history, h=5, n_paths=20, as_of=str(day.date())), cut)
    changed = history.copy()
    changed.loc[changed.index[-29:], "y"] *= 3
    pd.testing.assert_frame_equal(forecaster.predict(changed, h=5, n_paths=20, as_of=str(day.date())), cut)


def test_the_next_return_is_exact_and_paths_agree_with_it(forecaster):
    history = prices()
    law = forecaster.next_return(history)
    levels = np.array([0.001, 0.05, 0.5, 0.99])
    quantiles = law.quantile(levels)
    np.testing.assert_allclose(law.cdf(quantiles[0])[0], levels, atol=1e-9)
    x = law.quantile([0.0005, 0.137, 0.61, 0.93, 0.9997])[0]
    slope = (law.cdf(x + 1e-8)[0] - law.cdf(x - 1e-8)[0]) / 2e-8
    np.testing.assert_allclose(law.density(x)[0], slope, rtol=1e-4)
    assert (law.expected_shortfall(0.05) < law.quantile(0.05)).all()
    drawn = forecaster.paths(history, 1, n_paths=20_000, of="return", as_array=True)[0]
    found = value_at_risk(drawn, 0.05, 1)
    assert abs(found.value - law.quantile(0.05)[0, 0]) < 4 * found.standard_error


@pytest.mark.parametrize(
    ("frame", "asked", "says"),
    [
        (prices(), {"h": 0}, "h=0 must be from 1"),
        (prices(), {"h": -3}, "h=-3 must be from 1"),
        (prices(), {"h": 10**9}, "h=1000000000 must be from 1"),
        (prices(), {"h": 2.5}, "h=2.5 must be a whole number"),
        (prices(), {"n_paths": 0}, "n_paths=0 must be from 1"),
        (prices(), {"level": [0]}, "level 0 must lie between 0 and 100"),
        (prices(), {"level": [100]}, "level 100 must lie between 0 and 100"),
        (prices(), {"quantiles": [0.0]}, "quantiles 0.0 must lie between 0 and 1"),
        (prices(), {"quantiles": [1.0]}, "quantiles 1.0 must lie between 0 and 1"),
        (prices(), {"style": "darts"}, "style='darts' must be one of nixtla, chronos"),
        (prices(), {"assets": ["B"]}, "B: not in these prices; choose one of ACME"),
        (prices(50), {}, "do not outlast the warm-up"),
        (prices().iloc[:0], {}, "no rows"),
        (prices().rename(columns={"y": "colour"}).assign(size=1.0), {}, "colour"),
        (prices(700).iloc[::5], {}, "trained on bars of"),
        ([1, 2, 3], {}, "df is a list"),
    ],
)
def test_what_cannot_be_forecast_is_refused_in_one_line(forecaster, frame, asked, says):
    with pytest.raises(BadInput) as error:
        forecaster.predict(frame, **{"h": 2, "n_paths": 5} | asked)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_conflicting_duplicates_are_refused_and_a_hole_is_no_price(forecaster):
    twice = pd.concat([prices(), prices().iloc[[100]].assign(y=1.0)])
    with pytest.raises(BadInput, match="2024-0"):
        forecaster.predict(twice, h=2, n_paths=5)
    holes = prices()
    holes.loc[holes.index[-1], "y"] = np.nan
    assert forecaster.predict(holes, h=2, n_paths=5).attrs["cutoff"] == {"ACME": "2024-12-19"}


def test_the_commands_answer_for_a_file_of_prices(forecaster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prices().rename(columns={"ds": "Date", "y": "Close"})[["Date", "Close"]].to_csv("ACME.csv", index=False)
    same = ["--checkpoint", forecaster.path]
    wanted = [*same, "--horizon", "3", "--n_paths", "50", "--level", "80", "--plot", "f.png", "--out", "f.csv"]
    assert run_script("forecast", ["ACME.csv", *wanted]) == 0
    found = pd.read_csv("f.csv")
    assert list(found.columns) == ["unique_id", "ds", "mqc", "mqc-lo-80", "mqc-hi-80"]
    assert found["ds"].tolist() == ["2024-12-23", "2024-12-24", "2024-12-26"]
    assert (tmp_path / "f.png").stat().st_size > 20_000
    capsys.readouterr()
    assert run_script("predict", ["--csv", "ACME.csv", *same, "--json", "p.json"]) == 0
    told, figures = capsys.readouterr().out, json.loads((tmp_path / "p.json").read_text())
    for line in ("Current close:", "Expected close:", "Expected change:", "80 % band", "probability of a rise"):
        assert line in told
    low, high = figures["close_band_80_percent"]
    assert low < figures["expected_close"] < high
    assert figures["current_close"] == pytest.approx(prices()["y"].iloc[-1])
    assert 0.3 < figures["probability_of_a_rise"] < 0.7
    for wrong, says in ((["--temperature", "0.8"], "--temperature 0.8"), (["--top_k", "5"], "--top_k 5")):
        assert run_script("predict", ["--csv", "ACME.csv", *same, *wrong]) == 2
        assert says in capsys.readouterr().err
