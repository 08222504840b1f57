"""Tokens as numbers: smooth functions of a bin's mean value, for the embedding and for the logits.

A free vector per bin needs thousands of returns to learn that bin 63 lies between 62 and 64. A few fixed functions of
the bin's standardised mean value say so from the start: level, size, sign, and how far out in the tails.
"""

from __future__ import annotations

import numpy as np

N_FUNCTIONS = 8


def ordinal_basis(values_V: np.ndarray) -> np.ndarray:
    """Eight functions of each bin's standardised mean value, each of mean 0 and variance 1 over bins: (V, 8)."""
    v = np.asarray(values_V, np.float64)
    tail = np.log1p(v**2 / 6)  # the log density of a Student t with 6 degrees of freedom, up to a factor
    functions = [
        v,
        tail,
        np.abs(v),
        np.tanh(2 * v),
        np.exp(-((v / 0.3) ** 2)),
        np.tanh(v) * tail,
        v**2,
        np.exp(-((v / 0.8) ** 2)),
    ]
    basis = np.stack(functions, axis=-1)
    return ((basis - basis.mean(0)) / basis.std(0)).astype(np.float32)
