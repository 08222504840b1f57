"""Real processes, real signals."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from benchmarks.fingerprint import fingerprint

pytestmark = pytest.mark.slow
TRAIN = ["--config", "tiny", "--num_epochs", "30", "--batch_size", "16", "--data", "synthetic:garch?symbols=2&bars=600"]


def start(cwd, *argv):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(cwd, *argv):
    process = start(cwd, *argv)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return out


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    place = tmp_path_factory.mktemp("unbroken")
    finish(place, *TRAIN, "--out", "r")
    return fingerprint(place / "r")


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} never came: {process.stderr.read()}")


def test_signals_save_say_how_to_resume_and_with_a_kill_lose_nothing(tmp_path, unbroken):
    command = TRAIN
    for epoch, number in ((2, signal.SIGINT), (4, signal.SIGTERM)):
        process = start(tmp_path, *command, "--out", "r")
        wait_for(process, f"epoch {epoch:2}/30")
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 143
        assert "python train.py --resume --out r" in err
        assert err.count("\n") == 1
        command = ["--resume"]
    process = start(tmp_path, "--resume", "--out", "r")
    wait_for(process, "epoch")
    process.kill()
    process.wait()
    assert "r: going on from step" in finish(tmp_path, "--resume", "--out", "r")
    assert fingerprint(tmp_path / "r") == unbroken


ENDLESS = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import jax
from mqc_jax.cli import run_script
from mqc_jax.training import loop
def validate(*args, **kwargs):  # the main thread is with the device, and hears nothing
    print("validating", flush=True)
    jax.block_until_ready(jax.jit(lambda: jax.lax.while_loop(lambda n: n >= 0, lambda n: n // 2, 1))())
loop.validation_loss = validate
sys.exit(run_script("train", sys.argv[1:]))
"""


def test_a_second_signal_ends_at_once_however_long_a_validation_takes(tmp_path):
    command = [sys.executable, "-c", ENDLESS, str(ROOT), *TRAIN, "--out", "r"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, "validating")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "error: interrupted; what was saved before is intact\n")


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, sys.argv.pop(1))
from mqc_jax import checkpoint
from mqc_jax.cli import run_script
real = checkpoint.Checkpoints.save
def save(self, step, *args):  # the disk fills up during the third save
    self.wait()
    if len(list(self.directory.glob("[0-9]*"))) == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    return real(self, step, *args)
checkpoint.Checkpoints.save = save
sys.exit(run_script("train", sys.argv[1:]))
"""


def test_a_full_disk_while_saving_exits_5_and_keeps_what_was_saved(tmp_path, unbroken):
    command = [sys.executable, "-c", LIMITED, str(ROOT), *TRAIN, "--out", "r"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "could not be saved" in done.stderr
    assert not list((tmp_path / "r" / "checkpoints").glob("*tmp*"))
    finish(tmp_path, "--resume", "--out", "r")
    assert fingerprint(tmp_path / "r") == unbroken


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


def flip_a_bit(step):
    path = max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_killed_inside_a_save_and_then_damaged_comes_to_the_same_end(tmp_path, unbroken):
    steps = tmp_path / "r" / "checkpoints"
    command = [sys.executable, "-c", KILLED, str(ROOT), *TRAIN, "--out", "r"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == -signal.SIGKILL
    older, newest = sorted(int(path.name) for path in steps.glob("[0-9]*"))
    flip_a_bit(steps / str(newest))
    out = finish(tmp_path, "--resume", "--out", "r")
    assert out.count("is damaged") == 1
    assert f"r: going on from step {older}" in out
    assert fingerprint(tmp_path / "r") == unbroken
    for path in steps.glob("[0-9]*"):
        flip_a_bit(path)
    refused = start(tmp_path, "--resume", "--out", "r")
    _, err = refused.communicate(timeout=120)
    assert (refused.returncode, err.count("\n")) == (3, 1), err
    assert "checkpoints is good" in err
