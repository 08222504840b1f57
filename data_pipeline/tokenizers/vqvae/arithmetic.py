"""Arithmetic that is never rounded, so that tokens are the same bit for bit, always.

A floating-point sum depends on the order of its terms, and that depends on shapes, libraries and machines; a patch
that lies between two codes would then be one token or the other. So the network that makes tokens has weights,
activations and codes that are whole multiples of 1/GRID, within bounds that keep every sum of products below 2⁵³ units
of 1/GRID². Float64 holds such sums exactly, in any order. What is left, + − × ÷ √ of single numbers, IEEE 754 fixes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GRID = 2.0**16
LIMIT = 64.0  # bounds activations, of which codes are averages
LARGEST = 16.0  # bounds weights and biases
WIDEST = 512  # bounds channels: sums of 1 + 3 · 512 products of LIMIT · LARGEST, 2⁴² units each
WIDEST_CODE = 128  # bounds code widths: distances sum 3 · 128 products of LIMIT · LIMIT, 2⁴⁴ units each


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest multiples of 1/GRID."""
    return np.round(x * GRID) / GRID


def fixed_point(x: Any) -> np.ndarray:
    """Trained float32 numbers as float64 multiples of 1/GRID, which float32 holds exactly."""
    return rounded(np.asarray(x, np.float64))


def read_fixed_point(numbers: Any, ndim: int, largest: float) -> np.ndarray:
    """Nested lists of `fixed_point` numbers within ±largest. Raises ValueError when they are not that."""
    array = np.asarray(numbers, np.float64)
    if array.ndim != ndim or not array.size or not (np.abs(array) <= largest).all():
        raise ValueError(f"numbers of shape {array.shape} are not {ndim} axes of numbers within ±{largest}")
    if (array != rounded(array)).any():
        raise ValueError(f"numbers of shape {array.shape} are not all multiples of 1/{GRID:.0f}")
    return array


def squash(log_returns: np.ndarray, mean: float, scale: float) -> np.ndarray:
    """z = (r − mean) / scale as ±(√(1 + 2|z|) − 1): like z near zero, like √|z| in the tails.

    What a squared error is taken of decides what the codes are spent on. Crude oil's training dates, with z, √ and
    arsinh z: an error of 1.4, 2.1 and 3.3 % on the largest 1 % of moves, for which 14, 9 and 9 % of the codes mostly
    stand, and codes worth 90, 103 and 105 equal ones. R² of the S&P 500's later returns is 0.971, 0.971 and 0.969.
    Unlike arsinh, √ is also the same on every machine.
    """
    z = (log_returns - mean) / scale
    return np.clip(np.copysign(np.sqrt(1 + 2 * np.abs(z)) - 1, z), -LIMIT, LIMIT)


def unsquash(x: np.ndarray, mean: float, scale: float) -> np.ndarray:
    """The log returns that `squash` takes to x."""
    return mean + scale * np.copysign(((np.abs(x) + 1) ** 2 - 1) / 2, x)


def relative_distances(z_ND: Any, codes_KD: Any) -> Any:
    """‖z − code‖² − ‖z‖², shape (N, K), of NumPy or JAX arrays; the nearest code has the smallest."""
    return (codes_KD**2).sum(-1) - 2 * (z_ND @ codes_KD.T)
