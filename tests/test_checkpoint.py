"""A checkpoint is whole or it is none: damage is noticed, set aside, and never costs the good ones."""

import errno
import json
import math
import re
import shutil
import sys
import threading
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline import BadInput, DamagedData
from data_pipeline.errors import NumericFailure, OutOfResources
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.checkpoint import checkpoints as implementation
from mqc_jax.checkpoint.differences import differences, in_words

ABOUT = {"model": {"n_embd": 16, "n_layer": 1}, "tokenizer": {"edges": [-0.1, 0.1]}}


def state(step):
    """A model and an optimizer that tell which step they are of."""
    model = {"w": jnp.full((3, 2), step, jnp.float32), "b": jnp.full(4, step, jnp.bfloat16)}
    return model, (jnp.int32(step), {"mu": jnp.full((3, 2), -step, jnp.float32)})


def write(directory, losses):
    with Checkpoints(directory, about=ABOUT) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, *state(step), {"step": step}, loss)


def restored(directory, step=None, **options):
    """What training would go on from, and the lines it would print; fails unless it is the state that was saved."""
    lines = []
    with Checkpoints(directory, say=lines.append, **options) as checkpoints:
        step = checkpoints.latest if step is None else step
        model, optimizer, progress = checkpoints.restore(step, *state(0))
        same(model, state(step)[0])
        same(optimizer, state(step)[1])
        assert progress == {"step": step}
        return checkpoints.latest, checkpoints.best, lines


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert [leaf.dtype for leaf in jax.tree.leaves(a)] == [leaf.dtype for leaf in jax.tree.leaves(b)]


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def snapshot(directory):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in directory.rglob("*")}


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Steps 10 (the best), 20 and 30."""
    directory = tmp_path_factory.mktemp("three") / "checkpoints"
    write(directory, {10: 1.0, 20: 3.0, 30: 2.0})
    return directory


@pytest.fixture
def steps(three, tmp_path):
    return Path(shutil.copytree(three, tmp_path / "checkpoints"))


def test_what_was_saved_comes_back(three):
    assert restored(three, about=ABOUT) == (30, 10, [])
    assert restored(three, 10, read_only=True) == (30, 10, [])


def test_the_latest_two_and_the_best_are_kept(tmp_path):
    write(tmp_path / "c", {1: 3.0, 2: 1.0, 3: 2.0, 4: None, 5: 2.0, 6: 2.5})
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["2", "5", "6"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_a_loss_that_is_no_number_never_costs_the_best(tmp_path, bad):
    write(tmp_path / "c", {1: bad, 2: 1.0, 3: bad, 4: 3.0, 5: bad})
    assert restored(tmp_path / "c") == (5, 2, [])
    write(tmp_path / "d", {1: bad, 2: bad})
    assert restored(tmp_path / "d") == (2, 2, [])


def test_the_first_step_may_be_number_0_and_the_best(tmp_path):
    write(tmp_path / "c", {0: 1.0, 1: 2.0})
    assert restored(tmp_path / "c") == (1, 0, [])


def test_every_flipped_bit_is_noticed_and_training_falls_back(three, tmp_path):
    """One in each file of the newest step, and as many again anywhere in it."""
    rng = np.random.default_rng(0)
    names = [path.relative_to(three) for path in files(three / "30")]
    assert len(names) > 20
    for i, name in enumerate([*names, *rng.choice(np.array(names), 50)]):
        directory = Path(shutil.copytree(three, tmp_path / str(i)))
        bit = int(rng.integers(8 * (three / name).stat().st_size))
        flip(directory / name, bit)
        latest, best, lines = restored(directory)
        assert (latest, best, len(lines)) == (20, 10, 1), f"bit {bit} of {name}"
        assert lines[0].startswith(f"{directory / '30'} is damaged (")
        assert name.relative_to("30").as_posix() in lines[0]
        assert lines[0].endswith(f"moved to {directory / 'quarantine' / '30'}")
        assert (directory / "quarantine" / name).is_file()
        assert restored(directory) == (20, 10, [])
        shutil.rmtree(directory)


def truncate(step):
    path = max(files(step / "model"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1])


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def halve(step):
    for path in files(step)[::2]:
        path.unlink()


def another(step):
    shutil.rmtree(step)
    shutil.copytree(step.parent / "20", step)


def a_file(step):
    shutil.rmtree(step)
    step.write_text("")


DAMAGE = {
    "truncated": (truncate, r"bytes of"),
    "a file deleted": (lambda step: files(step / "optimizer")[0].unlink(), "cannot be read"),
    "half deleted": (halve, "cannot be read|no seal"),
    "unsealed": (lambda step: (step / "seal.json").unlink(), "it has no seal"),
    "an empty seal": (lambda step: (step / "seal.json").write_text(""), "seal.json is not what was written"),
    "a forged seal": (lambda step: (step / "seal.json").write_text("[]"), "seal.json is not what was written"),
    "an empty directory": (empty, "it has no seal"),
    "a file in its place": (a_file, "it has no seal"),
    "a copy of another step": (another, "it was saved as step 20"),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_newest_step_is_set_aside_and_named(steps, damage, why):
    damage(steps / "30")
    latest, best, lines = restored(steps)
    assert (latest, best, len(lines)) == (20, 10, 1)
    assert re.search(why, lines[0])


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_best_step_gives_way_to_the_next_best(steps, damage, why):
    damage(steps / "10")
    latest, best, lines = restored(steps)
    assert (latest, best, len(lines)) == (30, 30, 1)


def test_the_newest_and_the_best_are_read_before_they_count_however_many_are_rotten(steps):
    for step in ("10", "30"):
        flip(files(steps / step / "model")[0], 3)
    latest, best, lines = restored(steps)
    assert (latest, best, len(lines)) == (20, 20, 2)


def test_a_step_between_them_that_lost_bytes_does_not_stay_to_be_fallen_back_on(steps):
    truncate(steps / "20")
    latest, best, lines = restored(steps)
    assert (latest, best, len(lines)) == (30, 10, 1)
    assert (steps / "quarantine" / "20").is_dir()


def test_nothing_in_quarantine_is_ever_overwritten(steps, three):
    for name in ("30", "30-2", "30-3"):
        flip(files(steps / "30" / "model")[0], 3)
        restored(steps)
        assert (steps / "quarantine" / name / "model").is_dir()
        shutil.copytree(three / "30", steps / "30")


def test_when_no_step_is_good_nothing_is_touched_and_training_never_starts_again(steps):
    for path in steps.iterdir():
        flip(files(path / "model")[0], 3)
    before = snapshot(steps)
    for _ in range(2):
        with pytest.raises(
            DamagedData, match=r"none of 3 checkpoints is good \(step 30: model/.*; bring one back"
        ) as e:
            Checkpoints(steps)
        assert e.value.exit_code == 3
    assert snapshot(steps) == before


def test_a_run_that_was_killed_before_its_first_save_starts_at_the_beginning(tmp_path, three):
    shutil.copytree(three / "30", tmp_path / "c" / "partial" / "30")
    for read_only in (True, False):
        with Checkpoints(tmp_path / "c", read_only=read_only) as checkpoints:
            assert (checkpoints.latest, checkpoints.best) == (None, None)
            assert (tmp_path / "c" / "partial").exists() == read_only


def test_what_is_no_step_is_left_alone(steps):
    for name in ("notes", "40.bak", "-1", "007", "²"):
        (steps / name).mkdir()
        (steps / name / "mine").write_text("mine")
    (steps / "20" / ".DS_Store").write_text("")
    write(steps, {40: 5.0})
    assert restored(steps) == (40, 10, [])
    assert all((steps / name / "mine").read_text() == "mine" for name in ("notes", "40.bak", "-1", "007", "²"))


def test_reading_touches_nothing_and_passes_over_what_has_no_seal(steps):
    (steps / "30" / "seal.json").unlink()
    shutil.copytree(steps / "30", steps / "partial" / "40")
    before = snapshot(steps)
    assert restored(steps, 10, read_only=True) == (20, 10, [])
    assert snapshot(steps) == before


def test_reading_a_rotten_step_is_refused(steps):
    flip(files(steps / "10" / "model")[0], 3)
    before = snapshot(steps)
    message = r"10 is damaged \(model/.* is not what was written\); --resume sets it aside"
    with Checkpoints(steps, read_only=True) as checkpoints, pytest.raises(DamagedData, match=message):
        checkpoints.restore_model(checkpoints.best, state(0)[0])
    assert snapshot(steps) == before


def test_a_save_copies_at_once_and_counts_when_it_is_durable(tmp_path, monkeypatch):
    go, real = threading.Event(), implementation.write_seal

    def waits(*args):
        go.wait(60)
        return real(*args)

    monkeypatch.setattr(implementation, "write_seal", waits)
    with Checkpoints(tmp_path / "c") as checkpoints:
        model, progress = {"w": np.ones(3, np.float32)}, {"losses": [1.0]}
        checkpoints.save(1, model, model, progress)
        model["w"][:] = 7  # as a training step does with the memory it was given
        progress["losses"].append(2.0)
        assert checkpoints.latest is None
        with Checkpoints(tmp_path / "c", read_only=True) as reader:
            assert reader.latest is None
        go.set()
        assert checkpoints.wait() == checkpoints.latest == 1
        found, _, read = checkpoints.restore(1, model, model)
        np.testing.assert_array_equal(found["w"], 1)
        assert read == {"losses": [1.0]}


def test_leaving_waits_for_the_save_under_way(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, *state(1), {"step": 1})
    assert restored(tmp_path / "c") == (1, 1, [])


@pytest.mark.parametrize("place", ["write_trees", "write_seal", "sync", "move"])
def test_a_save_that_fails_in_the_background_is_reported_once_and_costs_nothing(steps, monkeypatch, place):
    real, full = getattr(implementation, place), OSError(28, "No space left on device")

    def fails(*args):
        if place != "write_trees":
            raise full
        args[0].mkdir()
        (args[0] / "half").write_text("half")
        raise full

    with Checkpoints(steps, about=ABOUT) as checkpoints:
        monkeypatch.setattr(implementation, place, fails)
        checkpoints.save(40, *state(40), {"step": 40}, 0.5)
        with pytest.raises(
            OutOfResources, match=r"step 40 could not be saved, the ones before it are intact.*No space"
        ):
            checkpoints.save(50, *state(50), {"step": 50})
        assert sorted(path.name for path in steps.iterdir()) == ["10", "20", "30"]
        assert (checkpoints.wait(), checkpoints.best) == (30, 10)
        monkeypatch.setattr(implementation, place, real)
        checkpoints.save(50, *state(50), {"step": 50})
    assert restored(steps) == (50, 10, [])


@pytest.mark.parametrize(
    "error, kind, says",
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), OutOfResources, "free disk space .*quota"),
        (ValueError("RESOURCE_EXHAUSTED: Failed [os_error_code='28']"), OutOfResources, "free disk space .*No space"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), BadInput, "mend that .*Permission denied: 'x'"),
        (ValueError("PERMISSION_DENIED: Failed [os_error_code='13']"), BadInput, r"mend that .*\(Permission denied\)"),
        (ValueError("no such handler"), BadInput, "mend that .*no such handler"),
    ],
)
def test_only_a_full_disk_is_told_as_one(steps, monkeypatch, error, kind, says):
    def fails(*_):
        raise error

    hook, filters = sys.unraisablehook, list(warnings.filters)
    with Checkpoints(steps, about=ABOUT) as checkpoints:
        monkeypatch.setattr(implementation, "write_trees", fails)
        checkpoints.save(40, *state(40), {"step": 40})
        with pytest.raises(kind, match=f"step 40 could not be saved.*; {says}"):
            checkpoints.wait()
    assert (sys.unraisablehook, warnings.filters) == (hook, filters)


def test_a_failed_save_is_raised_on_leaving_unless_something_else_is(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(implementation, "write_trees", full)
    with pytest.raises(OutOfResources), Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, *state(1))
    with pytest.raises(NumericFailure), Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, *state(1))
        raise NumericFailure("loss nan")


def test_a_step_saved_again_replaces_the_first(steps):
    with Checkpoints(steps) as checkpoints:
        checkpoints.save(30, *state(31), {"step": 31}, 0.5)
        checkpoints.wait()
        same(checkpoints.restore_model(30, state(0)[0]), state(31)[0])
        assert checkpoints.best == 30


def test_a_model_alone_can_be_saved_and_does_not_pass_for_training(tmp_path):
    model, optimizer = state(1)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(0, model)
        checkpoints.wait()
        same(checkpoints.restore_model(0, model), model)
        with pytest.raises(DamagedData, match=r"optimizer\[0\] is absent there, int32\[\] here"):
            checkpoints.restore(0, model, optimizer)


def test_arrays_of_another_shape_type_or_name_are_refused_by_name(three):
    """Orbax alone would cast in silence."""
    model, _ = state(0)
    cases = {
        r"model\['w'\] is float32\[3, 2\] there, float16\[3, 2\] here": model | {"w": jnp.zeros((3, 2), jnp.float16)},
        r"model\['w'\] is float32\[3, 2\] there, float32\[2, 3\] here": model | {"w": jnp.zeros((2, 3))},
        r"model\['x'\] is absent there, float32\[1\] here": model | {"x": jnp.zeros(1)},
        r"model\['b'\] is bfloat16\[4\] there, absent here": {"w": model["w"]},
        "; and 2 more": {str(i): jnp.zeros(1) for i in range(3)},
    }
    with Checkpoints(three, read_only=True) as checkpoints:
        for message, like in cases.items():
            with pytest.raises(DamagedData, match=message):
                checkpoints.restore_model(30, like)


def test_a_step_is_restored_only_for_what_it_was_saved_with(three):
    other = json.loads(json.dumps(ABOUT))
    other["model"]["n_embd"] = 32
    other["tokenizer"]["edges"][1] = 0.2
    message = r"model\.n_embd is 16 there, 32 here; tokenizer\.edges\.1 is 0\.1 there, 0\.2 here; put back"
    with Checkpoints(three, about=other, read_only=True) as checkpoints, pytest.raises(BadInput, match=message):
        checkpoints.restore_model(30, state(0)[0])
    assert restored(three, about={"model": ABOUT["model"], "more": 1}) == (30, 10, [])


def test_differences_are_named_by_their_keys():
    assert differences({"a": 1, "b": [1, {"c": 2}], "d": {}}, {"b": [1, {"c": 3}, 4], "d": {"e": None}, "a": 1}) == {
        "b.1.c": (2, 3),
        "b.2": ("absent", 4),
        "d": ({}, "absent"),
        "d.e": ("absent", None),
    }
    assert differences({"a": [0.1, "x", None, True]}, {"a": [0.1, "x", None, True]}) == {}
    assert in_words(differences([1, 2, 3, 4, 5], [0, 0, 0, 0, 5])) == (
        "0 is 1 there, 0 here; 1 is 2 there, 0 here; 2 is 3 there, 0 here; and 1 more"
    )
