"""The default: a model of the size that 12,000 daily returns can carry.

    python train.py

Two layers of width 32 on volatility tokens, with float inputs and the ordinal basis; 25,344 parameters, most of the
restraint in dropout, weight decay and the mean of the weights. On two CPU cores 192 steps take about 25 seconds,
compilation included. On the bundled prices, seed 0: best validation loss 4.7537 nats/token (epoch 28), test 2014-2018
4.7675, where the training histogram of the same tokens scores 4.7871. The recipe is a prototype's, chosen on 2011-2013;
the prototype had looked at 2014-2018 too. The mean of the weights and the scale of the embedding were chosen on
2001-2004.
"""

from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        sequence_len=128, n_layer=2, n_head=4, n_kv_head=4, n_embd=32, inputs=True, ordinal=True, dropout=0.3
    ),
    data=DataConfig(tokenizer="volatility"),
    train=TrainConfig(
        num_epochs=32,
        learning_rate=2e-3,
        warmup_steps=20,
        weight_decay=2.0,
        beta2=0.98,
        average_decay=0.98,
        patience=10,
    ),
)
