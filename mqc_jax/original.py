"""Weights of the original PyTorch project, by the names its checkpoints use."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import BadInput
from mqc_jax.checkpoint import by_path
from mqc_jax.config import ModelConfig
from mqc_jax.model import GPT

# our parameter of all layers: the original's name inside one layer
BLOCK_NAMES = {
    ".attention.query": "attn.c_q",
    ".attention.key": "attn.c_k",
    ".attention.value": "attn.c_v",
    ".attention.out": "attn.c_proj",
    ".mlp.fc": "mlp.c_fc",
    ".mlp.proj": "mlp.c_proj",
}


def from_original(config: ModelConfig, weights: Mapping[str, np.ndarray], where: str) -> GPT:
    """A model with the original's weights (`transformer.wte.weight`, …), which are stored (fan_out, fan_in).

    Raises BadInput naming the parameter that is missing, left over or of another shape than `config` says.
    """
    weights = {name.removeprefix("_orig_mod.").removeprefix("module."): value for name, value in weights.items()}
    left = set(weights)

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in weights:
            raise BadInput(f"{where}: no parameter {name!r}; is this a checkpoint of the original's GPT?")
        left.discard(name)
        if weights[name].shape != shape:
            raise BadInput(f"{where}: {name} has shape {weights[name].shape}, the configuration says {shape}")
        return np.asarray(weights[name], np.float32)

    def fill(name: str, leaf: jax.Array) -> jax.Array:
        if name == ".embed":
            return jnp.asarray(take("transformer.wte.weight", leaf.shape))
        if name == ".head":
            return jnp.asarray(take("lm_head.weight", leaf.shape[::-1]).T)
        inner = BLOCK_NAMES[name.removeprefix(".blocks")]
        layers = [f"transformer.h.{layer}.{inner}.weight" for layer in range(config.n_layer)]
        return jnp.stack([take(layer, leaf.shape[:0:-1]).T for layer in layers])

    template = jax.eval_shape(lambda: GPT(config, jax.random.key(0)))
    leaves = [fill(name, leaf) for name, leaf in by_path(template).items()]
    model = jax.tree.unflatten(jax.tree.structure(template), leaves)
    unknown = sorted(name for name in left if not name.endswith(("cos", "sin")))
    if unknown:
        raise BadInput(f"{where}: parameters {unknown[:3]} are not the original's GPT; {len(unknown)} left over")
    return model
