"""Fitting a model: batches, step, optimizer, loop."""

from mqc_jax.training.loop import Summary, train

__all__ = ["Summary", "train"]
