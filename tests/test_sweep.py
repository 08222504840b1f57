"""`mqc sweep`: one ordinary run per depth, trained once, and a table and a picture that say what they say."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from configs import PRESETS
from data_pipeline import BadInput
from mqc_jax.cli import main
from mqc_jax.commands import sweep
from mqc_jax.depth import at_depth
from mqc_jax.run import load_run, read_config, read_metrics
from mqc_jax.training import loop
from mqc_jax.training.flops import train_flops_per_token

SPEED = ["--config", "tiny", "--num_epochs", "2"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, prices_csv):
    """Two depths of `tiny` on a small file."""
    out = tmp_path_factory.mktemp("sweep") / "s"
    argv = ["sweep", *SPEED, "--data", str(prices_csv), "--out", str(out)]
    assert main([*argv, "--depth", "1..2"]) == 0
    return out, argv


@pytest.fixture
def copied(swept, tmp_path):
    """The same sweep again, for a test that changes it."""
    out, argv = swept
    shutil.copytree(out, tmp_path / "s")
    return tmp_path / "s", [*argv[:-1], str(tmp_path / "s")]


def failed(capsys, code, says):
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert says in err
    return code


def test_each_depth_is_a_run_like_any_other_and_its_figures_are_the_runs(swept):
    out, _ = swept
    record = json.loads((out / "sweep.json").read_text())
    assert [run["depth"] for run in record["runs"]] == [1, 2]
    for run in record["runs"]:
        place = out / f"depth-{run['depth']}"
        config, lines = read_config(place), read_metrics(place)
        expected = at_depth(PRESETS["tiny"], run["depth"])
        assert (config.model.n_layer, config.model.n_embd) == (run["depth"], run["width"])
        assert config.train == replace(expected.train, num_epochs=2)
        assert load_run(place).config == config
        assert run["best_validation_nats_per_token"] == min(line["validation_loss"] for line in lines)
        tokens = lines[-1]["step"] * config.tokens_per_step
        assert run["train_flops"] == tokens * train_flops_per_token(config.model, run["n_parameters"])
    assert imread(out / "sweep.png")[..., :3].std() > 0.01


def test_finished_runs_are_used_again_and_more_depths_are_added(copied, monkeypatch, capsys):
    out, argv = copied
    monkeypatch.chdir(out)
    before = {path: path.read_bytes() for path in (out / "depth-1").rglob("*") if path.is_file()}
    trained = []
    real = loop.take_steps

    def counting(state, *args, **kwargs):
        trained.append(state.model.config.n_layer)
        return real(state, *args, **kwargs)

    monkeypatch.setattr(loop, "take_steps", counting)
    assert main([*argv, "--depth", "1,3", "--json", "s.json"]) == 0
    assert set(trained) == {3}
    assert {path: path.read_bytes() for path in before} == before
    assert [run["depth"] for run in json.loads(Path("s.json").read_text())["runs"]] == [1, 3]
    record = json.loads((out / "sweep.json").read_text())
    assert [run["depth"] for run in record["runs"]] == [int(depth) for depth in record["asked"]] == [1, 2, 3]
    printed = capsys.readouterr().out
    assert "already finished" in printed
    rows = [line.split() for line in printed.splitlines() if line[:5].strip().isdecimal()]
    assert [row[:3] for row in rows] == [["1", "16", "3,200"], ["3", "48", "77,184"]]


def test_an_interrupted_sweep_goes_on_by_the_same_command(prices_csv, tmp_path, monkeypatch, capsys):
    argv = ["sweep", "--config", "tiny", "--data", str(prices_csv), "--num_epochs", "3", "--out", str(tmp_path / "s")]
    real, calls = loop.take_steps, []

    def stopping(*args, **kwargs):
        calls.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "take_steps", stopping)
    assert main([*argv, "--depth", "1..2"]) == failed(capsys, 143, "the same command goes on with the sweep")
    assert len(calls) == 1
    assert not (tmp_path / "s" / "depth-2").exists()
    monkeypatch.setattr(loop, "take_steps", real)
    assert main([*argv, "--depth", "1..2"]) == 0
    assert "going on from step" in capsys.readouterr().out
    assert [len(read_metrics(tmp_path / "s" / f"depth-{depth}")) for depth in (1, 2)] == [3, 3]


def test_a_sweep_is_not_mixed_with_another(copied, capsys):
    out, argv = copied
    assert main([*argv, "--depth", "2", "--seed", "5"]) == failed(capsys, 2, "depth-2 was trained with seed=0, not 5")
    (out / "depth-7").mkdir()
    assert main([*argv, "--depth", "7"]) == failed(capsys, 2, "no run of this sweep; choose another --out")


def test_flags_win_over_what_follows_from_the_depth():
    asked = sweep.flags(["--config", "tiny", "--depth", "1..3", "--learning_rate", "0.003", "--dropout", "0.1"]).asked
    assert [config.train.learning_rate for config in asked.values()] == [0.003] * 3
    assert {config.model.dropout for config in asked.values()} == {0.1}
    assert [config.model.n_embd for config in asked.values()] == [16, 32, 48]


def test_depths_are_read_as_typed():
    assert sweep.read_depths("1..6") == [1, 2, 3, 4, 5, 6]
    assert sweep.read_depths("4,1, 2") == [1, 2, 4]
    assert sweep.read_depths("1..3,3..4,8") == [1, 2, 3, 4, 8]
    for wrong in ("", "1..", "..3", "3..1", "0..2", "1;2", "-1", "two", "1...3", "1..5000"):
        with pytest.raises(BadInput, match=r"write 1\.\.6 or 1,2,4"):
            sweep.read_depths(wrong)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--depth", "many"], "--depth many: 'many' is no depth; write 1..6 or 1,2,4"),
        (["--config", "dayly"], "choose one of daily, base, tiny, seed, reference"),
        (["--n_layer", "2"], "leave out --n_layer"),
        (["--num_epoch", "2"], "mqc sweep: unknown flag --num_epoch; did you mean --num_epochs?"),
        (["--data", "none.csv"], "'none.csv': no such file or folder"),
    ],
)
def test_usage_errors_are_one_line(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *argv]) == failed(capsys, 2, says)


def test_a_mistyped_first_command_does_not_block_the_folder(prices_csv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["sweep", *SPEED, "--depth", "1", "--data"]
    assert main([*argv, "none.csv"]) == failed(capsys, 2, "no such file or folder")
    assert main([*argv, str(prices_csv)]) == 0


def test_without_validation_dates_there_is_a_table_and_no_picture(tmp_path, capsys):
    weekend = ["--train_end", "2010-12-31", "--validation_end", "2011-01-02"]
    argv = ["sweep", *SPEED, "--depth", "1", *weekend, "--out", str(tmp_path / "s")]
    assert main(argv) == 0
    assert "no picture: there are no validation dates" in capsys.readouterr().out
    assert not (tmp_path / "s" / "sweep.png").exists()
