"""The GPT, an immutable pytree. What the seed decided, and we keep:

- untied embedding and head, no biases, no learnable norms, no learnable positions
- RMSNorm right after the embedding, before each sub-layer, and before the head
- rotary positions; queries and keys normalised *after* the rotation
- ReLU² MLP, four times as wide as the stream
- vocabulary padded to a multiple of 64 and cropped; logits soft-capped at 15·tanh(x/15)
- zero-initialised head and output projections: a fresh model predicts what it knows of the unigram

What we add, off in the seed's preset: float inputs beside each token, the ordinal basis (model/ordinal.py), dropout,
special tokens that mark time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from mqc_jax.config import ModelConfig
from mqc_jax.kernels.precision import native_precision
from mqc_jax.kernels.products import product
from mqc_jax.model.attention import Attention, KVCache
from mqc_jax.model.layers import dropout, init_linear, linear, relu_squared, rms_norm
from mqc_jax.model.ordinal import N_FUNCTIONS, ordinal_basis
from mqc_jax.model.rope import rope_tables

SOFT_CAP = 15.0
MAX_UNROLL = 12
REMAT = {"dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "all": None}


@dataclass(frozen=True)
class OrdinalBins:
    """What an ordinal model knows of its tokens: two numbers per bin, from the tokenizer."""

    values: tuple[float, ...]  # standardised mean value
    log_masses: tuple[float, ...]  # log share of the training tokens: where the logits start


class MLP(nnx.Module):
    """proj(relu(fc(x))²)."""

    def __init__(self, config: ModelConfig, key: Array):
        self.config = config
        self.fc = nnx.Param(init_linear(key, config.n_embd, 4 * config.n_embd))
        self.proj = nnx.Param(jnp.zeros((4 * config.n_embd, config.n_embd)))

    def __call__(self, x_BTD: Array) -> Array:
        hidden_BTF = relu_squared(linear(x_BTD, self.fc[...], self.config.dtype))
        return linear(hidden_BTF, self.proj[...], self.config.dtype)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, key: Array):
        self.config = config
        attention_key, mlp_key = jax.random.split(key)
        self.attention = Attention(config, attention_key)
        self.mlp = MLP(config, mlp_key)

    def __call__(self, x_BTD, tables, positions_T, cache, layer, key) -> tuple[Array, KVCache | None]:
        rate = self.config.dropout
        attention_key, mlp_key = (None, None) if key is None else jax.random.split(key)
        mixed_BTD, cache = self.attention(rms_norm(x_BTD), tables, positions_T, cache, layer)
        x_BTD = x_BTD + dropout(mixed_BTD, rate, attention_key)
        return x_BTD + dropout(self.mlp(rms_norm(x_BTD)), rate, mlp_key), cache


class GPT(nnx.Module):
    """Tokens (and float inputs) in, logits of the next token out.

    Args:
      config: the architecture.
      key: seeds the initial weights.
      n_inputs: number of float inputs per step, when `config.inputs`.
      bins: value and mass of each token's bin, when `config.ordinal`.

    Raises ValueError when the configuration asks for inputs or bins that are not given.
    """

    def __init__(self, config: ModelConfig, key: Array, n_inputs: int = 0, bins: OrdinalBins | None = None):
        if config.inputs and not n_inputs:
            raise ValueError("inputs=True, but the data has no float inputs; set --no_inputs")
        if config.ordinal and bins is None:
            raise ValueError("ordinal=True, but the tokens have no bin values; set --no_ordinal")
        if config.ordinal and bins is not None and len(bins.values) != config.vocab_size:
            raise ValueError(f"vocab_size={config.vocab_size}, but the tokenizer has {len(bins.values)} bins")
        if config.dtype == "auto":
            config = replace(config, dtype=native_precision())
        self.config = config
        self.bins = bins if config.ordinal else None
        embed_key, input_key, block_key = jax.random.split(key, 3)
        rows = N_FUNCTIONS + config.n_special if config.ordinal else config.padded_vocab_size
        draw = init_linear if config.ordinal else lambda key, *shape: jax.random.normal(key, shape)  # numbers or names
        self.embed = nnx.Param(draw(embed_key, rows, config.n_embd))
        if config.inputs:
            self.embed_inputs = nnx.Param(init_linear(input_key, n_inputs, config.n_embd))
        self.blocks = jax.vmap(lambda k: Block(config, k))(jax.random.split(block_key, config.n_layer))
        self.head = nnx.Param(jnp.zeros((config.n_embd, N_FUNCTIONS if config.ordinal else rows)))

    @overload
    def __call__(self, tokens_BT: Array, inputs_BTF: Array | None = None, *, key: Array | None = None) -> Array: ...
    @overload
    def __call__(
        self, tokens_BT: Array, inputs_BTF: Array | None = None, *, cache: KVCache
    ) -> tuple[Array, KVCache]: ...

    def __call__(self, tokens_BT, inputs_BTF=None, *, cache=None, key=None):
        """Logits of the token after each position, float32 (B, T, V): special tokens are read, never predicted.

        Args:
          tokens_BT: integers in [0, vocab_size + n_special); the caller has checked them.
          inputs_BTF: float inputs known after each token, when the model reads any.
          cache: keys and values of earlier positions; the call then continues behind them and returns (logits, cache).
          key: turns dropout on.
        """
        config = self.config
        start = 0 if cache is None else cache.length
        positions_T = start + jnp.arange(tokens_BT.shape[1])
        embed_key, block_key = (None, None) if key is None else jax.random.split(key)

        with jax.named_scope("embed"):
            x_BTD = self.embed_tokens(tokens_BT)
            if config.inputs:
                if inputs_BTF is None:
                    raise ValueError("this model reads float inputs beside the tokens; pass inputs_BTF")
                x_BTD = x_BTD + linear(inputs_BTF, self.embed_inputs[...], config.dtype)
            x_BTD = dropout(rms_norm(x_BTD), config.dropout, embed_key)

        def block_step(carry, scanned):
            x_BTD, cache = carry
            block, layer = scanned
            layer_key = None if block_key is None else jax.random.fold_in(block_key, layer)
            return block(x_BTD, tables, positions_T, cache, layer, layer_key), None

        with jax.named_scope("blocks"):
            tables = rope_tables(positions_T, config.head_dim, config.rope_dtype)
            layers = (self.blocks, jnp.arange(config.n_layer))
            unroll = config.unroll or (config.n_layer if config.n_layer <= MAX_UNROLL else 1)
            if config.remat != "none":
                block_step = jax.checkpoint(block_step, policy=REMAT[config.remat])
            (x_BTD, cache), _ = jax.lax.scan(block_step, (x_BTD, cache), layers, unroll=unroll)

        with jax.named_scope("head"):
            logits_BTV = self.logits_of(linear(rms_norm(x_BTD), self.head[...], config.dtype, out=jnp.float32))
        if cache is None:
            return logits_BTV
        return logits_BTV, cache._replace(length=cache.length + tokens_BT.shape[1])

    def embed_tokens(self, tokens: Array) -> Array:
        """What tokens of any shape are before float inputs are added, (..., D) in the compute dtype."""
        dtype = self.config.dtype
        if self.bins is None:
            return self.embed[...][tokens].astype(dtype)  # in this order, slopes are summed in float32
        basis_VP = ordinal_basis(np.array(self.bins.values))
        rows_VR = jax.scipy.linalg.block_diag(basis_VP, np.eye(self.config.n_special, dtype=np.float32))
        return linear(rows_VR[tokens], self.embed[...], dtype)

    def logits_of(self, head: Array) -> Array:
        """Logits (..., V) from what the head gives, (..., R) in float32."""
        if self.bins is None:
            return SOFT_CAP * jnp.tanh(head[..., : self.config.vocab_size] / SOFT_CAP)
        basis_VP = jnp.asarray(ordinal_basis(np.array(self.bins.values)))
        return SOFT_CAP * jnp.tanh(product(head, basis_VP.T) / SOFT_CAP) + jnp.asarray(self.bins.log_masses)


def count_parameters(model: GPT) -> int:
    """Number of trained numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(model))
