"""The optimizer, one visible chain."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import optax

from mqc_jax.config import TrainConfig


def learning_rate(config: TrainConfig, steps_per_epoch: int) -> Callable[[Any], Any]:
    """Linear warm-up to the peak, then a cosine to 0 at the last step; `schedule="epoch"` moves once per epoch."""
    total = config.num_epochs * steps_per_epoch
    per_step = optax.warmup_cosine_decay_schedule(
        init_value=config.learning_rate / (config.warmup_steps + 1),
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=max(total, config.warmup_steps + 1),
    )
    if config.schedule == "step":
        return per_step
    return lambda step: per_step(step // steps_per_epoch * steps_per_epoch)


@cache  # one object for one configuration: a jitted step compiles once for each
def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adamw(
            learning_rate(config, steps_per_epoch),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
        ),
    )
