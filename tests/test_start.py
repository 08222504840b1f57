"""Training that starts from another run: its weights, what it has seen, what does not fit."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import PRESETS
from data_pipeline import DataConfig
from mqc_jax.checkpoint import by_path
from mqc_jax.cli import main
from mqc_jax.run import load_run, open_run_dataset, read_config
from mqc_jax.training import loop, start
from mqc_jax.training.ensemble import Ensemble
from mqc_jax.training.start import ancestors, first_model, open_bases

SMALL = ["--config", "tiny", "--sequence_len", "32"]
MARKET = "synthetic:market?symbols=6&bars=400"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("start") / "base"
    assert main(["train", *SMALL, "--num_epochs", "2", "--data", MARKET, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def started(base):
    out = base.parent / "started"
    tuned = ["--num_epochs", "1", "--learning_rate", "1e-9", "--weight_decay", "0", "--init_from", str(base)]
    assert main(["train", *SMALL, *tuned, "--ranges", "--out", str(out)]) == 0
    return out


def test_training_starts_at_the_weights_of_the_run(base, started):
    before, after = load_run(base), load_run(started)
    assert before.tokenizer.to_json() != after.tokenizer.to_json(), "the bins are its own"
    theirs, ours = by_path(before.model), by_path(after.model)
    for path, weights in ours.items():
        known = weights[:8] if path == ".embed_inputs" else weights
        np.testing.assert_allclose(known, theirs[path], atol=1e-6, err_msg=path)
    assert np.abs(ours[".embed_inputs"][8:]).max() > 0.01, "inputs that it does not know are fresh"


def test_members_of_an_ensemble_start_there_too(base, started):
    run = load_run(started)
    dataset = open_run_dataset(started, run.config)
    ensemble = Ensemble(run.config, dataset, seeds=(0, 1))
    for path, weights in by_path(ensemble.members).items():
        if path != ".embed_inputs":
            np.testing.assert_array_equal(weights[0], weights[1])
    alone = first_model(run.config, dataset, open_bases(run.config, dataset), seed=1)
    for path, weights in by_path(alone).items():
        np.testing.assert_array_equal(by_path(ensemble.members)[path][1], weights)


def test_of_several_bases_the_seed_counts_which(base, started, tmp_path):
    other = tmp_path / "other"
    market = ["--data", MARKET, "--num_epochs", "1", "--seed", "1"]
    assert main(["train", *SMALL, *market, "--out", str(other)]) == 0
    both = replace(load_run(base).config.train, init_from=f"{base}, {other}")
    config = replace(load_run(base).config, train=both)
    members = Ensemble(config, open_run_dataset(base, config), seeds=(0, 1, 2)).members
    for member, place in enumerate([base, other, base]):
        for path, weights in by_path(load_run(place).model).items():
            np.testing.assert_array_equal(by_path(members)[path][member], weights)
    child = tmp_path / "child"
    start = ["--init_from", f"{base},{other}", "--seed", "1", "--learning_rate", "1e-9", "--weight_decay", "0"]
    assert main(["train", *SMALL, "--num_epochs", "1", *start, "--out", str(child)]) == 0
    for path, weights in by_path(load_run(child).model).items():
        np.testing.assert_allclose(weights, by_path(load_run(other).model)[path], atol=1e-6)
    assert [one["run"] for one in ancestors(child)] == [str(base), str(other)]


def test_a_run_knows_what_it_started_from(base, started):
    (found,) = ancestors(started)
    assert found["run"] == str(base)
    assert found["source"] == MARKET
    assert not ancestors(base)


def test_dates_of_real_ancestors_count_as_seen_and_simulated_ones_do_not(started, tmp_path, capsys):
    report = ["--no_scoreboard", "--json", str(tmp_path / "report.json")]
    assert main(["evaluate", "--checkpoint", str(started), *report]) == 0, "it started from simulated prices"
    child = str(tmp_path / "child")
    dates = ["--train_end", "2006-12-31", "--validation_end", "2008-12-31", "--ranges"]
    train = ["train", *SMALL, "--num_epochs", "1", *dates, "--init_from", str(started), "--out", child]
    assert main(train) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", child, *report]) == 2
    error = capsys.readouterr().err
    assert f"it started from {started}, which has seen dates up to 2013-12-31" in error
    assert "an overlap" in error
    assert main(["evaluate", "--checkpoint", child, "--since", "2014-01-01", *report]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", child, "--walk_forward", "2012:2013"]) == 2
    assert "every refit starts from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--n_layer", "3"], "its n_layer is 1, not 3; set --n_layer 1"),
        (["--tokenizer", "quantile"], "it reads volatility tokens, not quantile"),
        (["--init_from", "nowhere"], "no such folder"),
        (["--pretrain", "synthetic"], "leave out --init_from"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_and_nothing_is_left(base, tmp_path, capsys, flags, says):
    start = [] if "--init_from" in flags else ["--init_from", str(base)]
    assert main(["train", *SMALL, *start, *flags, "--out", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_inputs_that_the_data_has_not_are_refused(started, tmp_path, capsys):
    assert main(["train", *SMALL, "--init_from", str(started), "--out", str(tmp_path / "r")]) == 2
    assert "it reads has_range, which this data has not" in capsys.readouterr().err


def test_pretraining_makes_the_base_and_uses_it_again(tmp_path, monkeypatch, capsys):
    short = replace(PRESETS["base"], data=DataConfig(MARKET), train=PRESETS["tiny"].train)
    monkeypatch.setitem(PRESETS, "base", short)
    out = tmp_path / "r"
    train = ["train", *SMALL, "--num_epochs", "1", "--mesh", "data=1", "--pretrain", "synthetic"]
    take_steps = loop.take_steps

    def stopping(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return take_steps(*args, **kwargs)

    monkeypatch.setattr(loop, "take_steps", stopping)
    assert main([*train, "--out", str(out)]) == 143
    assert "r-base" not in capsys.readouterr().err.partition(";")[2], "no base to resume"
    assert not out.exists()
    monkeypatch.setattr(loop, "take_steps", take_steps)
    loaded, load = [], start.load_run
    monkeypatch.setattr(start, "load_run", lambda path: loaded.append(path) or load(path))
    assert main([*train, "--out", str(out)]) == 0
    assert f"{out}-base: going on from step" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert [config["train"]["init_from"]] == loaded == [str(Path(f"{out}-base").resolve())]
    assert read_config(Path(f"{out}-base")).train.mesh == "data=1"
    assert ancestors(out)[0]["source"] == MARKET
    Path(out).rename(tmp_path / "first")
    capsys.readouterr()
    assert main([*train, "--out", str(out)]) == 0
    assert "already finished" in capsys.readouterr().out
    out.rename(tmp_path / "second")
    assert main([*train, "--n_layer", "2", "--out", str(out)]) == 2
    assert "was trained for another network" in capsys.readouterr().err


def test_bare_ids_start_from_bare_ids_and_need_no_markets(tmp_path, capsys):
    ids = tmp_path / "ids.txt"
    ids.write_text(" ".join(map(str, np.random.default_rng(0).integers(0, 128, 2000))))
    train = ["train", *SMALL, "--data", str(ids), "--num_epochs", "1"]
    assert main([*train, "--out", str(tmp_path / "a")]) == 0
    assert main([*train, "--init_from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert main(["evaluate", "--checkpoint", str(tmp_path / "b"), "--split", "validation"]) == 0
    capsys.readouterr()
    assert main([*train, "--pretrain", "synthetic", "--out", str(tmp_path / "c")]) == 2
    assert "--pretrain needs tokens of returns" in capsys.readouterr().err
    assert not list(tmp_path.glob("c*"))


def test_a_resumed_run_is_not_pretrained(base, capsys):
    assert main(["train", "--resume", "--out", str(base), "--pretrain", "synthetic"]) == 2
    assert "leave out --pretrain" in capsys.readouterr().err
