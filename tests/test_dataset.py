"""The token dataset: splits by date, windows inside one asset, damage noticed."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import dataset_of, garch_series, training_batch

from data_pipeline import BadInput, DamagedData, DataConfig, open_dataset, prepare, read_token_file
from data_pipeline.dataset import SPLITS, TokenDataset, describe, sealed, write_dataset
from data_pipeline.tokenizers import TokenIds
from data_pipeline.volatility import WARMUP
from mqc_jax.training.batches import gather, scoring_windows, steps_per_epoch


def asset_of(dataset, rows):
    return np.searchsorted(dataset.segments[:, 4], rows, side="right")


def test_splits_are_cut_at_the_same_dates_for_all_assets(bundled):
    times = bundled.market.times
    borders = np.array(["2011-01-01", "2014-01-01", "2019-01-01"], "datetime64[ns]")
    low = np.datetime64("1900-01-01")
    for split, high in zip(SPLITS, borders, strict=True):
        rows = times[bundled.rows(split)]
        assert low <= rows.min()
        assert rows.max() < high
        low = high
    assert len(bundled.rows("test")) == 3771


def test_every_row_behind_the_warm_up_is_scored_once(panel):
    scored = np.concatenate([panel.rows(split) for split in SPLITS])
    expected = np.concatenate([np.arange(s[0] + WARMUP + 1, s[4]) for s in panel.segments])
    np.testing.assert_array_equal(np.sort(scored), expected)


@pytest.mark.parametrize("length", [8, 64])
def test_training_windows_stay_in_one_asset_and_in_the_training_dates(panel, length):
    starts = panel.window_starts(length)
    last = starts + length
    np.testing.assert_array_equal(asset_of(panel, starts), asset_of(panel, last))
    assert set(last) <= set(panel.training_rows())
    assert set(starts) <= set(panel.training_rows())
    # all of them: the next start would touch what must not be touched
    assert len(starts) == sum(max(0, s[2] - s[1] - length) for s in panel.segments)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("length", [1, 2, 8, 64, 2000])
def test_scoring_windows_score_each_row_once_with_context_of_its_own_asset(panel, split, length):
    windows = scoring_windows(panel, split, length)
    targets = windows.rows[:, 1:][windows.scored]
    np.testing.assert_array_equal(np.sort(targets), panel.rows(split))
    assert (asset_of(panel, windows.rows) == asset_of(panel, windows.rows[:, :1])).all()
    begins = panel.segments[asset_of(panel, windows.rows[:, 0]), 1]
    assert (windows.rows[:, 0] >= begins).all(), "a window reaches into the warm-up"
    # up to its last target a window is unbroken, and each target has half a window before it where there is one
    for rows, scored, begin in zip(windows.rows, windows.scored, begins, strict=True):
        last = np.flatnonzero(scored)[-1] + 1
        assert (np.diff(rows[: last + 1]) == 1).all()
        first = np.flatnonzero(scored)[0] + 1
        assert first >= min(length // 2, rows[first] - begin)


def test_batches_depend_on_seed_and_step_only(panel):
    starts = panel.window_starts(16)

    def draw(seed, step):
        return np.asarray(training_batch(panel, starts, 16, 8, seed=seed, step=step, inputs=True).tokens)

    np.testing.assert_array_equal(draw(0, 5), draw(0, 5))
    assert not np.array_equal(draw(0, 5), draw(0, 6))
    assert not np.array_equal(draw(0, 5), draw(1, 5))


def test_inputs_and_tokens_of_a_batch_are_those_of_its_rows(panel):
    rows = np.arange(200, 217)[None]
    batch = gather(panel, rows, inputs=True)
    np.testing.assert_array_equal(batch.tokens[0], panel.tokens[200:217])
    np.testing.assert_array_equal(batch.inputs[0], panel.market.inputs[200:216])
    assert gather(panel, rows, inputs=False).inputs is None


def test_an_epoch_has_as_many_steps_as_half_overlapping_windows(panel):
    windows = sum(len(range(0, s[2] - s[1] - 64, 32)) for s in panel.segments)
    assert steps_per_epoch(panel, 64, 4) == round(windows / 4)


def test_what_was_written_is_what_is_opened(panel, tmp_path):
    write_dataset(panel, tmp_path / "d")
    again = open_dataset(tmp_path / "d")
    assert again.manifest == panel.manifest
    assert again.tokens.dtype == np.uint8
    for name, array in panel.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    with pytest.raises(BadInput, match="exists"):
        write_dataset(panel, tmp_path / "d")


def test_the_same_prices_give_the_same_bytes(panel, tmp_path):
    series = [
        garch_series(900, 1, "A"),
        garch_series(700, 2, "B", "2000-07-01"),
        garch_series(500, 3, "C", "2001-01-15"),
    ]
    again = dataset_of(series)
    for place, dataset in (("a", panel), ("b", again)):
        write_dataset(dataset, tmp_path / place)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def other_dtype(path):
    np.save(path, np.load(path).astype(np.complex128))


def as_objects(path):
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("name", ["tokens", "segments", "returns", "inputs", "times"])
@pytest.mark.parametrize(
    "harm",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        other_dtype,
        as_objects,
    ],
    ids=["bit flip", "truncated", "emptied", "deleted", "other dtype", "pickled"],
)
def test_damage_is_noticed_and_named(panel, tmp_path, name, harm):
    write_dataset(panel, tmp_path / "d")
    harm(tmp_path / "d" / f"{name}.npy")
    with pytest.raises(DamagedData, match=rf"{name}\.npy") as error:
        open_dataset(tmp_path / "d")
    assert "\n" not in str(error.value)


def test_a_broken_manifest_or_a_newer_format_is_damage(panel, tmp_path):
    write_dataset(panel, tmp_path / "d")
    manifest = tmp_path / "d" / "manifest.json"
    good = manifest.read_text()
    manifest.write_text(good[:50])
    with pytest.raises(DamagedData, match="not readable JSON"):
        open_dataset(tmp_path / "d")
    manifest.write_text(json.dumps(json.loads(good) | {"format": 99}))
    with pytest.raises(DamagedData, match="format 99"):
        open_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m.pop("arrays"),
        lambda m: m.pop("splits"),
        lambda m: m["arrays"].pop("tokens"),
        lambda m: m["arrays"].pop("closes"),
        lambda m: m["arrays"].update(other={}),
    ],
)
def test_a_manifest_with_holes_is_damage(panel, tmp_path, harm):
    write_dataset(panel, tmp_path / "d")
    manifest = json.loads((tmp_path / "d" / "manifest.json").read_text())
    harm(manifest)
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedData, match=r"manifest\.json: entries are missing or unknown"):
        open_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    "harm",
    [
        lambda t: t["bins"]["edges"].pop(),
        lambda t: t["bins"]["edges"].reverse(),
        lambda t: t["bins"].update(values=[float("nan")] * 128),
        lambda t: t.update(typical_volatility="x"),
        lambda t: t.update(typical_volatility=0.5),
        lambda t: t["bins"]["left_tail"].update(shape=-1),
        lambda t: t["bins"]["left_tail"].pop("scale"),
        lambda t: t.update(kind="quantile"),
    ],
)
def test_a_changed_tokenizer_is_damage(panel, tmp_path, harm):
    write_dataset(panel, tmp_path / "d")
    tokenizer = panel.tokenizer.to_json()
    harm(tokenizer)
    (tmp_path / "d" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(DamagedData, match=r"tokenizer\.json: not "):
        open_dataset(tmp_path / "d")


def test_ids_outside_the_vocabulary_are_noticed_even_when_every_hash_is_right(tmp_path):
    tokens, segments, tokenizer = np.arange(100, dtype=np.uint8), np.array([[0, 0, 80, 90, 100]]), TokenIds(20)
    manifest = {"format": 3, "source": "x", "assets": [], "splits": {}}
    manifest = sealed(manifest, tokenizer, {"tokens": describe(tokens), "segments": describe(segments)})
    write_dataset(TokenDataset(tokens, segments, tokenizer, manifest), tmp_path / "d")
    with pytest.raises(DamagedData, match="token 99 is outside the vocabulary of 20"):
        open_dataset(tmp_path / "d")


def test_a_prepared_dataset_keeps_its_own_split(panel, tmp_path):
    write_dataset(panel, tmp_path / "d")
    own = panel.manifest["splits"]["train_end"]
    assert prepare(DataConfig(str(tmp_path / "d"), train_end=own), tmp_path / "x").assets == ["A", "B", "C"]
    with pytest.raises(BadInput, match=f"was made with train_end {own}, not 2001-01-01; prepare it again"):
        prepare(DataConfig(str(tmp_path / "d"), train_end="2001-01-01"), tmp_path / "x")


def test_prices_that_never_move_are_refused():
    flat = replace(garch_series(900, 1), log_returns=np.zeros(900))
    with pytest.raises(BadInput, match="the price never moves"):
        dataset_of([flat])


def test_a_folder_without_a_dataset_is_no_dataset(tmp_path):
    with pytest.raises(BadInput, match="no token dataset"):
        open_dataset(tmp_path)


def test_a_failed_write_leaves_nothing_behind(panel, tmp_path, monkeypatch):
    monkeypatch.setattr("data_pipeline.dataset.write_json", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_dataset(panel, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    monkeypatch.undo()
    write_dataset(panel, tmp_path / "d")
    open_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 2 x 4 5 6 7 8 9 10 11", "'x' is not a token id"),
        ("1 2 3.5 4 5 6 7 8 9 10 11", "'3.5' is not a token id"),
        ("1 2 -1 4 5 6 7 8 9 10 11", "token -1 at position 2 is outside [0, 128)"),
        ("1 2 128 4 5 6 7 8 9 10 11", "--vocab_size 129"),
        ("99999999999999999999 2 3 4 5 6 7 8 9 10 11", "is not a token id"),
        ("1 2 --5 4 5 6 7 8 9 10 11", "'--5' is not a token id"),
        ("1 2 \u00b2 4 5 6 7 8 9 10 11", "is not a token id"),
        ("1 2 1_0 4 5 6 7 8 9 10 11", "'1_0' is not a token id"),
        ("1 2 3", "too few"),
        ("", "too few"),
    ],
)
def test_bad_token_files_are_refused(tmp_path, text, says):
    path = tmp_path / "all_tokens.txt"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        read_token_file(path, 128)
    assert says in str(error.value)


def test_a_token_file_is_split_in_order(tmp_path):
    path = tmp_path / "all_tokens.txt"
    path.write_text(" ".join(str(i % 100) for i in range(1000)))
    dataset = prepare(DataConfig(str(path)), tmp_path / "d")
    assert [len(dataset.rows(split)) for split in SPLITS] == [799, 100, 100]
    assert dataset.market is None
    with pytest.raises(BadInput, match="without dates; leave out --train_end"):
        prepare(DataConfig(str(path), train_end="2010-12-31"), tmp_path / "x")


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        (("2001-06-01", "2001-01-01"), "must follow one another"),
        (("1990-01-01", "2001-01-01"), "must follow one another"),
        (("2001-01-01", "2030-01-01"), "must follow one another"),
        (("soon", "2001-01-01"), "--train_end soon: not a date; write it like 2010-12-31"),
        (("2001", "2002-01-01"), "--train_end 2001: not a date"),
        (("2001-02-31", "2002-01-01"), "--train_end 2001-02-31: not a date"),
    ],
)
def test_impossible_split_dates_are_refused(dates, says):
    with pytest.raises(BadInput, match=says):
        dataset_of([garch_series(900, 1)], train_end=dates[0], validation_end=dates[1])


def test_too_little_data_is_said_in_numbers(panel):
    with pytest.raises(BadInput, match="one window needs 5001; try --sequence_len"):
        panel.window_starts(5000)
    with pytest.raises(BadInput, match="the warm-up alone takes 60"):
        dataset_of([garch_series(900, 1), garch_series(50, 2, "B")])


def test_a_moved_dataset_still_opens(panel, tmp_path):
    write_dataset(panel, tmp_path / "d")
    shutil.move(tmp_path / "d", tmp_path / "elsewhere")
    assert open_dataset(tmp_path / "elsewhere").assets == ["A", "B", "C"]
