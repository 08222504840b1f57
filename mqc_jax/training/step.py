"""One optimizer step, a pure function."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mqc_jax.config import TrainConfig
from mqc_jax.model import GPT


class TrainState(NamedTuple):
    """All that a step changes."""

    step: Array  # () int32, batches seen
    skipped: Array  # () int32, of which so many had no finite loss and changed nothing
    model: GPT
    optimizer: Any
    average: GPT | None  # exponentially weighted mean of the weights, where the configuration wants one

    @property
    def result(self) -> GPT:
        """The model that is evaluated and kept."""
        return self.model if self.average is None else self.average


class Batch(NamedTuple):
    """Windows of tokens, each one longer than the context: inputs are [:-1], targets are [1:]."""

    tokens: Array  # (B, T + 1)
    inputs: Array | None  # (B, T, F)
    weights: Array | None = None  # (B, T) of the targets: 0 where there is none to predict; None: all count


def first_state(model: GPT, config: TrainConfig, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step; the mean of the weights starts at a copy: a step gives its argument away."""
    average = jax.tree.map(jnp.copy, model) if config.average_decay else None
    module: Any = model  # optax takes any pytree; its annotations do not say so
    return TrainState(jnp.int32(0), jnp.int32(0), model, tx.init(module), average)


def cross_entropy(model: GPT, batch: Batch, key: Array | None = None, smoothing: float = 0.0) -> Array:
    """−ln p of each target, float32 (B, T), nats; of no meaning where its weight is 0.

    With `smoothing`, that share of a target's mass lies on the bins beside it, half on either side.
    """
    logits_BTV = model(batch.tokens[:, :-1], batch.inputs, key=key)
    n_bins = logits_BTV.shape[-1]
    targets_BT = jnp.minimum(batch.tokens[:, 1:], n_bins - 1)  # special tokens are not predicted
    wanted_BTV = (1 - smoothing) * jax.nn.one_hot(targets_BT, n_bins)  # a sum has a cheaper gradient than an index
    if smoothing:
        for side in (targets_BT - 1, targets_BT + 1):
            beside_BT = jnp.where((side >= 0) & (side < n_bins), side, 2 * targets_BT - side)  # at an end: the other
            wanted_BTV += smoothing / 2 * jax.nn.one_hot(beside_BT, n_bins)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - jnp.sum(wanted_BTV * logits_BTV, axis=-1)


def take_step(
    state: TrainState, batch: Batch, key: Array, *, tx: optax.GradientTransformation, config: TrainConfig
) -> tuple[TrainState, dict[str, Array]]:
    """One step on the mean cross-entropy; dropout draws from `fold_in(key, step)`.

    A loss or gradient that is not finite changes nothing: not even the step, unless it may be skipped.
    """
    key = jax.random.fold_in(key, state.step)
    model: Any = state.model
    gradients: Any
    loss, gradients = _loss_and_gradients(model, batch, key, config)
    updates, optimizer = tx.update(gradients, state.optimizer, model)
    model = optax.apply_updates(model, updates)
    average: Any = state.average
    if average is not None:
        average = optax.incremental_update(model, average, 1 - config.average_decay)

    grad_norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    may_skip = ~finite & (state.skipped < config.skip_nonfinite)
    new = TrainState(state.step + 1, state.skipped, model, optimizer, average)
    old = state._replace(step=state.step + may_skip, skipped=state.skipped + may_skip)
    state = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    return state, {"loss": loss, "grad_norm": grad_norm}


def _loss_and_gradients(model: GPT, batch: Batch, key: Array, config: TrainConfig) -> tuple[Array, GPT]:
    """Of the whole batch, some windows at a time where the configuration says so."""
    weights_BT = jnp.ones_like(batch.tokens[:, 1:], jnp.float32) if batch.weights is None else batch.weights
    total = jnp.maximum(jnp.sum(weights_BT), 1)

    def loss_of(model: GPT, batch: Batch, weights_BT: Array, key: Array) -> Array:
        return jnp.sum(cross_entropy(model, batch, key, config.label_smoothing) * weights_BT) / total

    if config.accumulate == 1:
        return jax.value_and_grad(loss_of)(model, batch, weights_BT, key)

    def add(sums: tuple[Array, GPT], part: tuple[Batch, Array, Array]) -> tuple[tuple[Array, GPT], None]:
        found = jax.value_and_grad(loss_of)(model, *part)
        return jax.tree.map(jnp.add, sums, found), None

    n = config.accumulate
    # every n-th window, so that devices which share the windows share each part
    cut = jax.tree.map(lambda x: x.reshape(-1, n, *x.shape[1:]).swapaxes(0, 1), (batch, weights_BT))
    zeros = jax.tree.map(jnp.zeros_like, (jnp.float32(0), model))
    return jax.lax.scan(add, zeros, (*cut, jax.random.split(key, n)))[0]
