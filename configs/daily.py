"""The default: a model of the size that 12,000 training returns can carry."""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        sequence_len=128, n_layer=2, n_head=4, n_kv_head=4, n_embd=32, inputs=True, ordinal=True, dropout=0.3
    ),
    data=DataConfig(tokenizer="volatility"),
    train=TrainConfig(num_epochs=40, learning_rate=2e-3, warmup_steps=20, weight_decay=2.0, beta2=0.98, patience=10),
)
