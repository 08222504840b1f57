"""A training that runs out of memory says what to try, and what it says can be typed."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest
from helpers import TINY

from mqc_jax.cli import run_script
from mqc_jax.config import Config, TrainConfig
from mqc_jax.training import loop, sharding
from mqc_jax.training.memory import less_at_once
from mqc_jax.training.sharding import make_mesh

SIZES = (1, 2, 3, 6, 8, 12, 24, 30, 32, 48, 96)
TINY_TRAINING = ["--config", "tiny", "--data", "synthetic:garch?symbols=1&bars=400"]


def windows_at_a_time(settings, n_devices):
    return settings.batch_size / (settings.accumulate * n_devices)


@pytest.mark.parametrize("n_devices", [1, 2, 3, 8])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
def test_what_is_proposed_is_accepted_and_takes_less(monkeypatch, n_devices, accumulate):
    devices = {"device_count": lambda: n_devices, "devices": lambda: [], "make_mesh": lambda *_, **__: None}
    monkeypatch.setattr(sharding, "jax", SimpleNamespace(process_count=lambda: 1, **devices))
    for batch_size in (size for size in SIZES if size % (accumulate * n_devices) == 0):
        settings = TrainConfig(batch_size=batch_size, accumulate=accumulate)
        make_mesh(Config(TINY, train=settings))
        proposed = less_at_once(settings, n_devices)
        assert bool(proposed) == (windows_at_a_time(settings, n_devices) > 1)
        for name, value in proposed.items():
            smaller = replace(settings, **{name: value})
            make_mesh(Config(TINY, train=smaller))
            assert windows_at_a_time(smaller, n_devices) < windows_at_a_time(settings, n_devices)


@pytest.mark.parametrize(
    "flags, advice",
    [
        (["--batch_size", "6"], "--accumulate 2, for steps on the same windows, or with --batch_size 3"),
        (
            ["--batch_size", "12", "--accumulate", "2"],
            "--accumulate 3, for steps on the same windows, or with --batch_size 6",
        ),
        (["--batch_size", "2", "--accumulate", "2"], "--remat all"),
        (["--batch_size", "1", "--remat", "all"], "a smaller network"),
    ],
)
def test_out_of_memory_is_one_line_with_what_to_try(tmp_path, monkeypatch, capsys, flags, advice):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.")

    monkeypatch.setattr(loop, "take_steps", full)
    assert run_script("train", [*TINY_TRAINING, *flags, "--out", str(tmp_path / "r")]) == 5
    size = flags[1]
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'r'}: out of memory in a step of {size} windows; train again with {advice}\n"
    )
