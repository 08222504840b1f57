"""The training loop: steps, epochs, checkpoints, early stopping, resume."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput, NumericFailure, Stopped
from data_pipeline.storage import replace_file
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.config import Config
from mqc_jax.model import count_parameters
from mqc_jax.run import read_metrics, what_it_is
from mqc_jax.training.batches import steps_per_epoch, training_batch
from mqc_jax.training.optimizer import learning_rate, make_optimizer
from mqc_jax.training.progress import TrainingProgress, finite_or_none
from mqc_jax.training.signals import StopRequest
from mqc_jax.training.start import dropout_key, first_model, open_bases
from mqc_jax.training.step import TrainState, first_average, train_step
from mqc_jax.training.validate import validation_loss


class Summary(NamedTuple):
    """What a finished training came to."""

    n_parameters: int
    steps: int
    train_seconds: float  # wall time of all its sittings, compilation included
    best_validation_loss: float | None  # nats per token
    best_epoch: int


def train(config: Config, dataset: TokenDataset, out: Path, *, resume: bool, console: Console) -> Summary:
    """Fit a model to the training rows of `dataset` and keep it under `out`.

    The run directory's head (config, tokenizer, manifest) is already there. With `resume`, training goes on from the
    newest checkpoint, as if it had never stopped.

    Raises NumericFailure at a loss that is not finite, Stopped after a signal. `check_fit` says beforehand whether the
    data can train the configuration.
    """
    settings, length = config.train, config.model.sequence_len
    starts = dataset.window_starts(length)
    per_epoch = steps_per_epoch(dataset, length, settings.batch_size)
    total = settings.num_epochs * per_epoch
    tx, rate = make_optimizer(settings, per_epoch), learning_rate(settings, per_epoch)
    key = dropout_key(settings.seed)
    progress: dict[str, Any] = {"losses": [], "best": None, "best_epoch": 0, "seconds": 0.0, "finished": False}
    about = {"train": vars(settings), **what_it_is(config, dataset.tokenizer, dataset.manifest)}

    with Checkpoints(out / "checkpoints", about=about, say=console.print) as checkpoints, StopRequest() as stop:
        done = checkpoints.latest or 0 if resume else 0
        bases = [] if done else open_bases(config, dataset)
        model: Any = first_model(config, dataset, bases, settings.seed)
        state = TrainState(jnp.int32(0), model, tx.init(model), first_average(model, settings))
        if done:
            result, (last, optimizer), progress = checkpoints.restore(done, state.result, _beside_result(state))
            averaged = last is not None
            state = TrainState(jnp.int32(done), last if averaged else result, optimizer, result if averaged else None)
        if resume:
            how = "already finished at" if progress["finished"] else "going on from"
            console.print(f"{out}: {how} step {done} of at most {total}")
        _keep_metrics(out, done)
        started = time.perf_counter() - progress["seconds"]

        def save(validation: float | None = None) -> None:
            progress["seconds"] = time.perf_counter() - started
            checkpoints.save(done, state.result, _beside_result(state), progress, validation)

        with TrainingProgress(console, done, total) as display:
            epoch_started, tokens = time.perf_counter(), 0
            while done < total and not progress["finished"]:
                batch = training_batch(
                    dataset, starts, length, settings.batch_size,
                    seed=settings.seed, step=done, inputs=config.model.inputs,
                )  # fmt: skip
                state, metrics = train_step(state, batch, key, tx=tx, average_decay=settings.average_decay)
                loss, grad_norm = float(metrics["loss"]), float(metrics["grad_norm"])
                if not (np.isfinite(loss) and np.isfinite(grad_norm)):
                    last = checkpoints.wait()
                    kept = "nothing was saved yet" if last is None else f"the checkpoint of step {last} is intact"
                    raise NumericFailure(
                        f"{out}: loss {loss}, gradient norm {grad_norm} at step {done}; {kept}; try another run with "
                        f"--learning_rate {settings.learning_rate / 3:.1g} --out {out}-2"
                    )
                done += 1
                progress["losses"].append(loss)
                tokens += batch.tokens[:, 1:].size
                speed = tokens / (time.perf_counter() - epoch_started)
                display.step(done, loss, speed)
                if done % per_epoch == 0:
                    epoch, validation = done // per_epoch, finite_or_none(validation_loss(state.result, dataset))
                    better = validation is not None and (progress["best"] is None or validation < progress["best"])
                    if better:
                        progress.update(best=validation, best_epoch=epoch)
                    stale = settings.patience and epoch - progress["best_epoch"] >= settings.patience
                    line = {
                        "step": done,
                        "epoch": epoch,
                        "loss": float(np.mean(progress["losses"])),
                        "validation_loss": validation,
                        "learning_rate": float(rate(done - 1)),
                        "grad_norm": grad_norm,
                        "tokens_per_second": speed,
                        "seconds": time.perf_counter() - started,
                    }
                    progress.update(losses=[], finished=bool(stale) or done == total)
                    _append_metrics(out, line)
                    save(validation)
                    display.epoch(line, settings.num_epochs, better)
                    epoch_started, tokens = time.perf_counter(), 0
                if stop.requested and not progress["finished"]:
                    if done % per_epoch:
                        save()
                    checkpoints.wait()
                    raise Stopped(f"stopped and saved at step {done}; go on with: python train.py --resume --out {out}")
    return Summary(count_parameters(model), done, progress["seconds"], progress["best"], progress["best_epoch"])


def _beside_result(state: TrainState) -> Any:
    """What training goes on from beside `state.result`: the last weights, where that is a mean, and the optimizer."""
    return None if state.average is None else state.model, state.optimizer


def check_fit(config: Config, dataset: TokenDataset) -> None:
    """Raise BadInput where this data cannot train this configuration."""
    dataset.window_starts(config.model.sequence_len)
    if config.train.patience and not len(dataset.rows("validation")):
        raise BadInput("patience needs validation dates, and there are none; try --patience 0")
    bases = open_bases(config, dataset)
    jax.eval_shape(lambda: first_model(config, dataset, bases, seed=0))


def _keep_metrics(out: Path, step: int) -> None:
    """Drop the lines of metrics.jsonl that are newer than the checkpoint at `step`."""
    kept = [json.dumps(line) + "\n" for line in read_metrics(out) if line["step"] <= step]
    replace_file(out / "metrics.jsonl", "".join(kept).encode())


def _append_metrics(out: Path, line: dict[str, Any]) -> None:
    with open(out / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
