"""Checkpoints on disk: Orbax keeps the latest two and the best by validation loss.

Arrays are stored by their path in the tree (`.blocks.attention.query`), so a checkpoint can be read without the code
that wrote it. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.tree_util import keystr, tree_flatten_with_path
from orbax.checkpoint.checkpoint_managers import preservation_policy

from data_pipeline.errors import DamagedData, OutOfResources

Tree = TypeVar("Tree")


def _validation_loss(metrics: dict[str, float] | None) -> float:
    """What Orbax sorts by; a NaN there would delete the best checkpoint."""
    loss = (metrics or {}).get("validation_loss")
    return loss if loss is not None and math.isfinite(loss) else math.inf


class Checkpoints:
    """The checkpoints of one run; use as a context manager.

    With `read_only`, nothing on disk is touched: a run can be read while it is being trained.
    """

    def __init__(self, directory: Path, *, read_only: bool = False):
        self.directory = directory
        keep = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(2),
                preservation_policy.BestN(
                    get_metric_fn=_validation_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=_validation_loss,
            best_mode="min",
            preservation_policy=None if read_only else keep,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            enable_async_checkpointing=False,
        )
        try:
            self._manager = ocp.CheckpointManager(directory.resolve(), options=options)
        except (ValueError, OSError) as error:
            raise DamagedData(f"{directory}: the checkpoints cannot be listed ({error})") from None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss; without any such loss, the newest."""
        return self._manager.best_step() or self.latest

    def save(
        self, step: int, model: Any, optimizer: Any = None, progress: dict | None = None, loss: float | None = None
    ) -> None:
        """Write everything training needs to go on from `step`, or a model alone; on return it is on disk.

        `loss` is the validation loss by which the best checkpoint is chosen. Raises OutOfResources when the disk is
        full; what was saved before stays.
        """
        items = {"model": ocp.args.StandardSave(by_path(model))}
        if optimizer is not None:
            items |= {
                "optimizer": ocp.args.StandardSave(by_path(optimizer)),
                "progress": ocp.args.JsonSave(progress or {}),
            }
        metrics = None if loss is None else {"validation_loss": loss}
        report = sys.unraisablehook
        sys.unraisablehook = lambda _: None  # TensorStore's threads would each print their failed write
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)
        except (ValueError, OSError) as error:  # TensorStore reports a full disk as ValueError
            self._remove_partial()
            raise OutOfResources(
                f"{self.directory}: step {step} could not be saved, the ones before it are intact; free disk space and "
                f"go on with --resume ({_reason(error)})"
            ) from None
        sys.unraisablehook = report

    def _remove_partial(self) -> None:
        """Give the disk back what a failed save took, once its writers have stopped."""
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        for _ in range(10):
            for partial in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
            time.sleep(0.05)

    def restore_model(self, step: int, like: Tree) -> Tree:
        """The model of `step`; `like` has its structure, shapes and types. Raises DamagedData."""
        return self._restore(step, model=like)["model"]

    def restore(self, step: int, model: Tree, optimizer: Any) -> tuple[Tree, Any, dict]:
        """Model, optimizer state and progress of `step`. Raises DamagedData."""
        items = self._restore(step, progress=True, model=model, optimizer=optimizer)
        return items["model"], items["optimizer"], items["progress"]

    def _restore(self, step: int, progress: bool = False, **trees: Any) -> dict[str, Any]:
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

        def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

        wanted = {name: {path: abstract(leaf) for path, leaf in by_path(tree).items()} for name, tree in trees.items()}
        args: dict[str, Any] = {name: ocp.args.StandardRestore(paths) for name, paths in wanted.items()}
        if progress:
            args["progress"] = ocp.args.JsonRestore()
        try:
            found = self._manager.restore(step, args=ocp.args.Composite(**args))
        except (ValueError, KeyError, OSError, TypeError, json.JSONDecodeError) as error:
            raise DamagedData(
                f"{self.directory}: step {step} cannot be read as this model ({_reason(error)})"
            ) from None
        leaves = {name: [found[name][path] for path in paths] for name, paths in wanted.items()}
        rebuilt = {name: jax.tree.unflatten(jax.tree.structure(trees[name]), leaves[name]) for name in trees}
        return rebuilt | ({"progress": found["progress"]} if progress else {})


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by the names they are stored under, like `.blocks.attention.query`."""
    return {keystr(path).removesuffix(".value"): leaf for path, leaf in tree_flatten_with_path(tree)[0]}
