"""Prices that come with the package; files have `test_files.py`, simulated prices `test_synthetic.py`."""

import numpy as np
import pandas as pd
import pytest

from data_pipeline import BadInput, load_bars, return_series
from data_pipeline.bars import canonical, returns_of
from data_pipeline.sources import open_source
from data_pipeline.store import Store


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
    assert all(np.isfinite(s.log_returns).all() for s in series.values())


def frame(ds, close, unique_id="A") -> pd.DataFrame:
    return pd.DataFrame({"unique_id": unique_id, "ds": pd.to_datetime(ds), "close": close})


def test_zoned_times_become_utc():
    bars = canonical(frame(["2024-01-02T00:00+05:00", "2024-01-03T00:00+05:00"], [1.0, 2.0]), "x")
    assert bars["ds"].iloc[0] == pd.Timestamp("2024-01-01 19:00")


@pytest.mark.parametrize(
    ("bars", "says"),
    [
        (frame(["2024-01-02", None], [1.0, 2.0]), "bar 2 of 2 (A, NaT, close 2.0): the date is missing"),
        (frame(["2024-01-02"], [1.0]).drop(columns="close"), "no 'close' column among ['unique_id', 'ds']"),
        (frame(["2024-01-02"], [1.0]).iloc[:0], "no rows"),
        (frame(["2024-01-02"], [1.0], " "), "the asset has no name"),
    ],
)
def test_what_no_check_could_mend_is_refused(bars, says):
    with pytest.raises(BadInput) as error:
        canonical(bars, "here")
    assert says in str(error.value)
    assert str(error.value).startswith("here: ")


def test_returns_are_those_of_the_adjusted_close_and_none_crosses_a_break():
    bars = frame(pd.date_range("2024-01-01", periods=6), [20.0, 22, 11, 12, 13, 14]).assign(
        adj_close=[10.0, 11, 11, 12, 13, 14]
    )
    (series,) = return_series(bars)
    np.testing.assert_allclose(series.log_returns, np.diff(np.log(bars["adj_close"])))
    broken = returns_of(bars, np.array([True, False, False, True, False, False]))
    np.testing.assert_allclose(broken.log_returns, np.diff(np.log(bars["adj_close"]))[[0, 1, 3, 4]])
    np.testing.assert_array_equal(broken.piece_starts, [True, False, True, False])
    np.testing.assert_array_equal(broken.times, bars["ds"].to_numpy()[[1, 2, 4, 5]])


def test_a_store_is_a_source_and_asks_which_interval(tmp_path):
    store = Store(tmp_path / "store")
    for interval, step in (("1d", "D"), ("1h", "h")):
        bars = frame(pd.date_range("2024-01-01", periods=5, freq=step), np.arange(1.0, 6), "COIN-USD")
        store.merge("COIN-USD", interval, bars, source="test", fetched_from="2024-01-01")
    with pytest.raises(BadInput, match="holds bars of 1d, 1h; name one of them"):
        open_source(str(tmp_path / "store"))
    assert len(load_bars(str(tmp_path / "store" / "1d"))) == 5
    with pytest.raises(BadInput, match="holds bars of 1d, 1h"):
        open_source(str(tmp_path / "store" / "1w"))
