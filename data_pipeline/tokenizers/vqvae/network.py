"""The causal convolutions of the VQ-VAE, as immutable pytrees.

The same lines run on float32 JAX arrays, where the network is trained, and on fixed-point NumPy arrays, where tokens
are made (arithmetic.py says why).

Axis letters: B batch  T patches in time  C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from flax import nnx

from data_pipeline.tokenizers.vqvae.arithmetic import LARGEST, LIMIT, WIDEST, fixed_point, read_fixed_point

TAPS = 3
DILATIONS = (1, 2, 1)  # of the convolutions of a stack: its output depends on this patch and the 8 before it


class CausalConv(nnx.Module):
    """y_t = bias + Σ_k x_{t − k · dilation} weight_k, where x is zero before its first step."""

    def __init__(self, weight: Any, bias: Any, dilation: int):
        self.weight = nnx.Param(weight)  # (TAPS, C_in, C_out), the present first
        self.bias = nnx.Param(bias)  # (C_out,)
        self.dilation = dilation

    @property
    def context(self) -> int:
        return (TAPS - 1) * self.dilation

    def __call__(self, x_BTC: Any) -> Any:
        xp, steps = x_BTC.__array_namespace__(), x_BTC.shape[-2]
        before = xp.zeros((*x_BTC.shape[:-2], self.context, x_BTC.shape[-1]), dtype=x_BTC.dtype)
        padded = xp.concat([before, x_BTC], axis=-2)
        y_BTC = self.bias[...]
        for k in range(TAPS):
            shift = self.context - k * self.dilation
            y_BTC = y_BTC + padded[..., shift : shift + steps, :] @ self.weight[k]
        return y_BTC

    def to_json(self) -> dict[str, Any]:
        return {"weight": self.weight[...].tolist(), "bias": self.bias[...].tolist(), "dilation": self.dilation}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> CausalConv:
        """Rebuild from `to_json`. Raises ValueError for what cannot be a convolution."""
        weight, bias = (read_fixed_point(fields[name], ndim, LARGEST) for name, ndim in (("weight", 3), ("bias", 1)))
        if weight.shape[0] != TAPS or max(weight.shape) > WIDEST or bias.shape != weight.shape[2:]:
            raise ValueError(f"weights of shape {weight.shape} and biases of shape {bias.shape} are no convolution")
        return cls(weight, bias, fields["dilation"])


class Stack(nnx.Module):
    """Causal convolutions with ReLUs between them, (…, T, C_in) to (…, T, C_out); activations are cut at ±LIMIT."""

    def __init__(self, layers: Sequence[CausalConv]):
        self.layers = nnx.List(layers)

    @property
    def context(self) -> int:
        """How many earlier steps an output depends on."""
        return sum(layer.context for layer in self.layers)

    @property
    def widths(self) -> tuple[int, int]:
        return self.layers[0].weight.shape[1], self.layers[-1].weight.shape[2]

    def __call__(self, x_BTC: Any, rounded: Callable[[Any], Any] = lambda x: x) -> Any:
        """`rounded` is applied to the output of every layer."""
        xp = x_BTC.__array_namespace__()
        for layer in self.layers[:-1]:
            x_BTC = rounded(xp.clip(layer(x_BTC), 0.0, LIMIT))
        return rounded(xp.clip(self.layers[-1](x_BTC), -LIMIT, LIMIT))

    def to_json(self) -> list[dict[str, Any]]:
        return [layer.to_json() for layer in self.layers]

    @classmethod
    def from_json(cls, layers: list[dict[str, Any]]) -> Stack:
        """Rebuild from `to_json`. Raises ValueError for what cannot be a stack."""
        stack = cls([CausalConv.from_json(layer) for layer in layers])
        shapes = [layer.weight.shape for layer in stack.layers]
        joined = all(out == following[1] for (_, _, out), following in pairwise(shapes))
        if not joined or tuple(layer.dilation for layer in stack.layers) != DILATIONS:
            raise ValueError(f"convolutions of shapes {shapes} are no stack of {len(DILATIONS)}")
        return stack


def random_stack(rng: np.random.Generator, width_in: int, hidden: int, width_out: int) -> Stack:
    """He-normal weights for the present, zero for the past; float32.

    A stack that starts random in the past spends its codes on telling one past from another, and never finds out:
    R² of the S&P 500's returns is then 0.17 instead of 0.97.
    """
    widths = (width_in, hidden, hidden, width_out)
    layers = []
    for c_in, c_out, dilation in zip(widths[:-1], widths[1:], DILATIONS, strict=True):
        weight = np.zeros((TAPS, c_in, c_out), np.float32)
        weight[0] = rng.normal(scale=(2 / c_in) ** 0.5, size=(c_in, c_out))
        layers.append(CausalConv(weight, np.zeros(c_out, np.float32), dilation))
    return Stack(layers)


def fixed_point_stack(stack: Stack) -> Stack:
    """A trained stack with the NumPy weights that make tokens."""
    return jax.tree.map(fixed_point, stack)
