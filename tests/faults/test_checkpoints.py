"""Real processes that are killed inside a save, at each of the moments that differ."""

import multiprocessing
import os
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

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
    context.set_forkserver_preload(["pytest", "mqc_jax.cli", "mqc_jax.training", "benchmarks.fingerprint"])
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
