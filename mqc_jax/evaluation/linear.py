"""The linear map of the model's own inputs: what a transformer has to beat before its attention has done anything.

logits = ln m + B W φ: m the training masses of the tokens, B the ordinal basis of their bins, φ the float inputs after
the last return, the ordinal basis of its token, and 1. No blocks, no context. The loss is convex, so nothing hangs on a
seed: W minimizes cross-entropy plus a ridge.

Axis letters: N rows  X features  P functions of the basis  V tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from data_pipeline.dataset import TokenDataset
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.model.ordinal import ordinal_basis

RIDGE = 1000.0  # nats for a weight of √2 on a standardised feature
MOST_STEPS, TOLERANCE = 50, 1e-6


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Fitted by `fit_linear`."""

    mean_X: np.ndarray
    scale_X: np.ndarray
    weights_XP: np.ndarray
    basis_VP: np.ndarray
    log_masses_V: np.ndarray

    def log_probabilities(self, dataset: TokenDataset, rows: np.ndarray) -> np.ndarray:
        """ln p of the token of each row given the rows before it, (N, V)."""
        features_NX = (_features(dataset, rows - 1, self.basis_VP) - self.mean_X) / self.scale_X
        return log_softmax(features_NX @ self.weights_XP @ self.basis_VP.T + self.log_masses_V, axis=1)


def fit_linear(dataset: TokenDataset, ridge: float = RIDGE) -> LinearMap:
    """Fit to the training rows of all assets together, by Newton's method."""
    tokenizer = dataset.tokenizer
    assert isinstance(tokenizer, ReturnTokenizer)
    rows = np.setdiff1d(dataset.training_rows(), dataset.segments[:, 1])  # a piece's first has nothing before it
    basis_VP = ordinal_basis(tokenizer.bin_values).astype(np.float64)
    features_NX = _features(dataset, rows - 1, basis_VP)
    mean_X, scale_X = features_NX.mean(axis=0), features_NX.std(axis=0)
    mean_X[-1], scale_X[scale_X == 0] = 0.0, 1.0  # the last is the constant 1
    features_NX = (features_NX - mean_X) / scale_X
    tokens_N = np.asarray(dataset.tokens[rows], np.int64)
    log_masses_V = np.log(tokenizer.bins.masses)
    weights_XP = np.zeros((len(mean_X), basis_VP.shape[1]))

    def loss(weights_XP: np.ndarray) -> tuple[float, np.ndarray]:
        log_p_NV = log_softmax(features_NX @ weights_XP @ basis_VP.T + log_masses_V, axis=1)
        nats = -np.take_along_axis(log_p_NV, tokens_N[:, None], axis=1).sum()
        return float(nats + ridge / 2 * (weights_XP**2).sum()), np.exp(log_p_NV)

    value, p_NV = loss(weights_XP)
    for _ in range(MOST_STEPS):
        step_XP = _newton_step(features_NX, basis_VP, p_NV, tokens_N, weights_XP, ridge)
        while (found := loss(weights_XP - step_XP))[0] > value and np.abs(step_XP).max() > TOLERANCE:
            step_XP /= 2
        weights_XP, (value, p_NV) = weights_XP - step_XP, found
        if np.abs(step_XP).max() < TOLERANCE:
            break
    return LinearMap(mean_X, scale_X, weights_XP, basis_VP, log_masses_V)


def _newton_step(
    features_NX: np.ndarray,
    basis_VP: np.ndarray,
    p_NV: np.ndarray,
    tokens_N: np.ndarray,
    weights_XP: np.ndarray,
    ridge: float,
) -> np.ndarray:
    n_features, n_functions = weights_XP.shape
    mean_NP = p_NV @ basis_VP
    gradient_XP = features_NX.T @ (mean_NP - basis_VP[tokens_N]) + ridge * weights_XP
    squares_VR = (basis_VP[:, :, None] * basis_VP[:, None, :]).reshape(len(basis_VP), -1)
    covariance_NR = p_NV @ squares_VR - (mean_NP[:, :, None] * mean_NP[:, None, :]).reshape(len(mean_NP), -1)
    pairs_NY = (features_NX[:, :, None] * features_NX[:, None, :]).reshape(len(features_NX), -1)
    blocks = (pairs_NY.T @ covariance_NR).reshape(n_features, n_features, n_functions, n_functions)
    hessian = blocks.transpose(0, 2, 1, 3).reshape(2 * [n_features * n_functions])
    hessian += ridge * np.eye(len(hessian))
    return np.linalg.solve(hessian, gradient_XP.ravel()).reshape(weights_XP.shape)


def _features(dataset: TokenDataset, rows: np.ndarray, basis_VP: np.ndarray) -> np.ndarray:
    assert dataset.market is not None
    tokens = dataset.tokens[rows]
    is_return = (tokens < len(basis_VP))[:, None]
    own_NP = np.where(is_return, basis_VP[np.minimum(tokens, len(basis_VP) - 1)], 0.0)  # a special token has no value
    return np.concatenate([dataset.market.inputs[rows], own_NP, np.ones((len(rows), 1))], axis=1)
