"""For tests and first steps: trains in seconds, forecasts poorly.

    python train.py --config tiny

One layer of width 16; 3,200 parameters, 24 steps, about 4 seconds on two CPU cores. On the bundled prices, seed 0:
best validation loss 4.7724 nats/token, no better than the histogram.
"""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(sequence_len=32, n_layer=1, n_head=2, n_kv_head=1, n_embd=16, inputs=True, ordinal=True),
    data=DataConfig(tokenizer="volatility"),
    train=TrainConfig(num_epochs=2, batch_size=64, learning_rate=3e-3),
)
