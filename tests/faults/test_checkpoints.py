"""Real processes that are killed inside a save, at each of the moments that differ."""

import multiprocessing
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from conftest import ROOT

from benchmarks.fingerprint import fingerprint
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.checkpoint import checkpoints as implementation

pytestmark = pytest.mark.slow
STEPS = 16


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, owner, name, *, before=None, after=None):
    """Replace a function: at that call something else happens before or after it."""
    real, calls = getattr(owner, name), []

    def replaced(*args, **kwargs):
        calls.append(name)
        if before and len(calls) == number:
            before()
        result = real(*args, **kwargs)
        if after and len(calls) == number:
            after()
        return result

    setattr(owner, name, replaced)


def die_while_deleting():
    at_call(3, os, "unlink", before=die)


MOMENTS = {
    "nothing written": (implementation, "write_trees", {"before": die}),
    "arrays written, Orbax has not renamed": (ocp.CompositeCheckpointHandler, "finalize", {"before": die}),
    "Orbax has renamed, not sealed": (implementation, "write_seal", {"before": die}),
    "sealed, not in place": (implementation, "move", {"before": die}),
    "in place, old ones not deleted": (implementation, "move", {"after": die}),
    "an old one half deleted": (Checkpoints, "_delete_old", {"before": die_while_deleting}),
}


def life(directory, moment, number):
    """Train from the newest step on, and die at a moment of the save of that number, if one is given."""
    if moment:
        owner, name, happens = MOMENTS[moment]
        at_call(number, owner, name, **happens)
    lines = []
    with Checkpoints(directory, say=lines.append) as checkpoints:
        first = {"w": np.arange(6, dtype=np.float32)}, {"mu": np.zeros(6, np.float32)}
        done = checkpoints.latest or 0
        model, optimizer = checkpoints.restore(done, *first)[:2] if done else first
        model, optimizer = jax.tree.map(np.asarray, (model, optimizer))
        for step in range(done, STEPS):
            optimizer = {"mu": np.float32(0.9) * optimizer["mu"] + np.sin(model["w"] + np.float32(step))}
            model = {"w": model["w"] - np.float32(0.1) * optimizer["mu"]}
            checkpoints.save(step + 1, model, optimizer, {"step": step + 1}, float(np.cos(2.0 * step)))
    assert not lines  # a kill is no damage


def live(directory, moment=None, number=1):
    """How the process of one `life` ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mqc_jax.checkpoint"])
    process = context.Process(target=life, args=(directory, moment, number))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = tmp_path_factory.mktemp("unbroken")
    assert live(run / "checkpoints") == 0
    return fingerprint(run)


def test_killed_in_the_first_save_it_starts_again(tmp_path, unbroken):
    for moment in MOMENTS:
        if "delete" not in moment:
            assert live(tmp_path / "checkpoints", moment) == -signal.SIGKILL
    assert live(tmp_path / "checkpoints") == 0
    assert fingerprint(tmp_path) == unbroken


def test_killed_in_one_save_after_the_other_it_comes_to_the_same_end(tmp_path, unbroken):
    """Every life saves once, and dies in its second save."""
    assert live(tmp_path / "checkpoints", "sealed, not in place", 4) == -signal.SIGKILL
    for moment in MOMENTS:
        assert live(tmp_path / "checkpoints", moment, 2) == -signal.SIGKILL, moment
    assert live(tmp_path / "checkpoints") == 0
    assert fingerprint(tmp_path) == unbroken
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


TRAIN = ["--config", "tiny", "--num_epochs", "4", "--batch_size", "64", "--out", "r"]
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
from mqc_jax.checkpoint import checkpoints
from mqc_jax.cli import run_script
real = checkpoints.write_seal
def write_seal(directory, note):
    if len(list(directory.parents[1].glob("[0-9]*"))) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(directory, note)
checkpoints.write_seal = write_seal
sys.exit(run_script("train", sys.argv[1:]))
"""


def python(cwd, *argv):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *argv], cwd=cwd, env=environment, capture_output=True, text=True)


def flip_a_bit(step):
    path = max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_killed_inside_a_save_and_then_damaged_comes_to_the_same_end(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert python(tmp_path / "whole", str(ROOT / "train.py"), *TRAIN).returncode == 0
    parts, steps = tmp_path / "parts", tmp_path / "parts" / "r" / "checkpoints"
    assert python(parts, "-c", KILLED, str(ROOT), *TRAIN).returncode == -signal.SIGKILL
    older, newest = sorted(int(path.name) for path in steps.glob("[0-9]*"))
    flip_a_bit(steps / str(newest))
    resumed = python(parts, str(ROOT / "train.py"), "--resume", "--out", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("is damaged") == 1
    assert f"r: going on from step {older}" in resumed.stdout
    assert fingerprint(parts / "r") == fingerprint(tmp_path / "whole" / "r")
    for path in steps.glob("[0-9]*"):
        flip_a_bit(path)
    refused = python(parts, str(ROOT / "train.py"), "--resume", "--out", "r")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1), refused.stderr
    assert "checkpoints is good" in refused.stderr
