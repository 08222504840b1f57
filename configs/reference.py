"""The model that the original train.py fits: 6 layers of width 512, context 256; 19,005,440 parameters.

    python train.py --config reference

For comparisons with the original. On the bundled 12,160 training returns an epoch is 3 steps; with `--num_epochs 2` it
took 100 s on two busy cores. Best validation loss 4.8313 nats/token in epoch 1, 4.8553 in epoch 2: from there it
overfits. The full 10 epochs were not run.
"""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(sequence_len=256, n_layer=6, dtype="auto"),
    data=DataConfig(tokenizer="quantile"),
    train=TrainConfig(schedule="cosine_by_epoch"),
)
