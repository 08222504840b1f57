"""Every command of the README and of docs/data.md, run as a reader would type it, in a clean copy of the repository."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
NOT_HERE = ("git clone", "cd ", "make test", "source ")  # this test is part of `make test`


def commands(page: str = "README.md") -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", *NOT_HERE))]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, prices_csv) -> tuple[Path, dict[str, str]]:
    """The repository's files in a new folder, and a shell whose `python` is this one."""
    place = tmp_path_factory.mktemp("clone") / "mqc-jax"
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    # an environment the Makefile finds ready: the interpreter and the tools of the one that runs the tests
    venv = place / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():
        if part.name != "installed":
            (venv / part.name).symlink_to(part)
    (venv / "installed").touch()
    shutil.copy(prices_csv, place / "prices.csv")
    environment = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(place)}
    return place, environment


def test_the_readme_names_the_commands_users_need():
    text = "\n".join(commands())
    for command in ("make demo", "train.py", "evaluate.py", "sample.py", "mqc forecast", "mqc data prepare"):
        assert command in text


def save_original_checkpoint(path: Path) -> None:
    import torch

    from benchmarks.torch_gpt import GPTConfig, TorchGPT

    config = GPTConfig(n_layer=1, n_embd=64)
    torch.save({"model_state_dict": TorchGPT(config).state_dict(), "config": vars(config)}, path)


def test_every_readme_command_works_as_typed(clone):
    place, environment = clone
    with_torch = importlib.util.find_spec("torch") is not None
    if with_torch:
        save_original_checkpoint(place / "best_model.pt")
    for command in commands():
        if command.startswith("mqc import-torch") and not with_torch:
            continue  # needs the extra; CI installs it
        done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    report = json.loads((place / "runs/daily/report.json").read_text())
    test = report["test"]
    assert test["nats_per_token"] < test["adaptive_unigram_nats_per_token"] < test["unigram_nats_per_token"]
    assert test["nats_per_token"] < test["token_histogram_nats_per_token"]
    assert test["bits_gained_over_unigram"] > 0.15
    assert {"perplexity", "top1_accuracy", "top5_accuracy"} <= set(test)
    assert report["n_parameters"] < 100_000
    assert report["train_seconds"] > 0
    assert (place / "runs/daily/forecast.png").stat().st_size > 20_000


def test_from_my_csv_to_a_trained_model_in_five_commands(clone):
    place, environment = clone
    typed = commands("docs/data.md")
    assert len(typed) == 5
    for command in typed:
        done = subprocess.run(command, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    test = json.loads((place / "runs/prices/report.json").read_text())["test"]
    assert test["n_targets"] > 100
    assert test["nats_per_token"] < test["token_histogram_nats_per_token"] + 0.05
    for picture in ("findings.png", "tokens.png"):
        assert (place / picture).stat().st_size > 10_000


def test_the_readmes_python_runs(clone):
    place, environment = clone
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert -0.5 < float(done.stdout.rsplit(":", 1)[1]) < 0


def test_make_demo_again_keeps_the_run(clone):
    place, environment = clone
    weights = sorted((place / "runs/daily/checkpoints").rglob("*"))
    before = [(path, path.stat().st_mtime_ns) for path in weights if path.is_file()]
    done = subprocess.run(["make", "demo"], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in before)
