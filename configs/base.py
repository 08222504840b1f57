"""Weights for `daily` to start from: the same network, trained on simulated markets.

    python train.py --config base
    python train.py --init_from runs/base

A thousand assets of 2,000 days, each with parameters of its own (`synthetic:market`); no real price is seen. On two CPU
cores 2,376 steps took 346 s.
"""

from dataclasses import replace

from configs import daily
from mqc_jax.config import Config, DataConfig, TrainConfig

CONFIG = Config(
    model=replace(daily.CONFIG.model, dropout=0.0),
    data=DataConfig("synthetic:market?symbols=1000&bars=2000"),
    train=TrainConfig(
        num_epochs=8,
        batch_size=64,
        learning_rate=3e-3,
        warmup_steps=100,
        weight_decay=0.1,
        beta2=0.98,
        average_decay=0.99,
    ),
)
