"""Fitting a model: batches, step, optimizer, loop."""

from mqc_jax.training.loop import Summary, check_fit, train

__all__ = ["Summary", "check_fit", "train"]
