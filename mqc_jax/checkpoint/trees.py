"""Trees of arrays, and JSON beside them, in one directory: all that Orbax does here.

Arrays are stored by their path in the tree (`.blocks.attention.query`), so they can be read without the code that wrote
them. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import keystr, tree_flatten_with_path

from data_pipeline.errors import FULL, BadInput, DamagedData, MqcError, OutOfResources
from mqc_jax.checkpoint.differences import differences, in_words


def _alone() -> Any:
    """Orbax's word for a process that reads and writes by itself: the others do not wait for it."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(me, {me}, f"process-{me}")


def _orbax() -> ocp.Checkpointer:
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=_alone()))
    return ocp.Checkpointer(handler, multiprocessing_options=_alone())


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by the names they are stored under, like `.blocks.attention.query`."""
    return {keystr(path).removesuffix(".value"): leaf for path, leaf in tree_flatten_with_path(tree)[0]}


def host_copy(tree: Any) -> dict[str, np.ndarray]:
    """The leaves by path, in memory of their own: a training step may overwrite what it was given."""
    return {path: np.array(leaf) for path, leaf in jax.device_get(by_path(tree)).items()}


def write_trees(directory: Path, trees: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    """Write leaves by path, and JSON values, each under its name. Raises ValueError or OSError: see `write_failure`."""
    items: dict[str, Any] = {name: ocp.args.StandardSave(leaves) for name, leaves in trees.items()}
    items |= {name: ocp.args.JsonSave(value) for name, value in values.items()}
    with _orbax() as orbax:
        orbax.save(directory.resolve(), args=ocp.args.Composite(**items))


@contextmanager
def one_complaint() -> Iterator[None]:
    """When a write fails, each of TensorStore's threads would print, a little later, that nobody waits for it."""
    report = sys.unraisablehook

    def others(found: Any) -> None:
        if str(found.exc_value) != "Event loop is closed":
            report(found)

    sys.unraisablehook = others
    try:
        yield
    finally:
        sys.unraisablehook = report


class WriteFailure(NamedTuple):
    """What an error while writing means to the user."""

    kind: type[MqcError]
    reason: str
    mend: str


def write_failure(error: Exception) -> WriteFailure:
    """A full disk, or what it is; TensorStore gives the system's number in a text."""
    told = re.search(r"os_error_code='(\d+)'", str(error))
    number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
    why = os.strerror(int(told[1])) if told else reason(error)
    if number in FULL:
        return WriteFailure(OutOfResources, why, "free disk space")
    return WriteFailure(BadInput, why, "mend that")


def read_values(directory: Path, names: list[str]) -> dict[str, Any]:
    """JSON values by name. Raises DamagedData."""
    return _read(directory, {name: ocp.args.JsonRestore() for name in names})


def read_trees(directory: Path, like: dict[str, Any]) -> dict[str, Any]:
    """Trees by name, with the structure, shapes and types of `like`, on this process's first device.

    Raises DamagedData naming arrays of another shape or type: Orbax alone would cast, or fill up.
    """
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        name: {path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device) for path, x in by_path(tree).items()}
        for name, tree in like.items()
    }
    other = differences(_kinds({name: _stored(directory / name) for name in like}), _kinds(wanted))
    if other:
        raise DamagedData(f"{directory} cannot be read as this model: {in_words(other)}")
    found = _read(directory, {name: ocp.args.StandardRestore(leaves) for name, leaves in wanted.items()})
    return {
        name: jax.tree.unflatten(jax.tree.structure(tree), [found[name][path] for path in wanted[name]])
        for name, tree in like.items()
    }


def _kinds(trees: dict[str, dict[str, Any]]) -> dict[str, str]:
    leaves = {f"{name}{path}": leaf for name, tree in trees.items() for path, leaf in tree.items()}
    return {path: f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves.items()}


def _stored(place: Path) -> dict[str, Any]:
    try:
        handler: Any = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
        return handler.metadata(place.resolve()).tree if place.is_dir() else {}
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise DamagedData(f"{place} cannot be read ({reason(error)})") from None


def _read(directory: Path, items: dict[str, Any]) -> dict[str, Any]:
    try:
        with _orbax() as orbax:
            found = orbax.restore(directory.resolve(), args=ocp.args.Composite(**items))
            return {name: found[name] for name in items}
    except (ValueError, KeyError, OSError, TypeError, json.JSONDecodeError) as error:
        raise DamagedData(f"{directory} cannot be read ({reason(error)})") from None


def reason(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
