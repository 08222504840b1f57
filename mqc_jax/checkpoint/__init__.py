"""Checkpoints that survive a kill at any moment, and notice damage."""

from mqc_jax.checkpoint.checkpoints import Checkpoints
from mqc_jax.checkpoint.differences import differences
from mqc_jax.checkpoint.trees import by_path

__all__ = ["Checkpoints", "by_path", "differences"]
