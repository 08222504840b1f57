"""Where metrics go: always to metrics.jsonl, and to TensorBoard, Weights & Biases or Trackio where asked for."""

from __future__ import annotations

import importlib
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from data_pipeline.errors import BadInput
from data_pipeline.storage import replace_file
from mqc_jax.run import read_metrics

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
PROJECT = "mqc-jax"  # what services file the runs under


class Writer(Protocol):
    """Takes the metrics of a run, line by line; each line has a `step`."""

    def write(self, line: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


@contextmanager
def open_writers(
    names: Sequence[str], out: Path, config_json: dict[str, Any], step: int, say: Callable[[str], None]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes a line of metrics to `out`/metrics.jsonl and to the writers in `names`.

    Training stands at `step`: what a run that goes on has written of later steps is dropped where that is possible.
    Raises BadInput for a writer that is not installed or does not start. One that fails later is left out, and `say`
    says so; the file may not fail.
    """
    with ExitStack() as stack:
        writers: list[Writer] = [MetricsFile(out, step)]
        for name in names:
            with _one_line_errors(name):
                writer = Expendable(name, OPEN[name](out, config_json, step), say)
            writers.append(stack.enter_context(closing(writer)))

        def write(line: dict[str, Any]) -> None:
            for writer in writers:
                writer.write(line)

        yield write


def check_writers(names: Sequence[str]) -> None:
    """Raise BadInput saying what to install where a writer's package is missing."""
    for name in names:
        _package(name)


class MetricsFile:
    """metrics.jsonl of the run in `out`: lines up to `keep_through_step` stay, and each new one is on disk at once."""

    def __init__(self, out: Path, keep_through_step: int):
        self._path = out / "metrics.jsonl"
        kept = [json.dumps(line) + "\n" for line in read_metrics(out) if line["step"] <= keep_through_step]
        replace_file(self._path, "".join(kept).encode())

    def write(self, line: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Nothing is left open."""


class Expendable:
    """A writer that training does not stop for: when it fails it gets no more lines, and one warning says why."""

    def __init__(self, name: str, writer: Writer, say: Callable[[str], None]):
        self._name, self._writer, self._say, self._failed = name, writer, say, False

    def write(self, line: dict[str, Any]) -> None:
        if not self._failed:
            self._attempt(lambda: self._writer.write(line))

    def close(self) -> None:
        self._attempt(self._writer.close)  # one that failed may still keep what it has

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self._failed:
                self._say(f"warning: --log_to {self._name} failed ({_reason(error)}); metrics.jsonl goes on without it")
            self._failed = True


class TensorBoard:
    """Event files in `out`/tensorboard, for `tensorboard --logdir runs`."""

    def __init__(self, out: Path, config_json: dict[str, Any], step: int):
        self._events = _package("tensorboard").SummaryWriter(
            str(out / "tensorboard"),
            purge_step=step + 1,
            filename_suffix=f".{step}",  # files are named by the second, and a resume may come within it
        )
        if not step:
            self._events.add_text("config", f"```json\n{json.dumps(config_json, indent=2)}\n```", 0)

    def write(self, line: dict[str, Any]) -> None:
        for name, value in _numbers(line).items():
            self._events.add_scalar(name, value, line["step"])
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class WeightsAndBiases:
    """A run of Weights & Biases; steps that are seen again after a resume stay as they were, and would be the same."""

    def __init__(self, out: Path, config_json: dict[str, Any], step: int):
        wandb = _package("wandb")
        self._run = wandb.init(
            project=PROJECT,
            name=out.name,
            id=_log_id(out),
            resume="allow",
            config=config_json,
            dir=str(out),
            settings=wandb.Settings(console="off"),  # it would copy the progress bar
        )

    def write(self, line: dict[str, Any]) -> None:
        self._run.log(_numbers(line), step=line["step"])

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run of Trackio, kept on this machine, for `trackio show`."""

    def __init__(self, out: Path, config_json: dict[str, Any], step: int):
        with redirect_stdout(sys.stderr):  # the standard output may be the command's JSON
            name = f"{out.name}-{_log_id(out)}"  # runs go on by name, and folders in several places may share one
            self._run = _package("trackio").init(project=PROJECT, name=name, resume="allow", config=config_json)

    def write(self, line: dict[str, Any]) -> None:
        self._run.log(_numbers(line), step=line["step"])

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._run.finish()


OPEN: dict[str, Callable[[Path, dict[str, Any], int], Writer]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(PACKAGES[name])
    except ImportError:
        raise BadInput(f"--log_to {name} needs {PACKAGES[name]}; pip install 'mqc-jax[{name}]'") from None


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Services fail in ways of their own: no key, no network, a project of someone else's."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"--log_to {name} did not start ({_reason(error)}); mend that, or leave it out") from None


def _reason(error: Exception) -> str:
    """On one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _log_id(out: Path) -> str:
    """The name that services know the run in `out` by, in all its sittings."""
    file = out / "log_id.txt"
    if not file.is_file():
        replace_file(file, secrets.token_hex(4).encode())
    return file.read_text()


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    """What can be drawn over the steps."""
    number = {name: value for name, value in line.items() if isinstance(value, int | float) and math.isfinite(value)}
    return {name: value for name, value in number.items() if name != "step"}
