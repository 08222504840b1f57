"""mqc-jax: a small GPT on tokenized price returns, as calibrated probabilities."""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mqc_jax.decoding import Sampler, generate
from mqc_jax.model import GPT
from mqc_jax.run import Run, load_run

__all__ = ["GPT", "Config", "DataConfig", "ModelConfig", "Run", "Sampler", "TrainConfig", "generate", "load_run"]
