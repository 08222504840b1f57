"""Training learns, repeats itself, resumes as if never stopped, and stops before it does harm."""

import gc
import json
import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import train_step
from rich.console import Console

from configs import PRESETS
from data_pipeline import BadInput, DamagedData
from data_pipeline.errors import NumericFailure, Stopped
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.config import Config, TrainConfig
from mqc_jax.run import load_run, new_model, read_metrics, write_run_head
from mqc_jax.training import check_fit, loop, start, train
from mqc_jax.training.lock import only_writer
from mqc_jax.training.optimizer import make_optimizer
from mqc_jax.training.signals import StopRequest
from mqc_jax.training.step import Batch, cross_entropy, first_state
from mqc_jax.training.validate import predictions, validation_loss

QUIET = Console(quiet=True)
TINY = replace(
    PRESETS["tiny"],
    model=replace(PRESETS["tiny"].model, dropout=0.1),
    train=replace(PRESETS["tiny"].train, num_epochs=3, batch_size=16),
)
TIMES = ("seconds", "tokens_per_second")


def fit(config: Config, dataset, out, resume=False, profile=False):
    if not resume:
        write_run_head(out, config, dataset.tokenizer, dataset.manifest)
    return train(config, dataset, out, resume=resume, console=QUIET, profile=profile)


def weights(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_run(run).model)]


def everything(run, config, dataset):
    """All saved state of the newest checkpoint."""
    from mqc_jax.training.batches import steps_per_epoch

    model = new_model(config.model, dataset.tokenizer, dataset.manifest, jax.random.key(9))
    steps = steps_per_epoch(dataset, config.model.sequence_len, config.train.batch_size)
    with Checkpoints(run / "checkpoints") as checkpoints:
        optimizer = make_optimizer(config.train, steps).init(model)
        beside = model if config.train.average_decay else None, optimizer, jnp.int32(0)
        found = checkpoints.restore(checkpoints.latest, model, beside)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(found[:2])], checkpoints.latest, checkpoints.best


def timeless(run):
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(run)]


def test_training_learns_what_is_there_to_learn(panel, tmp_path):
    """A token that repeats with period 3 must be predicted almost surely."""
    tokens = np.tile(np.array([5, 60, 100], np.uint8), len(panel.tokens))[: len(panel.tokens)]
    easy = replace(panel, tokens=tokens)
    config = replace(TINY, train=replace(TINY.train, num_epochs=60, learning_rate=2e-2))
    config = replace(config, model=replace(config.model, ordinal=False, inputs=False, dropout=0.0))
    fit(config, easy, tmp_path / "r")
    assert validation_loss(load_run(tmp_path / "r").model, easy, "test") < 0.1


def test_same_seed_same_run_and_another_seed_another(panel, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(replace(TINY, train=replace(TINY.train, seed=seed)), panel, tmp_path / name)
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b") != timeless(tmp_path / "c")
    for a, b in zip(weights(tmp_path / "a"), weights(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stop_at", [3, 6, 7], ids=["mid-epoch", "epoch end", "after it"])
def test_a_resumed_run_equals_one_that_never_stopped(panel, tmp_path, monkeypatch, stop_at):
    config = replace(TINY, train=replace(TINY.train, average_decay=0.9 if stop_at == 3 else 0.0))
    fit(config, panel, tmp_path / "whole")
    real = loop.draw_windows

    def stopping(*args, steps, **kwargs):
        if steps[0] == stop_at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, steps=steps, **kwargs)

    monkeypatch.setattr(loop, "steps_per_dispatch", lambda _: 1)  # the whole one took many: the bits are the same
    monkeypatch.setattr(loop, "draw_windows", stopping)
    with pytest.raises(Stopped, match=f"saved at step {stop_at}; go on with"):
        fit(config, panel, tmp_path / "parts")
    monkeypatch.undo()
    fit(config, panel, tmp_path / "parts", resume=True)
    whole, parts = (everything(tmp_path / name, config, panel) for name in ("whole", "parts"))
    assert whole[1:] == parts[1:]
    for a, b in zip(whole[0], parts[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert timeless(tmp_path / "whole") == timeless(tmp_path / "parts")


def test_resuming_a_finished_run_changes_nothing(panel, tmp_path):
    first = fit(TINY, panel, tmp_path / "r")
    lines = read_metrics(tmp_path / "r")
    again = fit(TINY, panel, tmp_path / "r", resume=True)
    assert read_metrics(tmp_path / "r") == lines
    assert (again.steps, again.best_validation_loss) == (first.steps, first.best_validation_loss)


def test_the_best_and_the_latest_checkpoint_are_kept(panel, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 2.5, 2.7])
    monkeypatch.setattr(loop, "validation_loss", lambda *_, **__: next(losses))
    config = replace(TINY, train=replace(TINY.train, num_epochs=5))
    summary = fit(config, panel, tmp_path / "r")
    per_epoch = summary.steps // 5
    assert (summary.best_validation_loss, summary.best_epoch) == (1.0, 2)
    with Checkpoints(tmp_path / "r" / "checkpoints") as checkpoints:
        assert (checkpoints.best, checkpoints.latest) == (2 * per_epoch, 5 * per_epoch)


def test_a_nan_validation_loss_is_never_the_best(panel, tmp_path, monkeypatch):
    losses = iter([2.0, float("nan"), 3.0])
    monkeypatch.setattr(loop, "validation_loss", lambda *_, **__: next(losses))
    summary = fit(TINY, panel, tmp_path / "r")
    assert summary.best_epoch == 1
    assert [line["validation_loss"] for line in read_metrics(tmp_path / "r")] == [2.0, None, 3.0]
    with Checkpoints(tmp_path / "r" / "checkpoints") as checkpoints:
        assert checkpoints.best == summary.steps // 3


def test_early_stopping_waits_as_long_as_it_was_told(panel, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(loop, "validation_loss", lambda *_, **__: next(losses))
    config = replace(TINY, train=replace(TINY.train, num_epochs=9, patience=3))
    fit(config, panel, tmp_path / "r")
    assert len(read_metrics(tmp_path / "r")) == 5


@pytest.mark.parametrize(
    "at_once, batch_size, n_traced",
    [(1, 8, 5), (100, 8, 5), (100, 64, 1)],
    ids=["steps one by one", "many at once", "only one"],
)
def test_a_profile_shows_five_steps_or_an_epoch_and_no_compilation(
    panel, tmp_path, monkeypatch, at_once, batch_size, n_traced
):
    config = replace(TINY, train=replace(TINY.train, num_epochs=1, batch_size=batch_size))
    monkeypatch.setattr(loop, "steps_per_dispatch", lambda _: at_once)
    fit(config, panel, tmp_path / "plain")
    tracing, traced, compiled, real = [], [], [], loop.take_steps

    @contextmanager
    def tracer(place):
        compiled.append(real._cache_size())
        tracing.append(place)
        yield
        tracing.clear()
        compiled.append(real._cache_size())

    def counting(state, table, windows, first, n_steps, *given, **static):
        if tracing:
            traced.append(n_steps)
        return real(state, table, windows, first, n_steps, *given, **static)

    monkeypatch.setattr(loop, "take_steps", counting)
    monkeypatch.setattr(jax.profiler, "trace", tracer)
    jax.clear_caches()
    fit(config, panel, tmp_path / "r", profile=True)
    assert sum(traced) == n_traced
    assert compiled == [1, 1]
    assert timeless(tmp_path / "r") == timeless(tmp_path / "plain")


@pytest.fixture
def poisoned(panel, monkeypatch):
    """A dataset with a number that is none, and batch 8 alone sees it."""
    inputs = np.array(panel.market.inputs)
    bad = int(panel.rows("validation")[40])
    inputs[bad] = np.nan
    real = loop.draw_windows

    def drawing(*args, steps, **kwargs):
        windows = real(*args, steps=steps, **kwargs)
        if 8 in steps:
            windows.first[steps.index(8), 3] = bad - 5
        return windows

    monkeypatch.setattr(loop, "draw_windows", drawing)
    monkeypatch.setattr(loop, "validation_loss", lambda *_, **__: 1.0)
    return replace(panel, market=panel.market._replace(inputs=inputs))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(poisoned, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(loop, "steps_per_dispatch", lambda _: at_once)
    with pytest.raises(
        NumericFailure,
        match=r"loss nan.* at step 8 \(batch of seed 0, step 8\); the checkpoint of step 5 is intact; try another run",
    ):
        fit(TINY, poisoned, tmp_path / "r")
    assert all(np.isfinite(leaf).all() for leaf in everything(tmp_path / "r", TINY, poisoned)[0])


def test_a_step_that_is_not_finite_may_be_left_out(poisoned, tmp_path):
    config = replace(TINY, train=replace(TINY.train, skip_nonfinite=1))
    assert fit(config, poisoned, tmp_path / "r").steps == 15
    assert all(np.isfinite(leaf).all() for leaf in everything(tmp_path / "r", config, poisoned)[0])
    assert np.isfinite([line["loss"] for line in read_metrics(tmp_path / "r")]).all()


def test_steps_that_may_be_left_out_are_counted_over_the_whole_run(poisoned, tmp_path, monkeypatch):
    """The second one stops it, though the first was before the resume."""
    config = replace(TINY, train=replace(TINY.train, skip_nonfinite=1))
    drawing = loop.draw_windows

    def twice(*args, steps, **kwargs):
        windows = drawing(*args, steps=steps, **kwargs)
        if 14 in steps:
            windows.first[steps.index(14)] = drawing(*args, steps=[8], **kwargs).first
        return windows

    monkeypatch.setattr(loop, "draw_windows", twice)
    with pytest.raises(NumericFailure, match="at step 14"):
        fit(config, poisoned, tmp_path / "r")
    with pytest.raises(NumericFailure, match="at step 14"):
        fit(config, poisoned, tmp_path / "r", resume=True)


def test_a_metrics_line_cut_short_by_a_crash_does_not_block_the_run(panel, tmp_path):
    fit(TINY, panel, tmp_path / "r")
    metrics = tmp_path / "r" / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + '{"step": 99, "lo')
    assert len(read_metrics(tmp_path / "r")) == 3
    fit(TINY, panel, tmp_path / "r", resume=True)
    assert metrics.read_text() == whole
    metrics.write_text("{\n" + whole)
    with pytest.raises(DamagedData, match="line 1 is not JSON"):
        read_metrics(tmp_path / "r")


def test_a_first_signal_asks_and_the_handlers_before_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with StopRequest() as stop:
            assert not stop.agreed()
            os.kill(os.getpid(), number)
            assert stop.agreed()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_two_trainings_never_write_one_run(panel, tmp_path):
    write_run_head(tmp_path / "r", TINY, panel.tokenizer, panel.manifest)
    for _ in range(2):  # it is given back
        with only_writer(tmp_path / "r"), pytest.raises(BadInput, match="r: another training writes it; wait"):
            fit(TINY, panel, tmp_path / "r", resume=True)
    assert not (tmp_path / "r" / "checkpoints").exists()


@pytest.mark.parametrize(
    "backend, fields, says",
    [
        ("cpu", {}, "needs a GPU"),
        ("gpu", {}, "not float32 and heads of 8; try --dtype bfloat16"),
        ("gpu", {"dtype": "bfloat16", "n_head": 4, "n_kv_head": 4}, "not bfloat16 and heads of 4"),
    ],
)
def test_a_fused_kernel_that_cannot_be_had_is_refused_in_one_line(panel, monkeypatch, backend, fields, says):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(start, "is_ampere_or_newer", lambda: True)
    model = replace(TINY.model, attention="cudnn", **fields)
    with pytest.raises(BadInput, match=f"--attention cudnn .*{says}") as error:
        check_fit(replace(TINY, model=model), panel)
    assert "\n" not in str(error.value)
    check_fit(TINY, panel)


def test_a_resume_holds_one_state_at_a_time(panel, tmp_path, monkeypatch):
    wide = replace(TINY, model=replace(TINY.model, n_embd=72), train=replace(TINY.train, num_epochs=1))
    fit(wide, panel, tmp_path / "r")
    real, there = Checkpoints.restore, []

    def restore(self, *args):
        gc.collect()
        there.extend(array for array in jax.live_arrays() if 72 in array.shape)
        return real(self, *args)

    monkeypatch.setattr(Checkpoints, "restore", restore)
    fit(wide, panel, tmp_path / "r", resume=True)
    assert not there


def test_one_step_is_adamw_on_the_clipped_gradient(panel):
    """Against the textbook formulas, in NumPy."""
    import optax

    config = PRESETS["tiny"].model
    model = new_model(config, panel.tokenizer, panel.manifest, jax.random.key(0))
    rows = np.arange(200, 200 + 33)[None]
    batch = Batch(jnp.asarray(panel.tokens[rows], jnp.int32), jnp.asarray(panel.market.inputs[rows[:, :-1]]))
    gradient = jax.jit(jax.grad(lambda m: cross_entropy(m, batch).mean()))(model)
    norm = float(optax.tree.norm(gradient))
    train = TrainConfig(num_epochs=1000, learning_rate=0.1, weight_decay=0.5, max_grad_norm=1e-3)
    tx = make_optimizer(train, 1000)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(model)]
    state, metrics = train_step(first_state(model, train, tx), batch, jax.random.key(1), tx=tx, config=train)
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-5)
    for old, new, g in zip(before, jax.tree.leaves(state.model), jax.tree.leaves(gradient), strict=True):
        clipped = np.asarray(g) * min(1, 1e-3 / norm)
        # after one step the bias-corrected moments are the gradient and its square
        expected = old - 0.1 * (clipped / (np.abs(clipped) + 1e-8) + 0.5 * old)
        np.testing.assert_allclose(new, expected, rtol=2e-3, atol=2e-4)


def test_predictions_score_a_row_as_the_plain_forward_does(panel, tmp_path):
    fit(TINY, panel, tmp_path / "r")
    model = load_run(tmp_path / "r").model
    found = {
        row: p for rows, log_p in predictions(model, panel, "test", 32) for row, p in zip(rows, log_p, strict=True)
    }
    assert sorted(found) == list(panel.rows("test"))
    # windows of 32 end with blocks of 16 scored rows: row 40 is the 9th of its block, with 25 rows before it
    row = panel.rows("test")[40]
    context = np.arange(row - 25, row)
    tokens, inputs = jnp.asarray(panel.tokens[context], jnp.int32), jnp.asarray(panel.market.inputs[context])
    plain = jax.nn.log_softmax(model(tokens[None], inputs[None])[0, -1])
    np.testing.assert_allclose(found[row], plain, atol=1e-5)
    total = -np.mean([found[row][panel.tokens[row]] for row in found])
    assert validation_loss(model, panel, "test") == pytest.approx(total, abs=1e-5)


def test_a_run_loads_without_anything_but_its_directory(tiny_run):
    run = load_run(tiny_run)
    assert (run.config.model, run.config.train) == (PRESETS["tiny"].model, PRESETS["tiny"].train)
    assert run.tokenizer.vocab_size == 128
    assert run.manifest["splits"]["train_end"] == "2010-12-31"
    assert {path.name for path in tiny_run.iterdir()} == {
        "config.json", "tokenizer.json", "manifest.json", "metrics.jsonl", "checkpoints", "dataset", ".lock",
    }  # fmt: skip


def test_reading_a_run_touches_nothing_not_even_an_unfinished_checkpoint(tiny_run, tmp_path):
    """A run can be evaluated while it is being trained."""
    shutil.copytree(tiny_run, tmp_path / "r")
    unfinished = tmp_path / "r" / "checkpoints" / "99.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    (unfinished / "part").write_text("half a checkpoint")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")}
    load_run(tmp_path / "r")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")} == before


def test_a_run_whose_best_step_is_replaced_while_it_is_read_is_read_again(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "r")
    steps, asked = tmp_path / "r" / "checkpoints", []
    real = Checkpoints.restore_model

    def replaced_meanwhile(self, step, like):
        asked.append(step)
        if len(asked) == 1:
            (steps / str(step)).rename(steps / "partial")
        return real(self, step, like)

    monkeypatch.setattr(Checkpoints, "restore_model", replaced_meanwhile)
    load_run(tmp_path / "r")
    assert len(asked) == len(set(asked)) == 2


def test_what_is_no_run_is_said_to_be_none(tmp_path, tiny_run):
    with pytest.raises(BadInput, match="no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"no config\.json"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DamagedData, match="not readable JSON"):
        load_run(tmp_path)


def test_a_run_without_a_finished_checkpoint_says_so(panel, tmp_path):
    write_run_head(tmp_path / "r", TINY, panel.tokenizer, panel.manifest)
    with pytest.raises(DamagedData, match="no checkpoint was finished"):
        load_run(tmp_path / "r")


def test_a_checkpoint_of_another_configuration_is_refused(panel, tmp_path):
    fit(TINY, panel, tmp_path / "r")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    config["model"]["n_embd"] = 32
    (tmp_path / "r" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"other settings: model\.n_embd is 16 there, 32 here; put back"):
        load_run(tmp_path / "r")


def test_model_and_tokenizer_must_have_one_vocabulary(panel):
    with pytest.raises(BadInput, match="vocab_size=64, but the tokens have 128; set --vocab_size 128"):
        new_model(replace(TINY.model, vocab_size=64), panel.tokenizer, panel.manifest, jax.random.key(0))


def test_checkpoints_hold_no_pickle(tiny_run):
    for path in tiny_run.rglob("*"):
        if path.is_file():
            assert path.suffix not in {".pkl", ".pickle", ".pt"}
            assert not path.read_bytes()[:2].startswith(b"\x80\x04"), f"{path} looks pickled"
