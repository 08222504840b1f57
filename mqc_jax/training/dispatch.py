"""Many steps in one call of the device: a small model's step takes less time than asking for it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from mqc_jax.config import Config
from mqc_jax.training.batches import Table, Windows, read_windows
from mqc_jax.training.sharding import constrain_state, constrain_whole
from mqc_jax.training.step import TrainState, take_step

MAX_STEPS = 100
FLOPS = {"cpu": 2e10, "gpu": 2e13, "tpu": 2e13}  # of all steps in one call, at most


def steps_per_dispatch(step_flops: float) -> int:
    """How many steps one call takes: few of a large model, so that signals and progress never wait long."""
    return max(1, min(MAX_STEPS, int(FLOPS.get(jax.default_backend(), 2e10) / step_flops)))


@partial(jax.jit, static_argnames=("tx", "config", "mesh"), donate_argnames="state")
def take_steps(
    state: TrainState,
    table: Table,
    windows: Windows,
    first: Array | int,
    n_steps: Array | int,
    key: Array,
    *,
    tx: optax.GradientTransformation,
    config: Config,
    mesh: Mesh | None = None,
) -> tuple[TrainState, dict[str, Array]]:
    """Take steps `first` to `first + n_steps` on the leading windows of (S, B); stop before one that is not finite.

    Does nothing to a state that is not at `first`: the call before stopped. The number of steps is data, not shape, so
    that any number of them is the same program and gives the same bits. Metrics are those of each step, (S,).
    """

    def more(carry: tuple[Array, TrainState, dict[str, Array]]) -> Array:
        n, state, _ = carry
        return (n < n_steps) & (state.step == first + n)

    def take(carry: tuple[Array, TrainState, dict[str, Array]]) -> tuple[Array, TrainState, dict[str, Array]]:
        n, state, metrics = carry
        batch = read_windows(table, windows.at(n), config.model)
        state, found = take_step(state, batch, key, tx=tx, config=config.train)
        state = constrain_state(state, mesh)
        return n + 1, state, {name: metrics[name].at[n].set(found[name]) for name in metrics}

    size = len(windows.first)
    metrics = {"loss": jnp.zeros(size), "grad_norm": jnp.zeros(size)}
    _, state, metrics = jax.lax.while_loop(more, take, (jnp.int32(0), state, metrics))
    return state, constrain_whole(metrics | {"step": state.step, "skipped": state.skipped}, mesh)
