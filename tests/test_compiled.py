"""Compiled programs are kept for this user and this machine, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from mqc_jax import compiled
from mqc_jax.compiled import FOLDER, keep_compiled


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    yield tmp_path
    os.environ.pop(FOLDER, None)


def test_the_folder_is_private(home):
    keep_compiled()
    folder = os.environ[FOLDER]
    assert folder.startswith(str(home / "mqc-jax" / "compiled-"))
    assert os.stat(folder).st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_not_used(home):
    keep_compiled()
    os.chmod(os.environ.pop(FOLDER), 0o777)
    keep_compiled()
    assert FOLDER not in os.environ


def test_a_folder_that_cannot_be_made_is_no_error(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    keep_compiled()
    assert FOLDER not in os.environ


def test_a_folder_of_the_users_choice_stays(home, monkeypatch):
    monkeypatch.setenv(FOLDER, "/elsewhere")
    keep_compiled()
    assert os.environ[FOLDER] == "/elsewhere"
    assert not list(home.iterdir())


def test_what_was_not_read_for_longest_goes_first(home, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_BYTES", 250)
    keep_compiled()
    folder = Path(os.environ.pop(FOLDER))
    for day, name in enumerate(["oldest", "read since", "newest"], 1):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (day * 86400, day * 86400))
    os.utime(folder / "read since", (9 * 86400, 2 * 86400))
    keep_compiled()
    assert {path.name for path in folder.iterdir()} == {"read since", "newest"}


@pytest.mark.slow
def test_a_second_run_loads_what_the_first_compiled_and_says_nothing(home):
    command = [sys.executable, str(ROOT / "train.py"), "--config", "tiny", "--num_epochs", "1", "--data"]
    command += ["synthetic:garch?symbols=2&bars=600", "--out"]
    seen = []
    for name in ("a", "b"):
        done = subprocess.run([*command, name], cwd=home, capture_output=True, text=True, check=True)
        assert not done.stderr
        seen.append({path.name for path in home.glob("mqc-jax/compiled-*/jit_take_steps*")})
    assert seen[0]
    assert seen[0] == seen[1]
