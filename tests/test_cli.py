"""The commands: flags as typed, one-line errors with their exit codes, nothing written over."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from data_pipeline.errors import BadInput, DamagedData, NumericFailure, OutOfResources, Stopped
from mqc_jax.cli import COMMANDS, main, run_script


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def daily(tiny_run, tmp_path):
    """A run where the defaults look for it."""
    shutil.copytree(tiny_run, tmp_path / "runs" / "daily")
    return tmp_path / "runs" / "daily"


def failed(capsys, code, *says):
    out = capsys.readouterr()
    assert out.err.startswith("error: "), out
    assert out.err.count("\n") == 1, "an error is one line"
    for words in says:
        assert words in out.err, out.err
    return code


def read_json(name):
    return json.loads(Path(name).read_text())


def tree(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("command", "argv", "says"),
    [
        ("train", ["--n_layrs", "3"], "did you mean --n_layer?"),
        ("train", ["--lr", "3"], "did you mean --learning_rate?"),
        ("train", ["--epochs", "3"], "did you mean --num_epochs?"),
        ("train", ["--qqqq", "3"], "'train.py --help' lists them"),
        ("train", ["stray"], "unknown argument 'stray'"),
        ("train", ["--n_embd", "33"], "n_embd=33 is not a multiple of n_head=4; try --n_embd 36"),
        ("train", ["--batch_size", "many"], "--batch_size"),
        ("train", ["--batch_size", "0"], "batch_size=0 must be above 0"),
        ("train", ["--config", "dayly"], "choose one of daily, base, tiny, seed, reference"),
        ("train", ["--tokenizer", "bpe"], "volatility"),
        ("train", ["--data", "none.csv"], "'none.csv': no such file or folder"),
        ("train", ["--vocab_size", "100"], "multiple of 16; try 112"),
        ("train", ["--sequence_len", "100000"], "one window needs 100001; try --sequence_len"),
        ("train", ["--train_end", "2030-01-01"], "must follow one another"),
        ("train", ["--resume"], "runs/daily: no such folder, so no run"),
        ("evaluate", [], "runs/daily: no such folder, so no run; train one with"),
        ("evaluate", ["--checkpoint", "."], "no config.json here"),
        ("evaluate", ["--checkpoint", __file__], "is a file, a run is a folder"),
        ("evaluate", ["--seq_len", "0"], "--seq_len 0"),
        ("evaluate", ["--split", "train"], "test"),
        ("sample", ["--top_k", "0"], "top_k=0 keeps no token"),
        ("sample", ["--temperature", "-1"], "temperature=-1.0"),
        ("sample", ["--top_p", "2"], "top_p=2.0"),
        ("sample", ["--num_generate", "0"], "--num_generate 0"),
        ("forecast", ["--horizon", "-5"], "--horizon -5"),
        ("forecast", ["--horizon", "1000000000"], "--horizon 1000000000"),
        ("forecast", ["--plot", "f.txt"], "ends in .png"),
        ("forecast", ["--plot", "no/f.png"], "--plot no/f.png: no folder no; make it first"),
        ("sample", ["--json", "no/s.json"], "--json no/s.json: no folder no; make it first"),
        ("sample", ["--seed", "99999999999999999999"], "--seed 99999999999999999999 must be from 0"),
        ("train", ["--seed", "99999999999999999999"], "below 2**32"),
        ("train", ["--learning_rate", "inf"], "learning_rate=inf must be a finite number"),
        ("train", ["--train_end", "2010"], "--train_end 2010: not a date; write it like 2010-12-31"),
        ("train", ["--train_end", "2010-12-31", "--validation_end", "2011-01-02"], "patience needs validation dates"),
        ("train", ["--resume", "--config", "seed"], "leave out --config"),
        ("import-torch", ["--chk", "a.pt", "b"], "unknown flag --chk"),
        ("data.prepare", ["--ouf", "d"], "did you mean --out?"),
        ("data.prepare", [], "--out"),
    ],
)
def test_usage_errors_name_the_mend_and_exit_2(capsys, tmp_path, command, argv, says):
    assert run_script(command, argv) == failed(capsys, 2, says)
    assert not list(tmp_path.iterdir()), "a refused command wrote something"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--seed_tokens", "80 81 x"], "'x' is not a token id"),
        (["--seed_tokens", "80 128"], "token 128 at position 1 is outside [0, 128)"),
        (["--seed_tokens", "-1"], "token -1 at position 0"),
        (["--seed_tokens", " "], "--seed_tokens is empty"),
        (["--seed_tokens", "1 " * 33], "33 tokens, the context holds 32; give the last 32"),
    ],
)
def test_bad_prompts_are_refused(capsys, daily, argv, says):
    assert run_script("sample", argv) == failed(capsys, 2, says)


def test_forecasts_of_what_is_not_there_are_refused(capsys, daily):
    assert run_script("forecast", ["--asset", "DAX"]) == failed(capsys, 2, "choose one of SP500, NASDAQ, WTI")
    assert run_script("forecast", ["--as_of", "1999-02-01"]) == failed(
        capsys, 2, "the first possible day is 1999-04-01"
    )
    assert run_script("forecast", ["--as_of", "soon"]) == failed(capsys, 2, "not a date")


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "forecast", "import-torch"])
def test_help_shows_the_flags_and_exits_0(capsys, command):
    with pytest.raises(SystemExit) as stop:
        run_script(command, ["--help"])
    assert stop.value.code in (0, None)
    out = capsys.readouterr().out
    assert "usage:" in out
    assert "--json" in out


def test_mqc_lists_its_commands_and_knows_the_originals_names(capsys, daily):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert main([]) == 2
    capsys.readouterr()
    assert main(["evalute"]) == failed(capsys, 2, "did you mean evaluate?")
    assert main(["generate", "--num_generate", "3"]) == 0
    assert main(["data", "--help"]) == 0
    with pytest.raises(SystemExit):
        main(["data", "prepare", "--help"])


def test_flags_take_underscores_and_hyphens(daily, capsys):
    assert run_script("sample", ["--num-generate", "4", "--num_samples", "2", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert [len(sample) for sample in json.loads(captured.out)["samples"]] == [4, 4]
    assert "sample 1" in captured.err, "with --json - the words go to the standard error"


def test_the_seeds_sampling_commands_work_as_typed(daily, capsys):
    assert (
        run_script("sample", ["--checkpoint", "runs/daily", "--seed_tokens", "80 81 83 89 66", "--num_generate", "100"])
        == 0
    )
    assert (
        run_script("sample", ["--temperature", "0.8", "--top_k", "50", "--num_samples", "5", "--json", "s.json"]) == 0
    )
    samples = read_json("s.json")["samples"]
    assert len({tuple(sample) for sample in samples}) == 5
    assert (
        run_script("sample", ["--temperature", "0.8", "--top_k", "50", "--num_samples", "5", "--json", "t.json"]) == 0
    )
    assert read_json("s.json") == read_json("t.json"), "same seed, same samples"
    assert run_script("sample", ["--top_p", "0.5", "--temperature", "0", "--seed", "3"]) == 0


def test_evaluate_writes_what_it_prints(daily, capsys):
    assert run_script("evaluate", ["--checkpoint", "runs/daily", "--seq_len", "512", "--json", "report.json"]) == 0
    report, printed = read_json("report.json"), capsys.readouterr().out
    keys = ("nats_per_token", "unigram_nats_per_token", "adaptive_unigram_nats_per_token", "perplexity",
            "top1_accuracy", "top5_accuracy", "bits_gained_over_unigram")  # fmt: skip
    assert all(isinstance(report["test"][key], float) for key in keys)
    rows = {"gpt", "linear", "vol_regression", "vol_regression_range", "gjr_skew_t", "garch_t", "egarch_t", "ewma_t",
            "adaptive_unigram", "unconditional", "markov", "historical_250", "pool"}  # fmt: skip
    assert set(report["models"]) == rows
    for name, figures in report["models"].items():
        for key in ("nats", "bits_over_unconditional", "crps", "dm_vs_garch_t", "dm_vs_gjr_skew_t"):
            if key != f"dm_vs_{name}":
                assert isinstance(figures[key], float)
                assert figures[f"{key}_standard_error"] >= 0
        assert 0.5 < figures["coverage_90"] < 1
        assert isinstance(figures["var_1_exceedances"], int)
    assert "no edge over" in printed or "better than" in printed or "worse than" in printed
    assert "canaries: 7 of 7 silent" in printed
    page = Path("runs/daily/scoreboard/index.html").read_text()
    assert "<script" not in page
    assert all(canary["passed"] is not False for canary in report["canaries"])
    assert report["n_parameters"] == 3200
    assert report["train_seconds"] > 0
    for key in keys[:3]:
        assert f"{report['test'][key]:.4f}" in printed


def test_evaluate_scores_other_prices_with_the_runs_tokenizer(tmp_path, prices_csv, capsys):
    train = ["--config", "tiny", "--data", str(prices_csv), "--out", "run"]
    assert run_script("train", train) == 0
    assert run_script("evaluate", ["--checkpoint", "run", "--json", "a.json", "--no_scoreboard"]) == 0
    assert (
        run_script(
            "evaluate", ["--checkpoint", "run", "--data_file", str(prices_csv), "--json", "b.json", "--no_scoreboard"]
        )
        == 0
    )
    own, other = (read_json(f"{name}.json")["test"] for name in "ab")
    assert own == other
    capsys.readouterr()


def test_prices_that_end_before_the_runs_test_dates_are_refused(daily, prices_csv, capsys):
    assert run_script("evaluate", ["--data_file", str(prices_csv)]) == failed(capsys, 2, "train_end 2010-12-31")


def test_forecast_prints_bands_and_draws_them(daily, capsys):
    argv = ["--as_of", "2018-11-30", "--n_paths", "50", "--plot", "f.png", "--json", "f.json"]
    assert run_script("forecast", argv) == 0
    figures = read_json("f.json")
    assert figures["last_bar"] == "2018-11-30"
    assert figures["last_price"] == pytest.approx(2760.17)
    bands = [figures["price_quantiles_by_bar"][q] for q in ("0.025", "0.25", "0.5", "0.75", "0.975")]
    assert all(low < high for low, high in zip(bands[0], bands[4], strict=True))
    assert len(bands[0]) == 20
    assert Path("f.png").read_bytes()[:4] == b"\x89PNG"


def test_train_never_writes_over_a_run(capsys, prices_csv):
    argv = ["--config", "tiny", "--data", str(prices_csv), "--num_epochs", "1"]
    assert run_script("train", argv) == 0
    before = tree(Path("runs/tiny"))
    assert run_script("train", argv) == 0
    assert "this run goes to runs/tiny-2" in capsys.readouterr().out
    assert run_script("train", [*argv, "--out", "runs/tiny"]) == failed(capsys, 2, "runs/tiny exists", "--resume")
    assert tree(Path("runs/tiny")) == before


def test_a_run_directory_appears_whole_or_not_at_all(capsys, prices_csv, monkeypatch):
    def fails(*_):
        raise OSError(28, "No space left on device", "disk")

    argv = ["--config", "tiny", "--data", str(prices_csv), "--out", "r"]
    with monkeypatch.context() as patch:
        patch.setattr("mqc_jax.commands.train.write_run_head", fails)
        assert run_script("train", argv) == failed(capsys, 5, "no space left")
    assert not Path("r").exists()
    assert run_script("train", argv) == 0


def test_a_prepared_dataset_is_found_from_any_folder(capsys, prices_csv, tmp_path, monkeypatch):
    assert run_script("data.prepare", ["--data", str(prices_csv), "--out", "tokens"]) == 0
    assert run_script("train", ["--config", "tiny", "--data", "tokens", "--out", "r"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_script("evaluate", ["--checkpoint", "../r", "--no_scoreboard"]) == 0


def test_what_a_run_was_trained_on_is_what_its_config_says(prices_csv, capsys):
    assert run_script("data.prepare", ["--data", str(prices_csv), "--tokenizer", "quantile", "--out", "tokens"]) == 0
    assert run_script("train", ["--config", "tiny", "--data", "tokens", "--out", "r"]) == 0
    data, manifest = read_json("r/config.json")["data"], read_json("r/manifest.json")
    assert data["tokenizer"] == "quantile"
    assert {name: data[name] for name in ("train_end", "validation_end")} == manifest["splits"]
    capsys.readouterr()
    argv = ["--config", "tiny", "--data", "tokens", "--train_end", "2000-06-01"]
    assert run_script("train", argv) == failed(capsys, 2, "was made with train_end", "prepare it again")
    assert run_script("train", ["--config", "tiny", "--data", "r"]) == failed(capsys, 2, "r is a run, not data")


def test_paths_with_brackets_are_only_text(capsys, prices_csv):
    assert run_script("train", ["--config", "tiny", "--data", str(prices_csv), "--out", "r[/y]"]) == 0
    assert "r[/y]: 3,200 parameters" in capsys.readouterr().out


def test_a_forecast_of_the_years_it_was_fitted_on_says_so(daily, capsys):
    assert run_script("forecast", ["--as_of", "2005-06-01", "--n_paths", "5", "--json", "f.json"]) == 0
    assert "this is no test of it" in capsys.readouterr().out
    assert read_json("f.json")["in_sample"] is True
    assert run_script("forecast", ["--as_of", "2015-06-01", "--n_paths", "5", "--json", "f.json"]) == 0
    assert read_json("f.json")["in_sample"] is False


def test_resume_keeps_the_runs_own_configuration(capsys, prices_csv):
    argv = ["--config", "tiny", "--data", str(prices_csv), "--n_layer", "2", "--out", "r"]
    assert run_script("train", argv) == 0
    assert run_script("train", ["--resume", "--out", "r"]) == 0
    assert run_script("train", ["--resume", "--out", "r", "--n_layer", "3"]) == failed(capsys, 2, "leave out --n_layer")


def test_prepared_datasets_train_and_damage_exits_3(capsys, prices_csv, tmp_path):
    assert run_script("data.prepare", ["--data", str(prices_csv), "--out", "tokens"]) == 0
    assert run_script("data.prepare", ["--data", str(prices_csv), "--out", "tokens"]) == failed(capsys, 2, "exists")
    assert run_script("train", ["--config", "tiny", "--data", "tokens", "--out", "r"]) == 0
    assert not (tmp_path / "r" / "dataset").exists()
    assert run_script("evaluate", ["--checkpoint", "r", "--no_scoreboard"]) == 0
    capsys.readouterr()
    data = bytearray((tmp_path / "tokens" / "tokens.npy").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tokens" / "tokens.npy").write_bytes(bytes(data))
    assert run_script("evaluate", ["--checkpoint", "r"]) == failed(capsys, 3, "tokens.npy", "prepare the dataset again")
    assert run_script("train", ["--config", "tiny", "--data", "tokens", "--out", "s"]) == failed(
        capsys, 3, "tokens.npy"
    )
    assert not (tmp_path / "s").exists()


def test_the_seeds_token_file_trains_and_is_scored(capsys, tmp_path):
    (tmp_path / "all_tokens.txt").write_text(" ".join(str(i * i % 128) for i in range(3000)))
    assert run_script("train", ["--config", "tiny", "--data", "all_tokens.txt", "--out", "r"]) == 0
    assert "inputs and ordinal are off" in capsys.readouterr().out
    assert run_script("evaluate", ["--checkpoint", "r", "--json", "e.json", "--no_scoreboard"]) == 0
    assert read_json("e.json")["test"]["nats_per_token"] > 0
    assert run_script("sample", ["--checkpoint", "r", "--num_generate", "5"]) == 0
    capsys.readouterr()
    assert run_script("forecast", ["--checkpoint", "r"]) == failed(capsys, 2, "bare token ids")
    (tmp_path / "all_tokens.txt").write_text("1 2 3 500 " * 100)
    assert run_script("train", ["--config", "tiny", "--data", "all_tokens.txt"]) == failed(
        capsys, 2, "--vocab_size 501"
    )


def test_a_run_whose_checkpoint_is_damaged_exits_3(capsys, daily):
    for path in (daily / "checkpoints").rglob("*"):
        if path.is_file() and "model" in str(path) and path.stat().st_size > 300:
            path.write_bytes(path.read_bytes()[:100])
    assert run_script("evaluate", []) == failed(capsys, 3, "runs/daily/checkpoints")
    shutil.rmtree(daily / "checkpoints")
    assert run_script("evaluate", []) == failed(capsys, 3, "no checkpoint was finished")


def test_a_full_disk_exits_5(capsys, daily, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("mqc_jax.flags._write_json", full)
    assert run_script("sample", ["--json", "s.json"]) == failed(capsys, 5, "somewhere: no space left")


def test_too_large_a_batch_exits_5(capsys, monkeypatch, prices_csv):
    def exhausted(*_, **__):
        return jnp.zeros((10**14,))  # JAX refuses in its own words

    monkeypatch.setattr("mqc_jax.training.loop.take_steps", exhausted)
    argv = ["--config", "tiny", "--data", str(prices_csv)]
    assert run_script("train", argv) == failed(
        capsys, 5, "--accumulate 2, for steps on the same windows, or with --batch_size 32"
    )


def test_a_diverging_run_exits_4(capsys, prices_csv):
    argv = ["--config", "tiny", "--data", str(prices_csv), "--learning_rate", "1e30", "--no-ordinal", "--out", "r"]
    assert run_script("train", [*argv, "--num_epochs", "50"]) == failed(capsys, 4, "--learning_rate")


def test_an_absent_device_is_refused(daily):
    for device in {"gpu", "tpu"} - {jax.default_backend()}:
        command = [sys.executable, str(ROOT / "sample.py"), "--device", device]
        done = subprocess.run(command, capture_output=True, text=True, cwd=daily.parents[1])
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: --device {device}: no such device here")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("moment", ["importlib.import_module", "mqc_jax.flags.run_command"])
def test_ctrl_c_is_one_line_whenever_it_comes(capsys, monkeypatch, moment):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(moment, interrupted)
    assert main(["sample"]) == failed(capsys, 130, "interrupted; what was saved before is intact")


def test_the_readme_names_every_exit_code():
    (listed,) = re.findall(r"and an exit code: (.*?)\.\n\n", (ROOT / "README.md").read_text(), re.DOTALL)
    named = {int(code) for code in re.findall(r"(?:^|[,\s])(\d+) ", listed)}
    errors = {BadInput, DamagedData, NumericFailure, OutOfResources, Stopped}
    assert named == {error.exit_code for error in errors} | {130}
