"""The seed's model."""

from mqc_jax.config import Config, DataConfig

CONFIG = Config(data=DataConfig(tokenizer="quantile"))
