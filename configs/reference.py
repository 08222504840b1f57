"""The model that the original train.py fits."""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(sequence_len=256, n_layer=6),
    data=DataConfig(tokenizer="quantile"),
    train=TrainConfig(schedule="epoch"),
)
