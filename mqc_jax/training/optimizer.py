"""The optimizer, one visible chain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr

from mqc_jax.config import TrainConfig

DECAY_SHARE = 0.2  # of a warm-up-stable-decay schedule; Hägele et al., arXiv 2405.18392
STACKED_MATRIX = optax.contrib.MuonDimensionNumbers(1, 2)  # of (layer, in, out)


def learning_rate(config: TrainConfig, steps_per_epoch: int) -> Callable[[Any], Any]:
    """Linear warm-up to the peak, then one of the three schedules of the configuration."""
    total = max(config.num_epochs * steps_per_epoch, config.warmup_steps + 1)
    first, peak, warmup = config.learning_rate / (config.warmup_steps + 1), config.learning_rate, config.warmup_steps
    if config.schedule == "wsd":
        decay = min(round(DECAY_SHARE * total), total - warmup)
        parts = [
            optax.linear_schedule(first, peak, warmup),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.0, decay),
        ]
        return optax.join_schedules(parts, [warmup, total - decay])
    cosine = optax.warmup_cosine_decay_schedule(first, peak, warmup, total)
    if config.schedule == "cosine":
        return cosine

    def by_epoch(step: Any) -> Any:
        first = jnp.maximum(step // steps_per_epoch * steps_per_epoch, warmup)
        return cosine(jnp.where(step < warmup, step, first))

    return by_epoch


@cache  # one object for one configuration: a jitted step compiles once for each
def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW, or Muon for the blocks' matrices and AdamW for the rest."""
    rate = learning_rate(config, steps_per_epoch)
    if config.optimizer == "muon":
        descend = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            adam_weight_decay=config.weight_decay,
            weight_decay_mask=is_matrix,
            muon_weight_dimension_numbers=stacked_matrices,
            consistent_rms=0.2,  # updates as large as AdamW's, whose rates then fit: Liu et al., arXiv 2502.16982
        )
    else:
        descend = optax.adamw(rate, b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay, mask=is_matrix)
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), descend)


def is_matrix(parameters: Any) -> Any:
    """Which parameters decay: matrices, alone or stacked by layer; gains and biases would not."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf.ndim - _is_stacked(path) >= 2, parameters)


def stacked_matrices(parameters: Any) -> Any:
    """Muon's view of the parameters: one matrix for each layer of a block's; None for those left to AdamW."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: STACKED_MATRIX if _is_stacked(path) and leaf.ndim == 3 else None, parameters
    )


def _is_stacked(path: Any) -> bool:
    return keystr(path).startswith(".blocks")
