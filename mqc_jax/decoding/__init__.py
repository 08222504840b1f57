"""From a model to sequences of tokens."""

from mqc_jax.decoding.cache import empty_cache
from mqc_jax.decoding.generate import Feedback, generate
from mqc_jax.decoding.sampler import Sampler

__all__ = ["Feedback", "Sampler", "empty_cache", "generate"]
