from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as mqc_jax.compiled does, before JAX comes

import jax
import pytest
from helpers import dataset_of, garch_series

from data_pipeline import DataConfig, TokenDataset, prepare
from mqc_jax.cli import run_script

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file, then the slow tests: of several workers none is left with much when the others are done."""
    items.sort(key=lambda item: (item.path.name != "test_readme.py", item.get_closest_marker("slow") is None))


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs that several tests compile, here or in the processes they start, are compiled by the first."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="module", autouse=True)
def free_compiled() -> Iterator[None]:
    """A program that stays loaded holds memory maps, three for a tiny one, and Linux allows a process 65,530."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    return prepare(DataConfig("bundled"), tmp_path_factory.mktemp("bundled") / "dataset")


@pytest.fixture(scope="session")
def panel() -> TokenDataset:
    """Three synthetic assets of unlike length and history."""
    series = [
        garch_series(900, 1, "A"),
        garch_series(700, 2, "B", "2000-07-01"),
        garch_series(500, 3, "C", "2001-01-15"),
    ]
    return dataset_of(series)


@pytest.fixture(scope="session")
def prices_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean file of daily prices, as a user would bring it."""
    series = garch_series(900, 7)
    path = tmp_path_factory.mktemp("prices") / "ACME.csv"
    rows = [f"{str(t)[:10]},{close:.6f}" for t, close in zip(series.times, series.closes, strict=True)]
    path.write_text("Date,Close\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the preset `tiny` on the bundled prices."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert run_script("train", ["--config", "tiny", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, prices_csv: Path) -> tuple[Path, dict[str, str]]:
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
