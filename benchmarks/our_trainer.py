"""Our engine's steps, dispatched as training does, and what their compiled program looks like."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline import TokenDataset
from mqc_jax.config import Config
from mqc_jax.training.dispatch import take_steps
from mqc_jax.training.loop import Sitting


class OurTrainer(Sitting):
    """Training from its first weights, on one device, that saves nothing."""

    def __init__(self, config: Config, dataset: TokenDataset):
        no_checkpoints: Any = None
        alone = replace(config, train=replace(config.train, mesh="data=1"))
        super().__init__(alone, dataset, Path(), no_checkpoints, resume=False)

    def steps(self, first: int, n: int) -> list[float]:
        """Take n steps from step `first`; their losses before each update, nats."""
        found = []
        for step in range(first, first + n, self.at_once):
            self.done = step
            found.append(self.dispatch(min(self.at_once, first + n - step)))
        return [float(loss) for one in found for loss in jax.device_get(one.metrics)["loss"][: one.n_steps]]

    def compiled(self) -> Any:
        """The program of one dispatch."""
        given, static = self.arguments(1)
        return take_steps.lower(*given, **static).compile()


def peak_bytes(compiled: Any) -> int:
    """Memory that a program needs at once: arguments, results and scratch, what is overwritten counted once."""
    sizes = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    )


def attention_faults(config: Config, dataset: TokenDataset) -> list[str]:
    """What is wrong with attention in a GPU's program: not cuDNN's kernel, or all scores in memory at once."""
    model = config.model
    if model.sequence_len == model.n_embd:  # else (L, B, T, D) of the layers could be taken for (N, B, T, T)
        config = replace(config, model=replace(model, sequence_len=model.sequence_len // 2 + 64))
    return scores_and_kernel(OurTrainer(config, dataset).compiled().as_text(), config)


def scores_and_kernel(program: str, config: Config) -> list[str]:
    """`attention_faults` of a program's text."""
    length = config.model.sequence_len
    size = config.train.batch_size * config.model.n_head * length**2
    shapes = {tuple(map(int, dims.split(","))) for dims in re.findall(r"\w+\[(\d+(?:,\d+)+)\]", program)}
    scores = [shape for shape in shapes if shape[-2:] == (length, length) and math.prod(shape) >= size]
    faults = [] if "__cudnn$fmha" in program else ["no __cudnn$fmha call"]
    return faults + [f"a buffer of shape {list(shape)}" for shape in sorted(scores)]


def matmul_ceiling(config: Config, seconds: float = 0.3) -> float:
    """FLOP/s of the fastest of the network's matrix products by themselves, in float32 and in bfloat16."""
    return max(_rate(shape, dtype, seconds) for shape in _products(config) for dtype in (jnp.float32, jnp.bfloat16))


def _products(config: Config) -> Iterator[tuple[int, int, int]]:
    rows, width = config.tokens_per_step, config.model.n_embd
    yield rows, width, width
    yield rows, width, 4 * width
    yield rows, 4 * width, width


def _rate(shape: tuple[int, int, int], dtype: Any, seconds: float) -> float:
    m, k, n = shape
    product = jax.jit(lambda x, y: jnp.dot(x, y, preferred_element_type=jnp.float32))
    x, y = (jax.random.normal(jax.random.key(0), size, dtype) for size in ((m, k), (k, n)))
    product(x, y).block_until_ready()
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds or len(rates) < 3:
        start = time.perf_counter()
        for _ in range(4):
            last = product(x, y)
        last.block_until_ready()
        rates.append(4 * 2 * m * k * n / (time.perf_counter() - start))
    return float(np.max(rates))
