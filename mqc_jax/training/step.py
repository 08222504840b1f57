"""One optimizer step, a pure function."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from mqc_jax.config import TrainConfig
from mqc_jax.model import GPT


class TrainState(NamedTuple):
    """All that a step changes."""

    step: Array  # () int32, steps taken
    model: GPT
    optimizer: Any
    average: GPT | None = None  # exponentially weighted mean of the weights, where the configuration wants one

    @property
    def result(self) -> GPT:
        """The model that is evaluated and kept."""
        return self.model if self.average is None else self.average


class Batch(NamedTuple):
    """Windows of tokens, each one longer than the context: inputs are [:-1], targets are [1:]."""

    tokens: Array  # (B, T + 1)
    inputs: Array | None  # (B, T, F)
    weights: Array | None = None  # (B, T) of the targets: 0 where there is none to predict; None: all count


def cross_entropy(model: GPT, batch: Batch, key: Array | None = None) -> Array:
    """−ln p of each target, float32 (B, T), nats; of no meaning where its weight is 0."""
    logits_BTV = model(batch.tokens[:, :-1], batch.inputs, key=key)
    targets_BT = jnp.minimum(batch.tokens[:, 1:], model.config.vocab_size - 1)  # special tokens are not predicted
    return optax.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)


def first_average(model: GPT, config: TrainConfig) -> GPT | None:
    """Where the mean of the weights starts: at a copy of the first, for a step gives its argument's memory away."""
    return jax.tree.map(jnp.copy, model) if config.average_decay else None


def take_step(
    state: TrainState, batch: Batch, key: Array, *, tx: optax.GradientTransformation, average_decay: float = 0.0
) -> tuple[TrainState, dict[str, Array]]:
    """One step on the mean cross-entropy; dropout draws from `fold_in(key, step)`."""
    key = jax.random.fold_in(key, state.step)

    def loss_of(model: GPT) -> Array:
        nats_BT = cross_entropy(model, batch, key)
        if batch.weights is None:
            return jnp.mean(nats_BT)
        return jnp.sum(nats_BT * batch.weights) / jnp.maximum(jnp.sum(batch.weights), 1)

    loss, gradients = jax.value_and_grad(loss_of)(state.model)
    model: Any = state.model  # optax takes any pytree; its annotations do not say so
    updates, optimizer = tx.update(gradients, state.optimizer, model)
    model = optax.apply_updates(model, updates)
    average: Any = state.average
    if average is not None:
        average = optax.incremental_update(model, average, 1 - average_decay)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(gradients)}
    return TrainState(state.step + 1, model, optimizer, average), metrics


train_step = partial(jax.jit, static_argnames=("tx", "average_decay"), donate_argnames="state")(take_step)
