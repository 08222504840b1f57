"""`mqc plot`: what the picture shows is what the runs recorded, and what cannot be drawn is one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mqc_jax.cli import main
from mqc_jax.run import read_config, read_metrics
from mqc_jax.training.curves import LONGEST_NAME, curve, learning_curves, short, spread


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_run(tiny_run, name, losses, validations):
    """A run with these losses, one per epoch of 12 steps."""
    place = Path(name)
    place.mkdir(parents=True)
    shutil.copy(tiny_run / "config.json", place)
    lines = [
        {"step": 12 * epoch, "epoch": epoch, "loss": loss, "validation_loss": validation}
        for epoch, (loss, validation) in enumerate(zip(losses, validations, strict=True), 1)
    ]
    (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(place)


def coloured(picture, hexadecimal):
    """How many pixels have very nearly this colour."""
    colour = [int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((np.abs(imread(picture)[..., :3] - colour).max(axis=-1) < 0.02).sum())


def test_a_real_run_is_drawn_over_the_tokens_it_saw(tiny_run, capsys):
    assert main(["plot", str(tiny_run), "--json", "c.json"]) == 0
    (figures,) = json.loads(Path("c.json").read_text())["runs"]
    lines, config = read_metrics(tiny_run), read_config(tiny_run)
    assert figures["loss"] == [line["loss"] for line in lines]
    assert figures["validation_loss"] == [line["validation_loss"] for line in lines]
    windows = config.train.batch_size * np.array([line["step"] for line in lines])
    assert figures["tokens"] == (windows * config.model.sequence_len).tolist()
    assert figures["epochs"] == [1, 2]
    assert imread("curves.png")[..., :3].std() > 0.01
    assert f"{figures['best_validation_nats_per_token']:.4f}" in capsys.readouterr().out


def test_several_runs_each_have_a_colour_and_their_best_epoch(tiny_run, capsys):
    a = a_run(tiny_run, "runs/a", [4.9, 4.6, 4.4], [4.9, 4.7, 4.8])
    b = a_run(tiny_run, "runs/b", [4.8, 4.7, 4.6], [4.85, 4.8, 4.75])
    assert main(["plot", a, "--out", "a.png"]) == 0
    assert main(["plot", a, b, a, "--out", "both.png", "--x", "epochs", "--json", "c.json"]) == 0
    runs = json.loads(Path("c.json").read_text())["runs"]
    assert [(run["run"], run["best_epoch"]) for run in runs] == [("runs/a", 2), ("runs/b", 3)]
    assert coloured("a.png", "#D55E00") == 0 < coloured("both.png", "#D55E00")
    assert coloured("both.png", "#0072B2") > 0
    assert "different tokens" not in capsys.readouterr().out


def test_runs_on_other_tokens_are_drawn_with_a_warning(tiny_run, capsys):
    a, b = (a_run(tiny_run, name, [4.9], [4.8]) for name in ("a", "b"))
    config = read_config(Path(b))
    other = replace(config, data=replace(config.data, tokenizer="quantile"))
    Path("b/config.json").write_text(json.dumps(other.to_json()))
    assert main(["plot", a, b]) == 0
    assert "predict different tokens" in capsys.readouterr().out


def test_a_run_without_validation_dates_and_one_of_a_single_epoch_are_drawn(tiny_run, capsys, recwarn):
    assert main(["plot", a_run(tiny_run, "r", [4.9], [None]), "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)["runs"][0]
    assert figures["best_epoch"] is None
    assert figures["validation_loss"] == [None]
    assert imread("curves.png")[..., :3].std() > 0.001
    assert not recwarn.list, [str(warning.message) for warning in recwarn]


def test_what_cannot_be_drawn_is_one_line(tiny_run, capsys):
    empty = a_run(tiny_run, "empty", [], [])
    for argv, says in [
        ([], "runs/daily: no such folder, so no run"),
        (["none"], "none: no such folder, so no run"),
        ([empty], "empty: no metrics yet"),
        ([empty, "--out", "c.pdf"], "ends in .png"),
        ([empty, "--out", "no/c.png"], "no folder no"),
        ([empty, "--y", "3"], "mqc plot: unknown flag --y"),
        ([empty, "--x", "hours"], "hours"),
    ]:
        assert main(["plot", *argv]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        assert says in err
    assert not list(Path().glob("*.png"))


def test_labels_are_moved_apart_in_order_and_stay_on_the_page():
    for heights in ([0.5, 0.5, 0.5], [0.98, 0.99, 1.0], [0.0, 0.01], [0.1, 0.9]):
        placed = spread(heights, 0.1, 0.0, 1.0)
        assert (np.diff(placed) > 0.1 - 1e-9).all()
        assert placed[-1] <= 1.0
    assert spread([0.1, 0.9], 0.1, 0.0, 1.0) == [0.1, 0.9], "labels with room stay beside their lines"


def test_many_runs_with_long_names_fit(tmp_path):
    lines = [{"step": 3, "epoch": 1, "loss": 4.9, "validation_loss": 4.8}]
    curves = [curve(f"/a/long/way/to/the/folder/of/the/run/{i}", lines, 64) for i in range(14)]
    learning_curves(tmp_path / "many.png", curves)
    assert len({short(one.name) for one in curves}) == 14, "the end of a path tells runs apart"
    assert all(len(short(one.name)) == LONGEST_NAME for one in curves)
    margin = imread(tmp_path / "many.png")[:, -2:, :3]
    assert margin.min() == 1, "something runs over the edge"
