"""The training loop: dispatches of steps, epochs, checkpoints, early stopping, resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput, NumericFailure, Stopped
from mqc_jax.checkpoint import Checkpoints
from mqc_jax.config import Config
from mqc_jax.model import count_parameters
from mqc_jax.run import Run, what_it_is
from mqc_jax.training.batches import Feed, draw_windows, steps_per_epoch
from mqc_jax.training.dispatch import steps_per_dispatch, take_steps
from mqc_jax.training.distributed import at_first, is_first, together
from mqc_jax.training.flops import train_flops_per_token
from mqc_jax.training.lock import only_writer
from mqc_jax.training.memory import enough_memory
from mqc_jax.training.optimizer import learning_rate, make_optimizer
from mqc_jax.training.progress import TrainingProgress, finite_or_none
from mqc_jax.training.sharding import describe, make_mesh, put_whole, readable, shard_rows, shard_state
from mqc_jax.training.signals import StopRequest
from mqc_jax.training.start import check_attention, dropout_key, first_model, open_bases
from mqc_jax.training.step import TrainState, first_state
from mqc_jax.training.validate import validation_loss
from mqc_jax.training.writers import open_writers

TRACED = 5  # steps, or those of an epoch where it has fewer
Write = Callable[[dict[str, Any]], None]


class Summary(NamedTuple):
    """What a finished training came to."""

    n_parameters: int
    steps: int
    train_seconds: float  # wall time of all its sittings, compilation included
    best_validation_loss: float | None  # nats per token
    best_epoch: int


class Dispatched(NamedTuple):
    """Steps that the device was asked for, whose metrics nobody has read yet."""

    first: int
    n_steps: int
    metrics: dict[str, Array]


def train(
    config: Config,
    dataset: TokenDataset,
    out: Path,
    *,
    resume: bool,
    console: Console,
    allow_inexact: bool = False,
    profile: bool = False,
    bases: list[Run] | None = None,
) -> Summary:
    """Fit a model to the training rows of `dataset` and keep it under `out`.

    The run directory's head (config, tokenizer, manifest) is already there. With `resume`, training goes on from the
    newest checkpoint, as if it had never stopped; on devices in another shape, whose sums differ in the last digits,
    only with `allow_inexact`. With `profile`, a trace of the first steps, not of compiling, is written to
    `out`/profile. `bases` are the runs to start from where they are open already; it is emptied, for they take memory.
    Where there are several processes, all call this together.

    Raises NumericFailure at a loss that is not finite, Stopped after a signal. `check_fit` says beforehand whether the
    data can train the configuration.
    """
    settings = {name: value for name, value in vars(config.train).items() if name != "mesh"}
    about = {"train": settings, **what_it_is(config, dataset.tokenizer, dataset.manifest)}
    with (
        together(f" with --resume --out {out}"),
        _only_writer(out),
        enough_memory(config, out),
        _open_checkpoints(out / "checkpoints", about, console) as checkpoints,
        StopRequest() as stop,
    ):
        sitting = Sitting(config, dataset, out, checkpoints, resume, allow_inexact, bases)
        (bases or []).clear()
        if resume:
            how = "already finished at" if sitting.progress["finished"] else "going on from"
            console.print(f"{out}: {how} step {sitting.done} of at most {sitting.total}")
        with (
            _open_writers(config, out, sitting.done, console) as write,
            TrainingProgress(console, sitting.done, sitting.total, sitting.token_flops, sitting.mesh.size) as display,
        ):
            sitting.run(display, write, stop, profile=profile)
    return sitting.summary()


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """The first process holds the run for all."""
    with ExitStack() as stack:
        at_first(lambda: stack.enter_context(only_writer(out)))
        yield


def _open_checkpoints(directory: Path, about: dict[str, Any], console: Console) -> Checkpoints:
    """The first process writes and sets damaged ones aside, then the others read what is left."""
    opened: list[Checkpoints] = []
    at_first(lambda: opened.append(Checkpoints(directory, about=about, say=console.print)))
    return opened[0] if opened else Checkpoints(directory, read_only=True, about=about)


@contextmanager
def _open_writers(config: Config, out: Path, step: int, console: Console) -> Iterator[Write]:
    """The first process writes; where it fails, all fail."""
    with ExitStack() as stack:
        opened: list[Write] = []
        writers = open_writers(config.train.writers, out, config.to_json(), step, console.print)
        at_first(lambda: opened.append(stack.enter_context(writers)))
        yield lambda line: at_first(lambda: opened[0](line))


class Sitting:
    """Training from one start of the program to its end; `progress` is what later ones need beside the state."""

    def __init__(
        self,
        config: Config,
        dataset: TokenDataset,
        out: Path,
        checkpoints: Checkpoints,
        resume: bool,
        allow_inexact: bool = False,
        bases: list[Run] | None = None,
    ):
        self.config, self.settings, self.dataset = config, config.train, dataset
        self.out, self.checkpoints, self.mesh = out, checkpoints, make_mesh(config)
        length, batch_size = config.model.sequence_len, self.settings.batch_size
        self.starts = dataset.window_starts(length)
        self.feed = Feed(dataset, config.model.inputs, partial(put_whole, mesh=self.mesh))
        self.per_epoch = steps_per_epoch(dataset, length, batch_size)
        self.total = self.settings.num_epochs * self.per_epoch
        self.tx, self.rate = make_optimizer(self.settings, self.per_epoch), learning_rate(self.settings, self.per_epoch)
        self.key = put_whole(dropout_key(self.settings.seed), self.mesh)
        self.progress: dict[str, Any] = {"losses": [], "best": None, "best_epoch": 0, "seconds": 0.0, "finished": False}
        self.done = at_first(lambda: checkpoints.latest or 0) if resume else 0
        if self.done:
            self.state = self._restored(allow_inexact)
        else:
            self.state = self._fresh(bases or open_bases(config, dataset))
        self.progress["computed"] = self._how_computed(self.state)
        self.state = shard_state(self.state, self.mesh)
        self.n_parameters = count_parameters(self.state.model)
        self.token_flops = train_flops_per_token(config.model, self.n_parameters)
        device_flops = self.token_flops * config.tokens_per_step / self.mesh.size
        self.at_once = min(self.per_epoch, steps_per_dispatch(device_flops))
        self.started = time.perf_counter() - self.progress["seconds"]

    def run(self, display: TrainingProgress, write: Write, stop: StopRequest, *, profile: bool) -> None:
        """To the last step, to the patience's end, or to a signal."""
        late = None
        if profile:
            self.at_once = max(self.at_once, min(self.per_epoch, TRACED))
        while self.done < self.total and not self.progress["finished"]:
            n_steps = min(self.at_once, self.per_epoch - self.done % self.per_epoch)
            if profile:
                new, profile = self._traced(min(n_steps, TRACED)), False
            else:
                new = self.dispatch(n_steps)
            if late is not None:
                self._read(late, display)  # while the device works on the new ones
            late, self.done = new, self.done + new.n_steps
            if self.done % self.per_epoch == 0:
                grad_norm, late = self._read(late, display), None
                self._end_epoch(grad_norm, display, write)
            if stop.agreed() and not self.progress["finished"]:
                if late is not None:
                    self._read(late, display)
                    self._save()
                at_first(self.checkpoints.wait)
                raise Stopped(
                    f"stopped and saved at step {self.done}; go on with: python train.py --resume --out {self.out}"
                )

        at_first(self.checkpoints.wait)

    def summary(self) -> Summary:
        progress = self.progress
        return Summary(self.n_parameters, self.done, progress["seconds"], progress["best"], progress["best_epoch"])

    def _fresh(self, bases: Sequence[Run]) -> TrainState:
        return first_state(first_model(self.config, self.dataset, bases, self.settings.seed), self.settings, self.tx)

    def _how_computed(self, state: TrainState) -> str:
        """What decides the last digits of every sum."""
        mesh, kind = self.mesh, jax.devices()[0].device_kind
        return f"{mesh.size} devices ({describe(mesh)}) of {kind} in {state.model.config.dtype}"

    def dispatch(self, n_steps: int) -> Dispatched:
        """Ask the device for the next steps."""
        given, static = self.arguments(n_steps)
        self.state, metrics = take_steps(*given, **static)
        return Dispatched(self.done, n_steps, metrics)

    def arguments(self, n_steps: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What `take_steps` is called with for the next steps."""
        length, steps = self.config.model.sequence_len, range(self.done, self.done + self.at_once)
        size, seed = self.settings.batch_size, self.settings.seed
        windows = draw_windows(self.dataset, self.starts, length, size, seed=seed, steps=steps)
        table, windows = self.feed(windows, length)
        windows = shard_rows(windows, self.mesh, axis=1)
        given = (self.state, table, windows, self.done, n_steps, self.key)
        return given, {"tx": self.tx, "config": self.config, "mesh": self.mesh}

    def _traced(self, n_steps: int) -> Dispatched:
        """Ask for some steps; the first process writes what its device does meanwhile."""
        self.dispatch(0)  # compiles
        if not is_first():
            return self.dispatch(n_steps)
        jax.block_until_ready(self.state.step)
        with jax.profiler.trace(str(self.out / "profile")):
            asked = self.dispatch(n_steps)
            jax.block_until_ready(asked.metrics)
        return asked

    def _read(self, late: Dispatched, display: TrainingProgress) -> float:
        """Keep the losses of these steps; return the last gradient norm. Raises NumericFailure at a step not taken."""
        found = jax.device_get(late.metrics)
        taken = int(found["step"]) - late.first
        if taken < late.n_steps:
            self._fail(late.first + taken, found["loss"][taken], found["grad_norm"][taken])
        self.progress["losses"] += [float(loss) for loss in found["loss"][:taken] if np.isfinite(loss)]
        display.steps(late.first + taken, float(found["loss"][taken - 1]), taken * self.config.tokens_per_step)
        return float(found["grad_norm"][taken - 1])

    def _fail(self, step: int, loss: float, grad_norm: float) -> NoReturn:
        last, seed = at_first(self.checkpoints.wait), self.settings.seed
        kept = "nothing was saved yet" if last is None else f"the checkpoint of step {last} is intact"
        raise NumericFailure(
            f"{self.out}: loss {loss}, gradient norm {grad_norm} at step {step} (batch of seed {seed}, step {step}); "
            f"{kept}; try another run with --learning_rate {self.settings.learning_rate / 3:.1g} --out {self.out}-2, "
            f"or --skip_nonfinite 1 where one batch is to blame"
        )

    def _end_epoch(self, grad_norm: float, display: TrainingProgress, write: Write) -> None:
        """Validate, write the line, save."""
        progress, epoch = self.progress, self.done // self.per_epoch
        validation = finite_or_none(validation_loss(self.state.result, self.dataset, mesh=self.mesh))
        better = validation is not None and (progress["best"] is None or validation < progress["best"])
        if better:
            progress.update(best=validation, best_epoch=epoch)
        stale = self.settings.patience and epoch - progress["best_epoch"] >= self.settings.patience
        line = {
            "step": self.done,
            "epoch": epoch,
            "loss": float(np.mean(progress["losses"])) if progress["losses"] else None,
            "validation_loss": validation,
            "learning_rate": float(self.rate(self.done - 1 - int(self.state.skipped))),
            "grad_norm": finite_or_none(grad_norm),
            **display.speed(),
            "seconds": time.perf_counter() - self.started,
        }
        progress.update(losses=[], finished=bool(stale) or self.done == self.total)
        write(line)
        self._save(validation)
        display.epoch(line, self.settings.num_epochs, better)

    def _save(self, validation: float | None = None) -> None:
        self.progress["seconds"] = time.perf_counter() - self.started
        trees = readable((self.state.result, _beside_result(self.state)), self.mesh)
        at_first(lambda: self.checkpoints.save(self.done, *trees, self.progress, validation))

    def _restored(self, allow_inexact: bool) -> TrainState:
        like = jax.eval_shape(lambda: self._fresh([]))  # not one in memory beside that which is read
        result, (last, optimizer, skipped), self.progress = self.checkpoints.restore(
            self.done, like.result, _beside_result(like)
        )
        there, here = self.progress["computed"], self._how_computed(like)
        if there != here and not allow_inexact:
            raise BadInput(
                f"{self.out}: trained on {there}, not {here}, and sums would differ in the last digits; go on as "
                f"before, or give --allow_inexact"
            )
        best = self.checkpoints.best_loss  # of those that are whole
        if best != self.progress["best"]:
            epoch = (self.checkpoints.best or 0) // self.per_epoch if best is not None else 0
            self.progress.update(best=best, best_epoch=epoch)
        model, average = (result, None) if last is None else (last, result)
        return TrainState(jnp.int32(self.done), skipped, model, optimizer, average)


def _beside_result(state: TrainState) -> Any:
    """What training goes on from beside `state.result`: the last weights, where that is a mean, and the optimizer."""
    return None if state.average is None else state.model, state.optimizer, state.skipped


def check_fit(config: Config, dataset: TokenDataset) -> list[Run]:
    """The runs that it starts from. Raises BadInput where this data cannot train this configuration."""
    check_attention(config.model)
    dataset.window_starts(config.model.sequence_len)
    if config.train.patience and not len(dataset.rows("validation")):
        raise BadInput("patience needs validation dates, and there are none; try --patience 0")
    bases = open_bases(config, dataset)
    jax.eval_shape(lambda: first_model(config, dataset, bases, seed=0))
    return bases
