"""The store of bars: what a merge keeps, adds and replaces, and that no file is ever half."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from data_pipeline import BadInput, DamagedData
from data_pipeline.store import HistoryRestated, Store, is_store


def bars(n=30, start="2024-01-01", scale=1.0, first=0):
    """Daily bars number `first` to `first + n - 1` of one fixed walk, whose prices are multiplied by `scale`."""
    walk = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(5).standard_normal(400)))[first : first + n]
    times = pd.date_range(start, periods=400, unit="ns")[first : first + n]
    frame = pd.DataFrame({"unique_id": "A", "ds": times, "close": walk * scale, "adj_close": walk * scale * 0.9})
    return frame.assign(volume=1000.0, dividend=0.0, split=0.0)


def merge(store, new, symbol="A", interval="1d"):
    return store.merge(symbol, interval, new, source="test", fetched_from="2024-01-01", currency="USD", timezone="UTC")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_is_merged_is_read_back_exactly(store):
    update = merge(store, bars())
    assert (update.kind, update.bars_added) == ("new", 30)
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars())
    known = Store(store.path).series("A", "1d")
    assert (known.bars, known.first, known.last) == (30, "2024-01-01T00:00:00", "2024-01-30T00:00:00")
    assert (known.source, known.currency, known.fetched_from) == ("test", "USD", "2024-01-01")


def test_reading_never_writes(tmp_path):
    store = Store(tmp_path / "store")
    assert store.symbols() == []
    assert store.series("A", "1d") is None
    with pytest.raises(BadInput, match="mqc data fetch A"):
        store.read("A", "1d")
    assert not store.path.exists()
    assert not is_store(store.path)


@pytest.mark.parametrize("odd", [0, 5])
def test_later_bars_are_added_and_settled_ones_stay(store, odd):
    merge(store, bars(30))
    late = bars(15, first=20)
    late.loc[odd, "close"] *= 1.5  # one odd price among bars the store has already
    update = merge(store, late)
    assert (update.kind, update.bars_added) == ("updated", 5)
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars(35))


def test_the_last_bar_may_have_been_running_and_is_replaced(store):
    running = bars(30)
    running.loc[29, ["close", "adj_close", "volume"]] *= 0.9
    merge(store, running)
    assert merge(store, bars(10, first=20)).kind == "updated"
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars(30))


def test_the_same_bars_again_change_nothing_on_disk(store):
    merge(store, bars())
    before = store.file("A", "1d").stat().st_mtime_ns
    assert merge(store, bars(10, first=20)).kind == "unchanged"
    assert store.file("A", "1d").stat().st_mtime_ns == before


def test_earlier_bars_are_added_when_they_meet_the_stored_ones(store):
    merge(store, bars(10, first=20))
    assert merge(store, bars(30)).bars_added == 20
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars(30))


def test_a_missing_price_never_replaces_one_but_a_price_fills_a_gap(store):
    holed = bars(30)
    holed.loc[[10, 29], ["close", "adj_close"]] = np.nan
    merge(store, holed)
    assert len(store.read("A", "1d")) == 29  # a last bar without a close waits
    merge(store, bars(30))
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars(30))
    assert merge(store, holed).kind == "unchanged"
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars(30))


@pytest.mark.parametrize("columns", [["close", "adj_close"], ["adj_close"]], ids=["split", "dividend"])
def test_a_restated_history_replaces_the_old_one_only_as_a_whole(store, columns):
    merge(store, bars(30))
    restated = bars(35)
    restated.loc[:32, columns] *= 0.98
    before = store.file("A", "1d").read_bytes()
    for short in (restated[20:], restated[1:], restated[:29], restated.drop(index=12)):
        with pytest.raises(HistoryRestated, match="another price basis"):
            merge(store, short)
        assert store.file("A", "1d").read_bytes() == before
    assert merge(store, restated).kind == "restated"
    pd.testing.assert_frame_equal(store.read("A", "1d"), restated)


def test_a_dividend_that_appears_late_restates_what_lies_before_it(store):
    merge(store, bars(30))
    late = bars(15, first=20)
    late.loc[0, "dividend"] = 0.5  # on the first common bar: only bars that were not asked for again have moved
    with pytest.raises(HistoryRestated):
        merge(store, late)


def test_noise_in_the_last_digit_is_no_restatement(store):
    merge(store, bars(30))
    assert merge(store, bars(15, first=20, scale=1 + 1e-7)).kind == "updated"
    pd.testing.assert_frame_equal(store.read("A", "1d").iloc[:29], bars(29))


def test_bars_that_do_not_meet_the_stored_ones_are_refused(store):
    merge(store, bars(10))
    with pytest.raises(HistoryRestated):
        merge(store, bars(10, first=20))
    assert len(store.read("A", "1d")) == 10


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (bars(0), "no bar with a close"),
        (bars(5).assign(close=np.nan), "no bar with a close"),
        (bars(5)[::-1], "strictly increase"),
        (pd.concat([bars(5), bars(1, first=4)]), "strictly increase"),
    ],
)
def test_an_empty_or_disordered_frame_is_refused_and_overwrites_nothing(store, new, says):
    merge(store, bars())
    with pytest.raises(BadInput, match=says):
        merge(store, new)
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars())


def test_every_symbol_makes_a_file_inside_the_store_and_is_listed_by_its_name(store):
    symbols = ["^GSPC", "EURUSD=X", "BRK-B", "7203.T", "M&M.NS", "../../x", "a/b", "..", "50%", "Ä ö"]
    for symbol in symbols:
        merge(store, bars(3).assign(unique_id=symbol), symbol)
        assert list(store.read(symbol, "1d")["unique_id"]) == [symbol] * 3
    merge(store, bars(3), "BRK-B", "1h")
    assert store.symbols() == sorted([(symbol, "1d") for symbol in symbols] + [("BRK-B", "1h")])
    assert {file.parent.parent for file in store.path.rglob("*.parquet")} == {store.path}


def test_left_over_temporary_files_are_not_listed_and_old_ones_swept(store):
    merge(store, bars())
    fresh, old = (store.path / "1d" / f"A.parquet.{name}.tmp" for name in ("fresh", "old"))
    for file in (fresh, old):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 1e5,) * 2)
    assert store.symbols() == [("A", "1d")]
    merge(store, bars(31))
    assert fresh.exists()  # it may be another process's, which is still writing
    assert not old.exists()


def test_a_killed_write_leaves_the_old_file_and_a_hidden_one_that_is_swept(store, monkeypatch):
    merge(store, bars())

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # who is killed does not clean up
        merge(store, bars(31))
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars())
    (left,) = (path for path in store.path.rglob("*") if path.is_file() and path.suffix not in (".parquet", ".json"))
    assert left.name.startswith(".A.parquet-")
    os.utime(left, (time.time() - 1e5,) * 2)
    merge(store, bars(31))
    assert not left.exists()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(store, monkeypatch):
    merge(store, bars())

    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        merge(store, bars(31))
    pd.testing.assert_frame_equal(store.read("A", "1d"), bars())
    assert list(store.path.rglob("*.tmp")) == []


def test_a_folder_of_something_else_is_not_made_a_store(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not a store"):
        Store(tmp_path)


def test_a_newer_store_and_a_newer_file_ask_for_an_upgrade(store):
    merge(store, bars())
    file = store.file("A", "1d")
    table = pq.read_table(file)
    known = json.loads(table.schema.metadata[b"mqc_series"])
    pq.write_table(table.replace_schema_metadata({b"mqc_series": json.dumps(known | {"format": 2, "new": 1})}), file)
    with pytest.raises(DamagedData, match="format 2, and this mqc-jax reads up to 1; upgrade mqc-jax"):
        store.read("A", "1d")
    (store.path / "store.json").write_text('{"format": 7}')
    with pytest.raises(DamagedData, match="store format 7, and this mqc-jax reads up to 1; upgrade mqc-jax"):
        Store(store.path)


def test_a_damaged_file_is_named_with_the_mend(store):
    merge(store, bars(300))
    file = store.file("A", "1d")
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 1
    foreign = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), foreign)
    for content in (good[:-100], b"", b"not Parquet" * 99, bytes(flipped), foreign.getvalue().to_pybytes()):
        file.write_bytes(content)
        with pytest.raises(DamagedData, match=r"A\.parquet: .*mqc data fetch A --interval 1d"):
            store.read("A", "1d")
        with pytest.raises(DamagedData):
            merge(store, bars(310))
        assert file.read_bytes() == content  # a broken file may still be worth mending
    file.write_bytes(good)
    file.rename(store.file("B", "1d"))
    with pytest.raises(DamagedData, match="holds 1d bars of A, not of B"):
        store.read("B", "1d")


def test_a_reader_beside_two_writers_always_sees_a_whole_series(store):
    merge(store, bars(300))
    stop = time.monotonic() + 0.7

    def write(scale):
        while time.monotonic() < stop:
            for version in (scale, 1.0):
                merge(store, bars(300, scale=version))

    writers = [threading.Thread(target=write, args=(scale,)) for scale in (2.0, 3.0)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        ratio = store.read("A", "1d")["close"] / bars(300)["close"]
        assert np.ptp(ratio) < 1e-9
        seen.add(round(float(ratio.iloc[0])))
    assert len(seen) > 1  # else nothing was written while we read


N_SYMBOLS, N_BARS = 8, 50_000
WRITER = f"""
import os, sys
import numpy as np, pandas as pd
from data_pipeline.store import Store

def bars(version):
    times = pd.date_range("2000-01-01", periods={N_BARS}, unit="ns")
    close = (1 + np.random.default_rng(0).random({N_BARS})) * version
    return pd.DataFrame({{"unique_id": "A", "ds": times, "close": close}})

store = Store(sys.argv[1])
for line in sys.stdin:  # every writer is a fork, so that only this process pays for the imports
    if writer := os.fork():
        print(writer, flush=True)
        print(os.waitpid(writer, 0)[1], flush=True)
    else:
        for symbol in range({N_SYMBOLS}):
            store.merge(f"S{{symbol}}", "1d", bars(int(line)), source="test", fetched_from="2000-01-01")
        os._exit(0)
"""


@pytest.mark.slow
def test_killing_an_update_leaves_every_series_old_or_new(tmp_path):
    rng, path = random.Random(3), tmp_path / "store"
    whole = 1 + np.random.default_rng(0).random(N_BARS)
    versions = dict.fromkeys(range(N_SYMBOLS), 1)
    with writing_process(path) as write:
        whole_s = write(1)
        n_kills = n_mixed = 0
        while n_kills < 25:
            version = max(versions.values()) + 1
            n_kills += write(version, kill_after_s=rng.uniform(0, whole_s)) is None
            store = Store(path)
            assert store.symbols() == [(f"S{symbol}", "1d") for symbol in range(N_SYMBOLS)]
            for symbol, old in versions.items():
                close = store.read(f"S{symbol}", "1d")["close"].to_numpy()
                versions[symbol] = round(close[0] / whole[0])
                assert versions[symbol] in (old, version)
                np.testing.assert_array_equal(close, whole * versions[symbol])
            n_mixed += len(set(versions.values())) > 1
    assert n_mixed >= 3  # else no kill fell into the middle of an update


@contextmanager
def writing_process(path):
    """A function that writes one version in a fork, and returns the seconds it took, or None when it was killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def write(version, kill_after_s=None):
        process.stdin.write(f"{version}\n")
        process.stdin.flush()
        writer, began = int(process.stdout.readline()), time.monotonic()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with suppress(ProcessLookupError):  # it was done before
                os.kill(writer, signal.SIGKILL)
        status = int(process.stdout.readline())
        assert status in (0, signal.SIGKILL)
        return None if status else time.monotonic() - began

    with process:
        yield write
        process.stdin.close()
