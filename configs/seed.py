"""The seed's model: 8 layers of width 512 over 512 raw quantile tokens; 25,296,896 parameters.

    python train.py --config seed

Made for a GPU and for more data than the bundled 12,160 training returns, on which it overfits. Not run to its end on a
CPU. With `--n_layer 4` (12.7 million parameters) its 10 epochs of 1 step took 131 s on two busy cores; the best
validation loss, 4.8375 nats/token in epoch 3, is little better than the 4.8520 (ln 128) of equal bins.
"""

from mqc_jax.config import Config, DataConfig, ModelConfig

CONFIG = Config(model=ModelConfig(dtype="auto"), data=DataConfig(tokenizer="quantile"))
