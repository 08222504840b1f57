"""The GPT: read layers, rope, attention, ordinal, gpt, in this order."""

from mqc_jax.model.attention import KVCache
from mqc_jax.model.gpt import GPT, Bins, count_parameters

__all__ = ["GPT", "Bins", "KVCache", "count_parameters"]
