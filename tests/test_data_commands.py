"""`mqc data …` as users type it: prepare, tokenize, decode, analyze, and what is refused with which words and code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_pipeline import open_dataset
from mqc_jax.cli import main


def mqc(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(["data", *argv])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, prices_csv) -> Path:
    place = tmp_path_factory.mktemp("data") / "d"
    assert main(["data", "prepare", "--data", str(prices_csv), "--out", str(place), "--calendar", "24/7"]) == 0
    return place


def test_prepare_says_what_it_inferred_and_writes_a_dataset(capsys, prices_csv, tmp_path):
    place = str(tmp_path / "d")
    code, out, _ = mqc(
        capsys, "prepare", "--data", str(prices_csv), "--out", place, "--vocab_size", "64", "--json", "-"
    )
    assert code == 0
    figures = json.loads(out)
    opened = open_dataset(place)
    assert figures["assets"] == ["ACME"]
    assert opened.tokenizer.vocab_size == 64
    assert figures["train_tokens"] == len(opened.rows("train"))
    code, out, _ = mqc(capsys, "prepare", "--data", str(prices_csv), "--out", str(tmp_path / "e"))
    assert "ACME looks like a US ticker, but" in out, "a daily series with weekends is no exchange's"


def test_tokenize_writes_the_tokens_of_the_dataset(capsys, dataset, prices_csv, tmp_path):
    common = ("--tokenizer_from", str(dataset), "--data", str(prices_csv), "--calendar", "24/7")
    opened = open_dataset(dataset)
    expected = opened.tokens[opened.asset_rows(0)]
    assert mqc(capsys, "tokenize", *common, "--out", str(tmp_path / "t.txt"))[0] == 0
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "t.txt"), expected)
    assert mqc(capsys, "tokenize", *common, "--out", str(tmp_path / "t.csv"))[0] == 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table) == ["unique_id", "ds", "token", "log_return", "close"]
    np.testing.assert_array_equal(table["token"], expected)


def test_decode_gives_prices_back_within_their_bins(capsys, dataset, tmp_path):
    code, out, _ = mqc(capsys, "decode", "--data", str(dataset), "--out", str(tmp_path / "d.csv"), "--json", "-")
    assert code == 0
    table = pd.read_csv(tmp_path / "d.csv")
    opened = open_dataset(dataset)
    rows = opened.asset_rows(0)
    edges = opened.tokenizer.return_edges(opened.market.known_before[rows])
    low = np.concatenate([np.full((len(rows), 1), -np.inf), edges], axis=1)[np.arange(len(rows)), table["token"]]
    high = np.concatenate([edges, np.full((len(rows), 1), np.inf)], axis=1)[np.arange(len(rows)), table["token"]]
    assert (table["decoded_log_return"].between(low - 1e-12, high + 1e-12)).all()
    before = opened.market.closes[rows] / np.exp(opened.market.returns[rows])
    np.testing.assert_allclose(table["decoded_close"], before * np.exp(table["decoded_log_return"]))
    error = np.sqrt(np.mean((table["log_return"] - table["decoded_log_return"]) ** 2))
    assert json.loads(out)["root_mean_square_error_log_return"] == pytest.approx(error)
    assert json.loads(out)["r_squared"] > 0.9


def test_decode_reads_ids_and_lets_volatility_answer(capsys, dataset, tmp_path):
    place = str(tmp_path / "d.csv")
    code, *_ = mqc(
        capsys, "decode", "--data", str(dataset), "--tokens", "127 127 127 64", "--price", "50", "--out", place
    )
    assert code == 0
    table = pd.read_csv(place)
    assert table["decoded_log_return"].iloc[:3].is_monotonic_increasing, "after a large move the same token is larger"
    np.testing.assert_allclose(table["decoded_close"], 50 * np.exp(table["decoded_log_return"].cumsum()))


def test_analyze_reports_draws_and_leaves_special_tokens_out(capsys, dataset, prices_csv, tmp_path):
    picture = tmp_path / "tokens.png"
    code, out, _ = mqc(capsys, "analyze", "--data", str(dataset), "--plot", str(picture), "--json", "-")
    assert code == 0
    found = json.loads(out)
    opened = open_dataset(dataset)
    counts = np.bincount(opened.tokens[opened.asset_rows(0)], minlength=128)
    assert found["token_counts"] == counts.tolist()
    assert found["perplexity"] <= 128
    assert picture.stat().st_size > 20_000
    marked = str(tmp_path / "marked")
    given = ("--data", str(prices_csv), "--special_tokens", "--calendar", "24/7")
    assert mqc(capsys, "prepare", *given, "--out", marked)[0] == 0
    code, out, _ = mqc(capsys, "analyze", "--data", marked, "--json", "-")
    assert json.loads(out)["token_counts"] == counts.tolist()


def test_analyze_reads_bare_ids_and_runs(capsys, tiny_run, tmp_path):
    ids = tmp_path / "all_tokens.txt"
    ids.write_text(" ".join(map(str, np.random.default_rng(0).integers(0, 50, 500))))
    assert mqc(capsys, "analyze", "--data", str(ids))[0] == 0
    code, out, _ = mqc(capsys, "analyze", "--data", str(tiny_run))
    assert code == 0
    assert "18,198 tokens in 3 stretches" in out


def interleaved(place: Path) -> str:
    arguments = ["--data", "synthetic:garch?symbols=2&bars=600", "--layout", "interleaved", "--out", str(place / "il")]
    assert main(["data", "prepare", *arguments]) == 0
    return str(place / "il")


def test_what_cannot_be_done_is_said_in_one_line(capsys, dataset, prices_csv, tmp_path):
    (tmp_path / "ids.txt").write_text("1 2 3 4 5 6 7 8 9 10 11 12")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "line.csv").write_bytes(b"9" * 10_000_000)
    (tmp_path / "nul.csv").write_bytes(b"Date,Close\n2020-01-01,\x00\n")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04K\x01.")
    (tmp_path / "wide.csv").write_text("Price,Close,Close\nTicker,A,B\n2024-01-02,,\n2024-01-03,,\n")
    out = str(tmp_path / "out")
    refused = [
        (("prepare", "--data", str(dataset), "--out", out), "is a token dataset already"),
        (("prepare", "--data", str(tmp_path / "none.csv"), "--out", out), "none.csv"),
        (("prepare", "--data", str(tmp_path / "no.parquet"), "--out", out), "no.parquet"),
        (("prepare", "--data", str(tmp_path / "line.csv"), "--out", out), "line.csv"),
        (("prepare", "--data", str(tmp_path / "nul.csv"), "--out", out), "nul.csv"),
        (("prepare", "--data", str(tmp_path / "model.pkl"), "--out", out), "model.pkl"),
        (("prepare", "--data", str(tmp_path / "wide.csv"), "--out", out), "error: wide.csv: no rows"),
        (("prepare", "--data", str(prices_csv), "--out", str(dataset)), "exists"),
        (("prepare", "--data", str(prices_csv), "--out", out, "--calendar", "XNYZ"), "XNY"),
        (("prepare", "--data", str(prices_csv), "--out", out, "--vocab_size", "100"), "multiple of 16; try 112"),
        (("prepare", "--data", str(prices_csv), "--out", out, "--vocab_size", "2"), "must be from 4 to 4096"),
        (("prepare", "--data", "unread.csv", "--out", out, "--vocab_size", "1"), "--vocab_size 1 must be from 4 to"),
        (("prepare", "--data", "unread.csv", "--out", out, "--vocab_size", "24"), "needs a multiple of 16; try 32"),
        (("prepare", "--tokenizer", "vqvae", "--out", out, "--vocab_size", "1"), "--vocab_size 1 must be from 2 to"),
        (("prepare", "--data", "synthetic:garsh", "--out", out), "garch"),
        (("prepare", "--data", str(prices_csv), "--out", out, "--timeframes", "1min"), "1min"),
        (("prepare", "--data", str(prices_csv), "--out", out, "--workers", "-1"), "--workers -1"),
        (("prepare", "--layout", "interleaved", "--special_tokens", "--out", out), "its own special tokens; leave"),
        (("prepare", "--layout", "interleaved", "--tokenizer", "vqvae", "--out", out), "interleaved takes no vqvae"),
        (
            ("tokenize", "--tokenizer_from", str(tmp_path), "--data", str(prices_csv), "--out", out + ".csv"),
            "no tokenizer",
        ),
        (("tokenize", "--tokenizer_from", str(dataset), "--out", out + ".xls"), "ends in .csv or .txt"),
        (("decode", "--data", str(dataset), "--tokens", "1 2 128", "--out", out), "outside [0, 128)"),
        (("decode", "--data", str(dataset), "--tokens", " ", "--out", out), "--tokens is empty"),
        (("decode", "--data", str(dataset), "--tokens", "1", "--price", "-3", "--out", out), "--price -3"),
        (("decode", "--data", str(dataset), "--price", "3", "--out", out), "--price goes with --tokens"),
        (("decode", "--data", str(dataset), "--tokens", "127 " * 60, "--out", out), "no number any more; give fewer"),
        (("prepare", "--signal", "delta", "--out", out), "signal=delta goes with tokenizer=rolling"),
        (("prepare", "--layout", "interleaved", "--timeframes", "1d,1w", "--out", out), "takes one timeframe"),
        (("prepare", "--timeframes", "1w,1w", "--out", out), "there twice"),
        (("prepare", "--data", "synthetic:iid?bars=1400&interval=1min", "--out", out), "1 dates are too few"),
        (("analyze", "--data", str(dataset), "--plot", out + ".jpg"), "pictures are PNG"),
        (("check", "--data", str(prices_csv), "--plot", out + ".pdf"), "pictures are PNG"),
        (("analyze", "--data", str(tmp_path / "nothing")), "no token dataset"),
        (("analyze", "--data", interleaved(tmp_path)), "assets stand side by side"),
        (("fetch", "../../etc/passwd"), "../../etc/passwd"),
    ]
    capsys.readouterr()
    for argv, says in refused:
        code, _, err = mqc(capsys, *argv)
        assert code == 2, argv
        assert says in err, (argv, err)
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
    assert not Path(out).exists()
    assert not Path(out + ".pdf").exists()


def test_the_group_lists_its_commands_and_knows_near_misses(capsys):
    code, out, _ = mqc(capsys)
    assert code == 2
    for name in ("fetch", "list", "check", "prepare", "tokenize", "decode", "analyze"):
        assert name in out
        with pytest.raises(SystemExit) as stop:
            main(["data", name, "--help"])
        assert stop.value.code == 0
        assert "--json" in capsys.readouterr().out
    assert "did you mean prepare?" in mqc(capsys, "prepar")[2]


def test_trained_on_ranges_a_run_is_scored_and_forecasts_one_bar(capsys, tmp_path):
    run = str(tmp_path / "r")
    assert main(["train", "--config", "tiny", "--num_epochs", "1", "--ranges", "--clock", "--out", run]) == 0
    assert main(["evaluate", "--checkpoint", run, "--no_scoreboard"]) == 0
    assert main(["forecast", "--checkpoint", run, "--horizon", "1", "--n_paths", "20"]) == 0
    capsys.readouterr()
    assert main(["forecast", "--checkpoint", run]) == 2
    assert "sees one bar ahead" in capsys.readouterr().err


def test_trained_on_special_tokens_and_the_clock_a_run_scores_samples_and_forecasts(capsys, tmp_path):
    out = str(tmp_path / "run")
    data = ("--data", "synthetic:garch?bars=900", "--special_tokens", "--clock")
    assert main(["train", "--config", "tiny", "--num_epochs", "1", *data, "--out", out]) == 0
    for command in ("evaluate", "sample", "forecast"):
        assert main([command, "--checkpoint", out, "--json", str(tmp_path / f"{command}.json")]) == 0
    forecast = json.loads((tmp_path / "forecast.json").read_text())
    days = np.array([forecast["last_bar"], *forecast["bars"]], "datetime64[D]")
    np.testing.assert_array_equal(np.diff(days), np.timedelta64(1, "D"))
    sampled = np.array(json.loads((tmp_path / "sample.json").read_text())["samples"])
    assert sampled.max() < 128, "special tokens are never drawn"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (("--data", "synthetic:garch?bars=900&interval=1h", "--special_tokens"), "opens and closes of sessions"),
        (("--data", "synthetic:garch?symbols=2&bars=900", "--layout", "interleaved"), "its assets take turns"),
    ],
)
def test_paths_that_cannot_be_drawn_yet_are_refused(capsys, tmp_path, data, says):
    out = str(tmp_path / "run")
    assert main(["train", "--config", "tiny", "--num_epochs", "1", *data, "--out", out]) == 0
    assert main(["evaluate", "--checkpoint", out, "--no_scoreboard"]) == 0
    for command in ("sample", "forecast"):
        capsys.readouterr()
        assert main([command, "--checkpoint", out]) == 2
        assert says in capsys.readouterr().err


def test_a_run_remembers_how_its_prepared_dataset_was_cut(capsys, tmp_path, prices_csv):
    """Trained on a dataset with special tokens and a clock, it cuts other prices in the same way."""
    prepared, out = str(tmp_path / "d"), str(tmp_path / "run")
    given = ("--data", str(prices_csv), "--calendar", "24/7", "--special_tokens", "--clock")
    assert main(["data", "prepare", *given, "--out", prepared]) == 0
    assert main(["train", "--config", "tiny", "--num_epochs", "1", "--data", prepared, "--out", out]) == 0
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert data["special_tokens"]
    assert data["clock"]
    reports = []
    for file in ((), ("--data_file", str(prices_csv))):
        assert (
            main(["evaluate", "--checkpoint", out, *file, "--no_scoreboard", "--json", str(tmp_path / "e.json")]) == 0
        )
        reports.append(json.loads((tmp_path / "e.json").read_text())["test"])
    assert reports[0] == reports[1]
    plain = str(tmp_path / "plain")
    assert main(["data", "prepare", "--data", str(prices_csv), "--calendar", "24/7", "--out", plain]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", out, "--data_file", plain]) == 2
    assert "were cut in another way" in capsys.readouterr().err
    assert main(["train", "--config", "tiny", "--data", plain, "--clock", "--out", str(tmp_path / "x")]) == 2
    assert "was made with clock False, not True" in capsys.readouterr().err


def test_tokenize_forms_the_returns_its_tokenizer_was_fitted_to(capsys, tmp_path):
    """A tokenizer of moves within bars is not fed closes."""
    days = pd.date_range("2015-01-01", periods=600)
    closes = 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_t(6, 600)))
    opens = np.concatenate([[100.0], closes[:-1]]) * np.exp(0.01 * np.random.default_rng(1).standard_normal(600))
    frame = pd.DataFrame({"Date": days, "Open": opens, "Close": closes})
    frame.to_csv(tmp_path / "COIN-USD.csv", index=False)
    source, place = str(tmp_path / "COIN-USD.csv"), tmp_path / "d"
    given = ("--tokenizer", "rolling", "--signal", "pct_oc")
    assert mqc(capsys, "prepare", "--data", source, *given, "--out", str(place))[0] == 0
    table = ("--out", str(tmp_path / "t.csv"))
    assert mqc(capsys, "tokenize", "--data", source, "--tokenizer_from", str(place), *table)[0] == 0
    opened = open_dataset(place)
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "t.csv")["token"], opened.tokens[opened.asset_rows(0)])


@pytest.mark.slow
def test_a_vqvae_trains_samples_and_says_that_it_has_no_likelihood_of_returns(capsys, tmp_path):
    out = str(tmp_path / "run")
    data = ("--data", "synthetic:garch?symbols=2&bars=2500", "--tokenizer", "vqvae")
    prepared = str(tmp_path / "prepared")
    assert main(["data", "prepare", *data, "--out", prepared, "--json", str(tmp_path / "p.json")]) == 0
    reconstruction = json.loads((tmp_path / "p.json").read_text())["reconstruction"]
    assert reconstruction["r2"] > 0.5
    assert reconstruction["codes_used_share"] > 0.5
    assert main(["train", "--config", "tiny", "--num_epochs", "1", "--data", prepared, "--out", out]) == 0
    assert "vqvae tokens have no bins" in capsys.readouterr().out
    assert main(["sample", "--checkpoint", out, "--num_generate", "5"]) == 0
    assert main(["evaluate", "--checkpoint", out, "--no_scoreboard", "--json", str(tmp_path / "e.json")]) == 0
    report = json.loads((tmp_path / "e.json").read_text())["test"]
    assert "shared_bins" not in report
    capsys.readouterr()
    assert main(["forecast", "--checkpoint", out]) == 2
    err = capsys.readouterr().err
    assert "vqvae tokens have no exact likelihood" in err
    assert err.count("\n") == 1
    assert main(["data", "decode", "--data", prepared, "--out", str(tmp_path / "d.csv")]) == 0
    assert pd.read_csv(tmp_path / "d.csv").notna().all().all()
