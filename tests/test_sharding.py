"""Training on several devices: eight virtual ones in one process, and two real processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest
from conftest import ROOT
from helpers import TINY
from jax.sharding import PartitionSpec as P

from benchmarks.fingerprint import fingerprint
from data_pipeline.errors import BadInput
from mqc_jax.checkpoint import by_path
from mqc_jax.config import Config, TrainConfig
from mqc_jax.model import GPT
from mqc_jax.run import read_metrics
from mqc_jax.training import sharding
from mqc_jax.training.optimizer import make_optimizer
from mqc_jax.training.sharding import make_mesh, spec_of
from mqc_jax.training.step import first_state

CONFIG = Config(model=TINY, train=TrainConfig(average_decay=0.9))
TRAIN = ["--config", "tiny", "--num_epochs", "12", "--batch_size", "64"]


@pytest.fixture
def eight(monkeypatch):
    """As if there were eight devices: enough to refuse a mesh, not to make one."""
    fake = SimpleNamespace(device_count=lambda: 8, process_count=lambda: 1)
    monkeypatch.setattr(sharding, "jax", fake)


def wanting(**fields):
    model = {name: fields.pop(name) for name in ("n_embd", "n_head", "n_kv_head") if name in fields}
    return Config(replace(TINY, **model), train=TrainConfig(**fields))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"mesh": "data=-1,fsdp=3"}, "8 devices are no multiple of 3"),
        ({"mesh": "data=16"}, "16 devices are asked for, 8 are here"),
        ({"batch_size": 20}, "batch_size=20 cannot be shared by 8 devices; try --batch_size 24"),
        ({"batch_size": 24, "accumulate": 2}, "8 devices and 2 parts of each step; try --batch_size 32"),
        (
            {"mesh": "fsdp=8", "n_embd": 36, "n_head": 2},
            "n_embd=36 is no multiple of fsdp=8 .*; try fsdp=4",
        ),
        ({"mesh": "data=1,tensor=8"}, "n_head=4 is no multiple of tensor=8"),
        ({"mesh": "data=1,tensor=4"}, "n_kv_head=2 is no multiple of tensor=4 .*; try tensor=2"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(eight, fields, message):
    with pytest.raises(BadInput, match=message) as error:
        make_mesh(wanting(**fields))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mesh", ["", "data", "data=0", "data=-2", "model=2", "data=-1,fsdp=-1", "data=1.5"])
def test_a_mesh_that_means_nothing_is_refused(mesh):
    with pytest.raises(ValueError, match="write sizes of data, fsdp, tensor"):
        TrainConfig(mesh=mesh)


def test_axes_that_are_left_out_have_one_device_and_data_the_rest():
    assert TrainConfig().mesh_axes == {"data": -1, "fsdp": 1, "tensor": 1}
    assert TrainConfig(mesh="tensor=2").mesh_axes == {"data": -1, "fsdp": 1, "tensor": 2}
    assert TrainConfig(mesh=" fsdp = -1 ").mesh_axes == {"data": 1, "fsdp": -1, "tensor": 1}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_matrix_has_a_rule_and_its_moments_follow_it(optimizer):
    settings = replace(CONFIG.train, optimizer=optimizer)
    model = jax.eval_shape(lambda: GPT(CONFIG.model, jax.random.key(0)))
    state = jax.eval_shape(lambda model: first_state(model, settings, make_optimizer(settings, 10)), model)
    of_model = {path: spec_of(path, leaf.ndim) for path, leaf in by_path(model).items()}
    assert P() not in of_model.values()
    followed = set()
    for path, leaf in by_path(state).items():
        follows = [name for name in of_model if path.endswith(name)]
        assert spec_of(path, leaf.ndim) == (of_model[follows[0]] if follows and leaf.ndim else P()), path
        followed |= {path.removesuffix(name) for name in follows}
    assert len(followed) >= 4  # the model, its mean, and two moments


slow = pytest.mark.slow


def environment(devices):
    return {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}


def start(cwd, *argv, devices=1):
    command = [sys.executable, str(ROOT / "train.py"), *argv]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(devices), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def together(cwd, *argv):
    """Two processes of one device each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = ["--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--num_processes", "2", "--process_id"]
    return [start(cwd, *argv, *meet, str(k)) for k in range(2)]


EIGHT = """
import dataclasses, json, sys
import jax
from rich.console import Console
from configs import PRESETS
from data_pipeline import prepare
from mqc_jax.checkpoint import by_path
from mqc_jax.run import read_metrics, write_run_head
from mqc_jax.training import loop
from pathlib import Path

found, base = {}, PRESETS["tiny"]
model = dataclasses.replace(base.model, n_head=4, n_kv_head=2, dropout=0.1)
dataset = prepare(base.data, Path("dataset"), vocab_size=model.vocab_size, say=lambda line: None)
for mesh in ("data=1", "data=8", "fsdp=8,data=1", "tensor=2,data=2,fsdp=2"):
    train = dataclasses.replace(base.train, num_epochs=1, batch_size=16, mesh=mesh, average_decay=0.9)
    config, out = dataclasses.replace(base, model=model, train=train), Path(mesh)
    write_run_head(out, config, dataset.tokenizer, dataset.manifest)
    sittings = []
    class Kept(loop.Sitting):
        def run(self, *given, **named):
            sittings.append(self)
            super().run(*given, **named)
    real, loop.Sitting = loop.Sitting, Kept
    loop.train(config, dataset, out, resume=False, console=Console(quiet=True))
    loop.Sitting = real
    state = by_path(sittings[0].state)
    shards = {path: leaf.addressable_shards[0].data.shape for path, leaf in state.items()}
    shapes = {path: leaf.shape for path, leaf in state.items()}
    found[mesh] = {"metrics": read_metrics(out), "shards": shards, "shapes": shapes}
print(json.dumps(found))
"""
CUT = {  # how each axis of a parameter, of its moments and of its mean is divided, by mesh
    ".blocks.attention.query": (None, "fsdp", "tensor"),
    ".blocks.attention.out": (None, "tensor", "fsdp"),
    ".blocks.mlp.fc": (None, "fsdp", "tensor"),
    ".blocks.mlp.proj": (None, "tensor", "fsdp"),
    ".embed": (None, "fsdp"),
    ".head": ("fsdp", None),
}


@slow
def test_divided_in_any_way_it_has_the_losses_of_one_device(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", EIGHT], cwd=tmp_path, env=environment(8), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    alone = found["data=1"]["metrics"]
    for mesh, one in found.items():
        sizes = dict(part.split("=") for part in mesh.split(","))
        for line, same in zip(one["metrics"], alone, strict=True):
            for name in ("loss", "validation_loss", "grad_norm"):
                assert line[name] == pytest.approx(same[name], abs=1e-5), (mesh, name)
        for suffix, axes in CUT.items():
            paths = [path for path in one["shapes"] if path.endswith(suffix)]
            assert len(paths) == 4, paths  # model, two moments, mean
            for path in paths:
                expected = [n // int(sizes.get(a, 1)) for n, a in zip(one["shapes"][path], axes, strict=True)]
                assert one["shards"][path] == expected, (mesh, path)


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
    """A run of one process with two devices."""
    place = tmp_path_factory.mktemp("two_devices")
    process = start(place, *TRAIN, "--out", "r", devices=2)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return place / "r"


@slow
def test_two_processes_give_the_bits_of_two_devices_also_after_a_signal_to_one(tmp_path, two_devices):
    processes = together(tmp_path, *TRAIN, "--out", "r")
    for line in processes[0].stdout:
        if "epoch  1/12" in line:
            break
    processes[1].send_signal(signal.SIGTERM)
    ended = [process.communicate(timeout=300) for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [143, 143], ended
    assert "stopped and saved at step" in ended[0][1]
    processes = together(tmp_path, "--resume", "--out", "r")
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert "tokens/s" not in ended[1][0]  # the first one speaks
    assert len(read_metrics(tmp_path / "r")) == 12
    assert fingerprint(tmp_path / "r") == fingerprint(two_devices)


@slow
def test_a_run_that_is_there_ends_both_with_one_line(tmp_path):
    (tmp_path / "r").mkdir()
    processes = together(tmp_path, *TRAIN, "--out", "r")
    ended = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], ended
    assert ended == ["error: r exists; go on with it by --resume, or choose another --out\n"] * 2


@slow
def test_a_resume_on_other_devices_is_refused_unless_it_is_allowed(tmp_path, two_devices):
    shutil.copytree(two_devices, tmp_path / "r")
    refused = start(tmp_path, "--resume", "--out", "r")
    _, err = refused.communicate(timeout=300)
    assert (refused.returncode, err.count("\n")) == (2, 1), err
    assert "r: trained on 2 devices (data=2,fsdp=1,tensor=1) of cpu in float32, not 1 devices (data=1," in err
    assert "--allow_inexact" in err
    allowed = start(tmp_path, "--resume", "--allow_inexact", "--out", "r")
    out, err = allowed.communicate(timeout=300)
    assert allowed.returncode == 0, out + err
    assert "already finished" in out
