"""Preparing data: the same bytes whoever does the work, all of it or nothing, and nothing invented."""

import errno
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import BadInput, DataConfig, build_dataset, load_bars, open_dataset, prepare, return_series
from data_pipeline.calendars import DAY, named
from data_pipeline.resample import parse_interval
from data_pipeline.shards import read_asset
from data_pipeline.tokenizers import VQVAETokenizer

ROOT = Path(__file__).parents[1]
SOURCE = "synthetic:garch?symbols=7&bars=600&seed=4"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["by_asset", "interleaved"])
def test_one_two_and_seven_workers_write_the_same_bytes(tmp_path, layout):
    config = DataConfig(SOURCE, layout=layout, clock=True)
    for workers in (1, 2, 7) if layout == "by_asset" else (1, 2):
        prepare(config, tmp_path / str(workers), workers=workers)
    expected = contents(tmp_path / "1")
    assert set(expected) >= {"tokens.npy", "inputs.npy", "segments.npy", "manifest.json", "tokenizer.json"}
    for other in sorted(tmp_path.iterdir()):
        assert contents(other) == expected, other


@pytest.mark.slow
def test_a_ray_cluster_with_two_workers_writes_the_same_bytes(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray'; CI installs it")
    code = f"""
from pathlib import Path
from data_pipeline import DataConfig, prepare
prepare(DataConfig({SOURCE!r}), Path({str(tmp_path / "ray")!r}), engine="ray", workers=2)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    prepare(DataConfig(SOURCE), tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_streaming_gives_what_building_in_memory_gives(tmp_path):
    streamed = prepare(DataConfig(SOURCE), tmp_path / "d")
    built = build_dataset(return_series(load_bars(SOURCE)), DataConfig(SOURCE))
    assert streamed.tokenizer.to_json() == built.tokenizer.to_json()
    for name, array in built.arrays().items():
        np.testing.assert_array_equal(array, streamed.arrays()[name], err_msg=name)
    assert streamed.manifest["arrays"] == built.manifest["arrays"]


def test_the_manifest_names_the_process_and_its_parameters(tmp_path):
    manifest = prepare(DataConfig(SOURCE), tmp_path / "d").manifest
    assert manifest["parameters"]["seed"] == 4
    assert {"alpha", "beta", "nu"} <= set(manifest["parameters"])
    assert manifest["assets"][0]["calendar"] == "24/7"
    assert set(manifest["libraries"]) >= {"numpy", "pandas", "exchange_calendars"}


@pytest.mark.slow
def test_killed_at_random_moments_a_preparation_leaves_nothing_or_everything(tmp_path):
    """Twenty kills. Whatever is at the place asked for opens and passes every check, and stands in nobody's way."""
    place, rng = tmp_path / "d", random.Random(0)
    source = "synthetic:garch?symbols=30&bars=2000"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_pipeline", "data_pipeline.build"])
    whole = tmp_path / "whole"
    start = time.perf_counter()
    prepare(DataConfig(source), whole)
    usual = time.perf_counter() - start
    outcomes = set()
    for _ in range(20):
        child = context.Process(target=prepare, args=(DataConfig(source), place))
        child.start()
        child.join(rng.uniform(0, 1.6 * usual))
        child.kill()
        child.join()
        outcomes.add(place.exists())
        if place.exists():
            open_dataset(place)
            assert contents(place) == contents(whole)
            shutil.rmtree(place)
    prepare(DataConfig(source), place)
    assert contents(place) == contents(whole)
    assert False in outcomes, "no kill came in time; the test shows nothing"


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = """
if __name__ == "__main__":
    from pathlib import Path
    import sys
    from data_pipeline import DataConfig, prepare
    prepare(DataConfig("synthetic:garch?symbols=500&bars=20000"), Path(sys.argv[1]), workers=2)
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "d")], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    deadline = time.monotonic() + 60
    while len(workers := children.read_text().split()) < 3 and time.monotonic() < deadline:  # and a resource tracker
        time.sleep(0.1)
    time.sleep(3)
    child.kill()
    child.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "d").exists()


def test_a_failure_leaves_no_trace(tmp_path):
    with pytest.raises(BadInput, match="must follow one another"):
        prepare(DataConfig(SOURCE, train_end="1900-01-01"), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def daily(n: int, seed: int = 0, start: str = "2015-01-01") -> pd.DataFrame:
    returns = 0.01 * np.random.default_rng(seed).standard_t(6, n)
    return pd.DataFrame({"Date": pd.date_range(start, periods=n), "Close": 100 * np.exp(np.cumsum(returns)).round(6)})


def test_what_is_wrong_with_bars_is_cut_out_and_nothing_is_invented(tmp_path):
    """NaN, zero, a repeated row, disorder: every return of the dataset is one between two given neighbouring closes."""
    bars = daily(700)
    bars.loc[200, "Close"] = np.nan
    bars.loc[300, "Close"] = 0.0
    messy = pd.concat([bars, bars.iloc[[400]]]).sample(frac=1, random_state=1)
    messy.to_csv(tmp_path / "COIN-USD.csv", index=False)
    said: list[str] = []
    dataset = prepare(DataConfig(str(tmp_path / "COIN-USD.csv")), tmp_path / "d", say=said.append)
    closes = bars["Close"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.diff(np.log(closes))
    good = np.isfinite(expected)
    good[[199, 200, 299, 300]] = False
    np.testing.assert_allclose(dataset.market.returns, expected[good])
    np.testing.assert_array_equal(dataset.market.times, bars["Date"].to_numpy()[1:][good])
    assert dataset.manifest["assets"][0]["pieces"] == 3
    findings = dataset.manifest["assets"][0]["findings"]
    assert {"disorder", "duplicate", "missing_price", "nonpositive_price"} <= set(findings)
    assert any("24/7" in line for line in said)


def test_an_asset_in_two_files_is_refused(tmp_path):
    daily(200).assign(symbol="X").to_csv(tmp_path / "a.csv", index=False)
    daily(200, 1, "2020-01-01").assign(symbol="X").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(BadInput, match="X is in more than one file"):
        prepare(DataConfig(str(tmp_path)), tmp_path / "d")


def test_an_asset_with_too_little_history_is_left_out_and_that_is_said(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(500).to_csv(folder / "LONG-USD.csv", index=False)
    daily(40).to_csv(folder / "SHORT-USD.csv", index=False)
    said: list[str] = []
    dataset = prepare(DataConfig(str(folder)), tmp_path / "d", say=said.append)
    assert dataset.assets == ["LONG-USD"]
    assert "SHORT-USD: left out, 39 returns do not outlast the warm-up of 60" in said
    with pytest.raises(BadInput, match="39 returns do not outlast the warm-up; give more history"):
        prepare(DataConfig(str(folder / "SHORT-USD.csv")), tmp_path / "e")


def test_an_asset_without_bars_does_not_stop_the_others(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(500).to_csv(folder / "LONG-USD.csv", index=False)
    daily(1).to_csv(folder / "ONE-USD.csv", index=False)
    daily(90).assign(Close=np.nan).to_csv(folder / "VOID-USD.csv", index=False)
    said: list[str] = []
    assert prepare(DataConfig(str(folder)), tmp_path / "d", say=said.append).assets == ["LONG-USD"]
    assert "ONE-USD: fewer than two usable bars of 1" in said
    assert "VOID-USD: fewer than two usable bars of 90" in said


def test_a_short_asset_is_left_out_of_patches_too(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(2500).to_csv(folder / "LONG-USD.csv", index=False)
    daily(100).to_csv(folder / "SHORT-USD.csv", index=False)
    tokenizer = VQVAETokenizer.fit([np.diff(np.log(daily(2500)["Close"]))], codes=16, epochs=1)
    config = DataConfig(str(folder), tokenizer="vqvae")
    assert prepare(config, tmp_path / "d", tokenizer=tokenizer).assets == ["LONG-USD"]


def test_bars_of_unlike_length_do_not_stand_side_by_side(tmp_path):
    """A day's bar is stamped at its midnight, before the hours that it is made of."""
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(500).to_csv(folder / "DAY-USD.csv", index=False)
    daily(500).assign(Date=pd.date_range("2015-01-01", periods=500, freq="h")).to_csv(
        folder / "HOUR-USD.csv", index=False
    )
    with pytest.raises(BadInput, match="bars of 1d, 1h cannot stand side by side"):
        prepare(DataConfig(str(folder), layout="interleaved"), tmp_path / "d")


def test_months_have_a_clock_too(tmp_path):
    source = "synthetic:garch?bars=12000"
    dataset = prepare(DataConfig(source, timeframes="1mo", clock=True), tmp_path / "d")
    assert np.isfinite(dataset.market.inputs).all()


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(DataConfig(SOURCE), tmp_path / "new" / "place")
    assert list(tmp_path.iterdir()) == []


def test_prices_behind_the_training_dates_are_cut_by_a_fitted_tokenizer(tmp_path):
    fitted = prepare(DataConfig(SOURCE), tmp_path / "d")
    later = DataConfig("synthetic:garch?bars=300", train_end="1999-01-01", validation_end="1999-02-01")
    dataset = prepare(later, tmp_path / "later", tokenizer=fitted.tokenizer)
    assert len(dataset.training_rows()) == 0
    assert len(dataset.rows("test")) > 200


def test_several_timeframes_are_made_without_looking_ahead(tmp_path):
    source = "synthetic:garch?symbols=2&bars=20000&interval=1min"
    dataset = prepare(DataConfig(source, timeframes="5min,1h"), tmp_path / "d")
    assert dataset.assets == ["GARCH-0000@5min", "GARCH-0000@1h", "GARCH-0001@5min", "GARCH-0001@1h"]
    fine = load_bars(source).groupby("unique_id").get_group("GARCH-0000")
    hours = dataset.asset_segments(1)
    times, closes = (
        np.asarray(part[hours[0, 0] : hours[-1, 4]]) for part in (dataset.market.times, dataset.market.closes)
    )
    minute = fine.set_index("ds")["close"]
    np.testing.assert_array_equal(closes, minute[times - np.timedelta64(1, "m")])  # an hour ends with its last minute
    assert dataset.manifest["assets"][1]["interval"] == "1h"
    with pytest.raises(BadInput, match="interval '1parsec'"):
        prepare(DataConfig(source, timeframes="1parsec"), tmp_path / "e")


COARSER = [("1d", "1d,1w,1mo", "2015"), ("1h", "1h,1d", "2012-06"), ("1min", "5min,1h", "2012-01-07")]


@pytest.mark.parametrize(("interval", "timeframes", "until"), COARSER, ids=[case[0] for case in COARSER])
@pytest.mark.parametrize("calendar", ["24/7", "XNYS", "none"])
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_prices_after_an_instant_change_nothing_dated_up_to_it(interval, timeframes, until, calendar, data):
    """Whatever the stamps say, bars count from when they are complete: a week's on its Monday is not yet known."""
    spacing = parse_interval(interval)
    market = named("24/7" if calendar == "none" else calendar)
    stamps = market.bars_between(np.datetime64("2012-01-02"), np.datetime64(until), spacing)
    closes = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_t(6, len(stamps))))
    last = data.draw(st.integers(len(stamps) // 2, 9 * len(stamps) // 10))  # a later month ends behind it
    changed = np.where(np.arange(len(stamps)) > last, closes * np.exp(data.draw(st.floats(-0.5, 0.5))), closes)
    known = stamps[last] + spacing
    config = DataConfig(timeframes=None if calendar == "none" else timeframes, calendar=calendar)
    frames = [pd.DataFrame({"unique_id": "A", "ds": stamps, "close": prices}) for prices in (closes, changed)]
    for readings in zip(*(read_asset(frame, config) for frame in frames), strict=True):
        first, second = (reading.shard.load() for reading in readings)
        whole_day = DAY if parse_interval(readings[0].shard.about["interval"]) >= DAY else np.timedelta64(0)
        before, also = (s.times + whole_day <= known for s in (first, second))
        assert 0 < before.sum() < len(first)
        for name in ("times", "closes", "log_returns", "starts", "opens", "gaps"):
            np.testing.assert_array_equal(getattr(first, name)[before], getattr(second, name)[also], err_msg=name)


def test_within_bar_signals_need_opens_and_use_them(tmp_path):
    frame = daily(400)
    frame["Open"] = frame["Close"].shift(fill_value=100.0) * 1.001
    frame.to_csv(tmp_path / "COIN-USD.csv", index=False)
    config = DataConfig(str(tmp_path / "COIN-USD.csv"), tokenizer="rolling", signal="pct_oc")
    dataset = prepare(config, tmp_path / "d")
    np.testing.assert_allclose(dataset.market.returns, np.log(frame["Close"] / frame["Open"]))
    with pytest.raises(BadInput, match="--signal log_oc needs an opening price"):
        prepare(DataConfig("synthetic:iid?bars=400", signal="log_oc"), tmp_path / "e")


def test_without_a_calendar_long_holes_cut_and_that_is_said(tmp_path):
    bars = daily(700)
    bars = bars[(bars.index < 300) | (bars.index > 330)]
    bars = bars.drop(index=range(500, 506))  # six days may be a holiday of an exchange nobody knows
    bars.to_csv(tmp_path / "unknown thing.csv", index=False)
    said: list[str] = []
    dataset = prepare(DataConfig(str(tmp_path / "unknown thing.csv")), tmp_path / "d", say=said.append)
    assert dataset.manifest["assets"][0]["pieces"] == 2
    assert len(dataset.tokens) == len(bars) - 2
    assert any("--calendar settles it; without one, a gap is a hole of more than 14 days" in line for line in said)


def test_bars_that_no_coarser_bar_can_hold_are_counted(tmp_path):
    hours = named("24/7").bars_between(np.datetime64("2020-01-01"), np.datetime64("2020-04-01"), parse_interval("1h"))
    closes = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_t(6, len(hours))))
    frame = pd.DataFrame({"unique_id": "A", "ds": hours, "close": closes})
    notes = [[*read_asset(frame, DataConfig(timeframes=t, calendar="XETR"))[0].notes, ""] for t in ("1d", "1h", None)]
    assert "bars, outside the sessions of XETR, are left out" in " ".join(notes[0])
    assert not any("left out" in " ".join(lines) for lines in notes[1:])


def test_bars_of_unlike_length_go_together_and_that_is_said(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(500).to_csv(folder / "A-USD.csv", index=False)
    weekly = daily(300, 1)
    weekly.assign(Date=pd.date_range("2010-01-04", periods=300, freq="7D")).to_csv(folder / "B-USD.csv", index=False)
    said: list[str] = []
    dataset = prepare(DataConfig(str(folder)), tmp_path / "d", say=said.append)
    assert [asset["interval"] for asset in dataset.manifest["assets"]] == ["1d", "1w"]
    assert "bars of 1d and 1w go into one dataset; --timeframes makes them alike" in said


def test_the_manifest_says_which_price_it_is(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    daily(500).to_csv(folder / "A-USD.csv", index=False)
    daily(500).assign(**{"Adj Close": lambda bars: bars["Close"] / 2}).to_csv(folder / "B-USD.csv", index=False)
    dataset = prepare(DataConfig(str(folder)), tmp_path / "d")
    assert [asset["price"] for asset in dataset.manifest["assets"]] == ["close", "adj_close"]


def test_the_range_of_bars_is_kept_where_there_is_one(tmp_path):
    folder = tmp_path / "prices"
    folder.mkdir()
    bars = daily(500)
    bars.assign(High=bars["Close"] * 1.02, Low=bars["Close"] * 0.99).to_csv(folder / "A-USD.csv", index=False)
    bars.to_csv(folder / "B-USD.csv", index=False)
    dataset = prepare(DataConfig(str(folder), special_tokens=True), tmp_path / "d")
    first, second = (dataset.market.log_range[dataset.history_rows(asset)] for asset in range(2))
    np.testing.assert_allclose(first, np.log(np.log(1.02 / 0.99)), rtol=1e-6)
    assert np.isnan(second).all()
    np.testing.assert_allclose(dataset.series(0).log_range, first)
