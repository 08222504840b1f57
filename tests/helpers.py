"""Small models and data that many tests share."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from data_pipeline import DataConfig, ReturnSeries, TokenDataset, build_dataset
from data_pipeline.tokenizers import Fitted
from mqc_jax.config import ModelConfig
from mqc_jax.model import GPT, OrdinalBins
from mqc_jax.training.batches import Feed, draw_windows, read_windows
from mqc_jax.training.step import Batch, take_step

TINY = ModelConfig(sequence_len=16, vocab_size=70, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)
RICH = ModelConfig(
    sequence_len=16, vocab_size=70, n_layer=2, n_head=4, n_kv_head=4, n_embd=32, inputs=True, ordinal=True, dropout=0.2
)
N_INPUTS = 8

train_step = partial(jax.jit, static_argnames=("tx", "config"), donate_argnames="state")(take_step)


def random_model(config: ModelConfig, seed: int) -> GPT:
    """A model whose every parameter is random: the zero-initialised head would make fresh ones agree by accident."""
    values = np.linspace(-2.5, 2.5, config.vocab_size)
    bins = OrdinalBins(tuple(values), tuple(np.full(config.vocab_size, -np.log(config.vocab_size))))
    model = GPT(config, jax.random.key(seed), N_INPUTS, bins)
    leaves, structure = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    random = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, random)


def random_tokens(config: ModelConfig, shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed + 100), shape, 0, config.vocab_size)


def random_inputs(config: ModelConfig, shape: tuple[int, ...], seed: int = 0) -> jax.Array | None:
    return jax.random.normal(jax.random.key(seed + 200), (*shape, N_INPUTS)) if config.inputs else None


def training_batch(
    dataset: TokenDataset, starts, length: int, size: int, *, seed: int, step: int, inputs: bool
) -> Batch:
    """The batch that training would see."""
    windows = draw_windows(dataset, starts, length, size, seed=seed, steps=[step]).at(0)
    config = ModelConfig(sequence_len=length, vocab_size=dataset.tokenizer.vocab_size, n_special=dataset.n_special)
    return read_windows(*Feed(dataset, inputs)(windows, length), config)


def garch_series(n: int, seed: int, unique_id: str = "A", start: str = "2000-01-03") -> ReturnSeries:
    """Daily returns with the volatility clusters of a GARCH(1,1)-t."""
    rng = np.random.default_rng(seed)
    shock = rng.standard_t(6, n) * np.sqrt(4 / 6)
    returns, variance = np.empty(n), 1e-4
    for t in range(n):
        returns[t] = np.sqrt(variance) * shock[t]
        variance = 2e-6 + 0.08 * returns[t] ** 2 + 0.9 * variance
    times = (np.datetime64(start, "D") + np.arange(n)).astype("datetime64[ns]")
    return ReturnSeries(unique_id, times, 100 * np.exp(np.cumsum(returns)), returns)


def dataset_of(
    series: list[ReturnSeries], tokenizer: str | Fitted = "volatility", vocab_size: int = 128, **fields
) -> TokenDataset:
    """A dataset in memory; `fields` are those of DataConfig."""
    if isinstance(tokenizer, str):
        return build_dataset(series, DataConfig("test", tokenizer=tokenizer, **fields), vocab_size=vocab_size)
    return build_dataset(series, DataConfig("test", **fields), tokenizer=tokenizer)
