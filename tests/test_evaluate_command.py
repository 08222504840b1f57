"""`evaluate` and `mqc known-answer` as a user runs them: which dates, which page, which exit code."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import garch_series

from mqc_jax.cli import run_script
from mqc_jax.commands.evaluate import EvaluateFlags, flags
from mqc_jax.evaluation.known_answer import exam

TINY = ["--config", "tiny", "--num_epochs", "1", "--sequence_len", "32"]


def read_json(path):
    return json.loads(Path(path).read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on four years of two assets, one of them interrupted by a hole of two months."""
    folder = tmp_path_factory.mktemp("command")
    for name, seed, hole in (("ONE", 1, False), ("TWO", 2, True)):
        series = garch_series(1400, seed, name)
        kept = ~(hole & (series.times >= np.datetime64("2003-02-01")) & (series.times < np.datetime64("2003-04-01")))
        rows = [f"{str(t)[:10]},{close:.6f}" for t, close in zip(series.times[kept], series.closes[kept], strict=True)]
        (folder / name).with_suffix(".csv").write_text("Date,Close\n" + "\n".join(rows) + "\n")
    (folder / "both").mkdir()
    for name in ("ONE", "TWO"):
        (folder / "both" / f"{name}.csv").symlink_to(folder / f"{name}.csv")
    assert run_script("train", [*TINY, "--data", str(folder / "both"), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_page_names_the_data_it_scored_and_the_first_line_what_the_run_has_seen(capsys):
    assert run_script("evaluate", ["--checkpoint", "run", "--data_file", "TWO.csv", "--json", "two.json"]) == 0
    out = capsys.readouterr().out
    splits = read_json("run/manifest.json")["splits"]
    trained, chosen = splits["train_end"], splits["validation_end"]
    assert f"have seen dates up to {trained}, the choice of the checkpoint those up to {chosen};" in out
    assert "run on TWO.csv: trained up to" in Path("run/scoreboard-TWO/index.html").read_text()
    report = read_json("two.json")
    assert list(report["models"]["gpt"]["assets"]) == ["TWO"]
    made = {canary["name"]: canary["passed"] for canary in report["canaries"]}
    assert made["direction"] is not None, "the alarm looks at the board"
    assert made["tokenizer"] is None, "it was fitted to other data"


def test_seen_dates_are_scored_only_when_that_is_asked_for(capsys):
    splits = read_json("run/manifest.json")["splits"]
    asked = ["--checkpoint", "run", "--no_scoreboard", "--json", "seen.json", "--since", splits["validation_end"]]
    assert run_script("evaluate", asked) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "an overlap; choose a later --since" in error
    assert run_script("evaluate", [*asked, "--allow_overlap"]) == 0
    assert capsys.readouterr().out.startswith("WARNING: the choice of the checkpoint have seen")
    seen = read_json("seen.json")
    assert run_script("evaluate", [*asked[:-1], "2003-09-01"]) == 0
    later = read_json("seen.json")
    assert later["test"]["n_targets"] < seen["test"]["n_targets"]
    assert run_script("evaluate", [*asked[:-1], "2003-13-01"]) == 2


def test_other_runs_have_a_row_on_the_same_returns(capsys):
    raw = [*TINY, "--data", "both", "--tokenizer", "quantile", "--vocab_size", "32", "--no_ordinal", "--out", "raw"]
    assert run_script("train", raw) == 0
    asked = ["--checkpoint", "run", "--beside", "raw", "--json", "beside.json"]
    assert run_script("evaluate", asked) == 0
    models = read_json("beside.json")["models"]
    assert list(models)[-1] == "raw"
    assert models["raw"]["assets"]["TWO"]["n_returns"] == models["gpt"]["assets"]["TWO"]["n_returns"]
    assert run_script("evaluate", ["--checkpoint", "raw", "--json", "alone.json"]) == 0
    alone = read_json("alone.json")["models"]
    assert models["raw"]["density_nats"] == pytest.approx(alone["gpt"]["density_nats"], abs=1e-9)
    assert models["garch_t"]["crps"] == pytest.approx(alone["garch_t"]["crps"], abs=1e-12)
    assert run_script("train", [*TINY, "--data", "ONE.csv", "--out", "one"]) == 0
    capsys.readouterr()
    assert run_script("evaluate", [*asked[:2], "--beside", "one"]) == 2
    error = capsys.readouterr().err
    assert "one knows no TWO" in error or "an overlap" in error


def test_simulated_paths_stand_beside_the_real_ones(capsys):
    assert run_script("evaluate", ["--checkpoint", "run", "--n_paths", "20", "--json", "paths.json"]) == 0
    printed = capsys.readouterr().out
    assert "ONE: simulated paths beside the real one" in printed
    assert "TWO: simulated paths beside the real one" in printed
    found = read_json("paths.json")["paths"]["ONE"]
    assert list(found) == ["gpt", "bootstrap", "gjr_skew_t", "iid_t"]
    assert sum(found["bootstrap"]["facts_inside"].values()) >= 5, "made of the real returns"
    page = Path("run/scoreboard/index.html").read_text()
    assert "Simulated paths beside the real ones" in page
    assert run_script("evaluate", ["--checkpoint", "run", "--n_paths", "3"]) == 2
    assert "--n_paths 3: give 20 to 1,000, or 0 for none" in capsys.readouterr().err


@pytest.mark.slow
def test_a_walk_forward_scores_interrupted_assets_and_leaves_empty_years_out(capsys):
    walk = ["--checkpoint", "run", "--walk_forward", "2002:2004", "--n_members", "1", "--json", "walk.json"]
    assert run_script("evaluate", walk) == 0
    report = read_json("walk.json")
    assert list(report["models"]["linear"]["assets"]) == ["ONE", "TWO"]
    assert "canaries: 7 of 7 silent" in " ".join(capsys.readouterr().out.split())
    page = Path("run/walk-forward-2002-2004-1-members/index.html").read_text()
    assert "2002-01-01 to 2003-11-02" in page
    assert "Splits:" not in page, "a walk has none"
    assert "Differences by asset" in page
    assert run_script("evaluate", [*walk, "--since", "2003-06-01"]) == 0
    later = read_json("walk.json")["models"]
    assert later["gpt"]["assets"]["ONE"]["n_returns"] < report["models"]["gpt"]["assets"]["ONE"]["n_returns"]
    assert "vs_garch_t" not in later["garch_t"]["assets"]["ONE"]
    one = later["gpt"]["assets"]["ONE"]
    assert one["dm_vs_garch_t"] == pytest.approx(one["nats"] - later["garch_t"]["assets"]["ONE"]["nats"], abs=1e-9)
    assert "scored 2003-06-01 to" in Path("run/walk-forward-2002-2004-1-members-2003-06-01/index.html").read_text()


@pytest.mark.parametrize("flag", [["--split", "validation"], ["--seq_len", "8"], ["--no_scoreboard"]])
def test_what_a_walk_forward_would_ignore_is_refused(flag):
    assert flags(["--walk_forward", "2002:2003"]) == EvaluateFlags(walk_forward="2002:2003")
    assert run_script("evaluate", ["--checkpoint", "run", "--walk_forward", "2002:2003", *flag]) == 2


def test_assets_that_know_each_other_s_day_do_not_stand_beside_forecasts(capsys):
    train = [*TINY, "--data", "both", "--layout", "interleaved", "--out", "side-by-side"]
    assert run_script("train", train) == 0
    capsys.readouterr()
    assert run_script("evaluate", ["--checkpoint", "side-by-side"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no scoreboard" in out
    assert "knows what others did on the same date" in out


def test_a_score_below_the_floor_is_a_leak(capsys, monkeypatch):
    asked = ["--config", "tiny", "--tasks", "S0", "--n_tokens", "5000", "--json", "known.json"]
    assert run_script("known-answer", asked) == 0
    honest = read_json("known.json")["tasks"][0]
    assert 0 <= honest["excess"] < 0.05
    monkeypatch.setattr(exam, "below_floor", lambda *_: True)
    assert run_script("known-answer", asked) == 3
    assert capsys.readouterr().err.startswith("error: leak: below the floor by more than chance: S0 on")
    assert read_json("known.json")["tasks"], "the figures are written all the same"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--since", "2003-09-01", "--split", "validation"], "--since says where the test begins"),
        (["--beside", "a/run,b/run"], "two folders of one name"),
        (["--data_file", "early.csv", "--walk_forward", "2002:2003"], "no returns in these years"),
    ],
)
def test_what_cannot_be_scored_is_one_line(capsys, asked, says):
    rows = Path("ONE.csv").read_text().splitlines()
    Path("early.csv").write_text("\n".join(rows[:600]) + "\n")
    assert run_script("evaluate", ["--checkpoint", "run", *asked]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
