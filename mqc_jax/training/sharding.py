"""Which device holds what: a mesh, and a table of rules by parameter path.

data    whole copies of the model, each with windows of its own
fsdp    the same, but every parameter is cut, and put together where it is used
tensor  the heads and the hidden units of a block are divided

On one device nothing is placed and nothing is constrained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import keystr, tree_map_with_path

from data_pipeline.errors import BadInput
from mqc_jax.config import Config

Tree = TypeVar("Tree")

# of the last part of a path, so that moments and means follow their parameter; all else is whole on every device
RULES = (
    (r"\.blocks\.attention\.(query|key|value)$", PartitionSpec(None, "fsdp", "tensor")),
    (r"\.blocks\.attention\.out$", PartitionSpec(None, "tensor", "fsdp")),
    (r"\.blocks\.mlp\.fc$", PartitionSpec(None, "fsdp", "tensor")),
    (r"\.blocks\.mlp\.proj$", PartitionSpec(None, "tensor", "fsdp")),
    (r"\.(embed|embed_inputs)$", PartitionSpec(None, "fsdp")),
    (r"\.head$", PartitionSpec("fsdp", None)),
)
WHOLE = PartitionSpec()
ROWS = ("data", "fsdp")  # the axes that windows are divided over


def make_mesh(config: Config) -> Mesh:
    """The devices in the shape that `config.train.mesh` wants. Raises BadInput where something cannot be divided."""
    axes, here = dict(config.train.mesh_axes), jax.device_count()
    fixed = math.prod(size for size in axes.values() if size > 0)
    if -1 in axes.values():
        if here % fixed:
            raise BadInput(f"--mesh {config.train.mesh}: {here} devices are no multiple of {fixed}; try --mesh data=1")
        axes = {name: here // fixed if size == -1 else size for name, size in axes.items()}
    n_devices = math.prod(axes.values())
    if n_devices > here or (n_devices < here and jax.process_count() > 1):
        raise BadInput(f"--mesh {config.train.mesh}: {n_devices} devices are asked for, {here} are here; try data=-1")
    _check_divisible(config, axes)
    devices = jax.devices()[:n_devices]
    return jax.make_mesh(tuple(axes.values()), tuple(axes), (AxisType.Auto,) * len(axes), devices=devices)


def _check_divisible(config: Config, axes: dict[str, int]) -> None:
    """Raise BadInput for a configuration that these axes cannot share out equally."""
    rows, part = axes["data"] * axes["fsdp"], config.train.accumulate
    if config.train.batch_size % (rows * part):
        each = f" and {part} parts of each step" if part > 1 else ""
        raise BadInput(
            f"batch_size={config.train.batch_size} cannot be shared by {rows} devices{each}; try --batch_size "
            f"{rows * part * -(-config.train.batch_size // (rows * part))}, or --mesh data=1"
        )
    for name, axis in (("n_embd", "fsdp"), ("n_head", "tensor"), ("n_kv_head", "tensor")):
        value = getattr(config.model, name)
        if value % axes[axis]:
            raise BadInput(
                f"{name}={value} is no multiple of {axis}={axes[axis]} in --mesh {config.train.mesh}; try {axis}="
                f"{math.gcd(value, axes[axis])}"
            )


def describe(mesh: Mesh) -> str:
    """The mesh as one types it."""
    return ",".join(f"{name}={size}" for name, size in mesh.shape.items())


def spec_of(path: str, ndim: int) -> PartitionSpec:
    """What the table says of the array at this path."""
    specs = [spec for pattern, spec in RULES if re.search(pattern, path) and len(spec) == ndim]
    return specs[0] if specs else WHOLE


def shardings(tree: Tree, mesh: Mesh) -> Tree:
    """Where the table wants each leaf of a state, or of a part of one."""

    def of_leaf(path: Any, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(keystr(path).removesuffix(".value"), leaf.ndim))

    return tree_map_with_path(of_leaf, tree)


def shard_state(state: Tree, mesh: Mesh) -> Tree:
    """Put a state that every process has whole where the table wants it."""
    return state if mesh.size == 1 else jax.tree.map(_put, state, shardings(state, mesh))


def constrain_state(state: Tree, mesh: Mesh | None) -> Tree:
    """Inside a compiled program: keep a state where the table wants it."""
    if mesh is None or mesh.size == 1:
        return state
    return jax.lax.with_sharding_constraint(state, shardings(state, mesh))


def constrain_whole(tree: Tree, mesh: Mesh | None) -> Tree:
    """Inside a compiled program: the same on every device."""
    if mesh is None or mesh.size == 1:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, WHOLE))


def shard_rows(tree: Tree, mesh: Mesh, axis: int = 0) -> Tree:
    """Divide windows, which every process has all of, along this axis."""
    rows = NamedSharding(mesh, PartitionSpec(*[None] * axis, ROWS))
    return tree if mesh.size == 1 else jax.tree.map(lambda leaf: _put(leaf, rows), tree)


def put_whole(tree: Tree, mesh: Mesh) -> Tree:
    """Put what every process has onto every device."""
    return tree if mesh.size == 1 else jax.tree.map(lambda leaf: _put(leaf, NamedSharding(mesh, WHOLE)), tree)


def readable(tree: Tree, mesh: Mesh) -> Tree:
    """The tree as every process can read all of it: on the host, where a part lies with another process.

    All processes call this together. A leaf at a time is whole on the devices.
    """
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: np.asarray(_gather(mesh)(leaf)), tree)


@cache  # compiled once for each shape
def _gather(mesh: Mesh) -> Callable[[Array], Array]:
    return jax.jit(lambda leaf: leaf, out_shardings=NamedSharding(mesh, WHOLE))


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
