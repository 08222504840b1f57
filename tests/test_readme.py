"""The README on the bundled prices, as a reader would type it, in a clean copy of the repository."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from pages import blocks, type_all

pytestmark = pytest.mark.slow


def test_the_readme_names_the_commands_users_need():
    text = "\n".join(command for block in blocks("README.md") for command in block)
    for command in ("make demo", "train.py", "evaluate.py", "sample.py", "mqc forecast", "mqc data prepare"):
        assert command in text


def test_every_readme_command_works_as_typed(clone):
    place, environment = clone
    demo, and_then, *_ = blocks("README.md")  # the others are in test_own_data.py
    type_all(demo + and_then, place, environment)
    report = json.loads((place / "runs/daily/report.json").read_text())
    test = report["test"]
    assert test["nats_per_token"] < test["adaptive_unigram_nats_per_token"] < test["unigram_nats_per_token"]
    assert test["nats_per_token"] < test["token_histogram_nats_per_token"]
    assert test["bits_gained_over_unigram"] > 0.15
    assert {"perplexity", "top1_accuracy", "top5_accuracy"} <= set(test)
    assert report["n_parameters"] < 100_000
    assert report["train_seconds"] > 0
    assert (place / "runs/daily/forecast.png").stat().st_size > 20_000


def test_the_readmes_python_runs(clone):
    place, environment = clone
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert -0.5 < float(done.stdout.rsplit(":", 1)[1]) < 0


def test_the_forecasting_pages_python_runs_and_draws_its_pictures(clone):
    place, environment = clone
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/forecasting.md").read_text(), re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("VaR") == 2
    for name in ("next_return.png", "risk.png"):
        assert (place / name).stat().st_size > 50_000


def test_make_demo_again_keeps_the_run(clone):
    place, environment = clone
    weights = sorted((place / "runs/daily/checkpoints").rglob("*"))
    before = [(path, path.stat().st_mtime_ns) for path in weights if path.is_file()]
    done = subprocess.run(["make", "demo"], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in before)
