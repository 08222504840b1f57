"""From a model to sequences of tokens."""

from mqc_jax.decoding.cache import empty_cache
from mqc_jax.decoding.generate import Drawn, Feedback, Prompts, decode, generate, power_of_two, stream
from mqc_jax.decoding.sampler import Sampler
from mqc_jax.decoding.speculative import Bigram, SmallModel, speculate
from mqc_jax.decoding.storage import CacheDtype

__all__ = [
    "Bigram",
    "CacheDtype",
    "Drawn",
    "Feedback",
    "Prompts",
    "Sampler",
    "SmallModel",
    "decode",
    "empty_cache",
    "generate",
    "power_of_two",
    "speculate",
    "stream",
]
