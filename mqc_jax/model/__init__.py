"""The GPT: read layers, rope, attention, ordinal, gpt, in this order."""

from mqc_jax.model.attention import KVCache
from mqc_jax.model.gpt import GPT, OrdinalBins, count_parameters

__all__ = ["GPT", "KVCache", "OrdinalBins", "count_parameters"]
