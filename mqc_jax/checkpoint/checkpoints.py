"""The checkpoints of a run: the latest two and the best by validation loss, whole or not at all.

    12/          a step, and the seal that tells whether it still is what was written
    partial/     what is being written or deleted; of no worth once its process is gone
    quarantine/  steps that were found damaged

A step is written and sealed in `partial`, then moved: what stands under its number was whole once.
"""

from __future__ import annotations

import gc
import json
import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from data_pipeline.errors import BadInput, DamagedData, MqcError
from data_pipeline.storage import move, sync
from mqc_jax.checkpoint.differences import differences, in_words
from mqc_jax.checkpoint.seal import write_seal
from mqc_jax.checkpoint.steps import best_step, find_good_steps, find_steps, latest_step, quarantine, verify
from mqc_jax.checkpoint.trees import (
    WriteFailure,
    host_copy,
    one_complaint,
    read_trees,
    read_values,
    write_failure,
    write_trees,
)

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of one run; use as a context manager.

    Opening verifies the newest and the best step. Damaged steps do not count: they are moved to `quarantine`, each with
    one line to `say`. Raises DamagedData when there are steps and none is good. With `read_only`, nothing on disk is
    touched and a step is verified when it is restored: a run can be read while it is being trained.

    Of several processes one opens it for writing, and then the others with `read_only`.

    `about` is a JSON dict that is saved with every step; the keys it has in common with that of a restored step must
    hold the same.
    """

    def __init__(
        self,
        directory: Path,
        *,
        read_only: bool = False,
        about: dict[str, Any] | None = None,
        say: Callable[[str], Any] = lambda line: print(line, file=sys.stderr),
    ):
        self.directory, self._partial = directory, directory / "partial"
        self._about = _json_copy(about or {})
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        found, damaged = find_steps(directory) if read_only else find_good_steps(directory)
        self._losses = found  # replaced and never changed, for two threads read it
        if damaged and not found:
            step, why = max(damaged.items())
            raise DamagedData(
                f"{directory}: none of {len(damaged)} checkpoints is good (step {step}: {why}); bring one back from a "
                f"copy, or train again with another --out"
            )
        if not read_only:
            shutil.rmtree(self._partial, ignore_errors=True)
            for step, why in sorted(damaged.items()):
                say(f"{self._path(step)} is damaged ({why}) and not used; moved to {quarantine(directory, step)}")

    def _path(self, step: int) -> Path:
        return self.directory / str(step)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the save under way; its failure is raised unless another one is already on its way."""
        try:
            self.wait()
        except MqcError:
            if kind is None:
                raise
        finally:
            self._writer.shutdown()

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint; one that is still being written does not count."""
        return latest_step(self._losses)

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss; without any such loss, the newest."""
        return best_step(self._losses)

    @property
    def best_loss(self) -> float | None:
        """The validation loss of the best checkpoint, if it has one."""
        return None if self.best is None else self._losses[self.best]

    def save(
        self, step: int, model: Any, optimizer: Any = None, progress: dict | None = None, loss: float | None = None
    ) -> None:
        """Copy everything training needs to go on from `step`, or a model alone, and write it in the background.

        `loss` is the validation loss by which the best checkpoint is chosen. First waits for the save before, as
        `wait` does.
        """
        self.wait()
        trees, values = {"model": host_copy(model)}, {"about": self._about}
        if optimizer is not None:
            trees["optimizer"] = host_copy(optimizer)
            values["progress"] = _json_copy(progress or {})
        note = {"step": step, "validation_loss": loss if loss is not None and math.isfinite(loss) else None}
        self._writing = self._writer.submit(self._write, trees, values, note)

    def wait(self) -> int | None:
        """Block until what was handed to `save` is durable; step of the newest checkpoint.

        Raises, once, OutOfResources when the disk was full, or BadInput when it could not be written for another
        reason; what was saved before stays.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
        return self.latest

    def _write(self, trees: dict[str, Any], values: dict[str, Any], note: dict[str, Any]) -> None:
        with one_complaint():
            failure = self._try_to_write(trees, values, note)
            if failure:
                self._remove_partial()
                failed = f"{self.directory}: step {note['step']} could not be saved, the ones before it are intact"
                raise failure.kind(f"{failed}; {failure.mend} and go on with --resume ({failure.reason})")

    def _try_to_write(self, trees: dict[str, Any], values: dict[str, Any], note: dict[str, Any]) -> WriteFailure | None:
        step = note["step"]
        try:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)
            written = self._partial / str(step)
            write_trees(written, trees, values)
            write_seal(written, note)
            sync(written)
            self._put_in_place(written, step)
            self._losses = {**self._losses, step: note["validation_loss"]}
            self._delete_old()
        except (ValueError, OSError) as error:
            return write_failure(error)
        return None

    def _put_in_place(self, written: Path, step: int) -> None:
        if self._path(step).exists():
            self._path(step).rename(self._partial / "replaced")
        move(written, self._path(step))

    def _delete_old(self) -> None:
        """Keep the latest two and the best; the others are moved away first, for a deletion may be cut short."""
        kept = {*sorted(self._losses)[-2:], self.best}
        old = self._losses.keys() - kept
        self._losses = {step: loss for step, loss in self._losses.items() if step in kept}
        for step in old:
            self._path(step).rename(self._partial / f"old-{step}")
        shutil.rmtree(self._partial, ignore_errors=True)

    def _remove_partial(self) -> None:
        """Give the disk back what a failed save took, once its writers have stopped."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            gc.collect()  # the error and what it held
        for _ in range(10):
            shutil.rmtree(self._partial, ignore_errors=True)
            time.sleep(0.05)

    def restore_model(self, step: int, like: Tree) -> Tree:
        """The model of `step`; `like` has its structure, shapes and types. Raises as `restore` does."""
        self._check(step)
        return read_trees(self._path(step), {"model": like})["model"]

    def restore(self, step: int, model: Tree, optimizer: Any) -> tuple[Tree, Any, dict]:
        """Model, optimizer state and progress of `step`; `model` and `optimizer` have their structure.

        Raises DamagedData when it is not what was written or holds other arrays, BadInput when it was saved with
        another `about`; both name the first keys that differ.
        """
        self._check(step)
        trees = read_trees(self._path(step), {"model": model, "optimizer": optimizer})
        return trees["model"], trees["optimizer"], read_values(self._path(step), ["progress"])["progress"]

    def _check(self, step: int) -> None:
        try:
            verify(self.directory, step)
        except DamagedData as error:
            raise DamagedData(f"{self._path(step)} is damaged ({error}); --resume sets it aside") from None
        saved = read_values(self._path(step), ["about"])["about"]
        shared = saved.keys() & self._about.keys()
        other = differences({key: saved[key] for key in shared}, {key: self._about[key] for key in shared})
        if other:
            raise BadInput(
                f"{self._path(step)} was saved under other settings: {in_words(other)}; put back what was changed, or "
                f"train another run"
            )


def _json_copy(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))
