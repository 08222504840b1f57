"""The exact law of the next return: one pass of the model, no sampling.

Axis letters: N series  M points or levels  B batch  T time  V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.forecasting.histories import Past
from mqc_jax.forecasting.history import History
from mqc_jax.laws.token_law import TokenLaw
from mqc_jax.model import GPT

BATCH = 64


@dataclass(frozen=True, eq=False)
class NextReturn:
    """Laws of the next log return of N series; methods answer with a row for each of them."""

    unique_ids: tuple[str, ...]
    ds: np.ndarray  # (N,) datetime64[ns] of the bar forecast; NaT where no calendar knows it
    cutoffs: np.ndarray  # (N,) datetime64[ns] of the last bar seen
    last_prices: np.ndarray  # (N,)
    in_sample: tuple[bool, ...]  # whether each cut-off lies in the years that the run was fitted on
    law: TokenLaw

    def __len__(self) -> int:
        return len(self.unique_ids)

    def density(self, x: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """Per unit of log return, at M points, (N, M)."""
        columns = [np.exp(self.law.log_density(np.full(len(self), point))) for point in np.atleast_1d(x)]
        return np.stack(columns, axis=1)

    def cdf(self, x: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """P(log return ≤ x) at M points, (N, M)."""
        return self.law.cdf(np.tile(np.atleast_1d(np.asarray(x, np.float64)), (len(self), 1)))

    def quantile(self, levels: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """Log returns not exceeded with these probabilities, (N, M). Raises BadInput outside (0, 1)."""
        return self.law.quantile(np.atleast_1d(np.asarray(levels, np.float64)))

    def expected_shortfall(self, levels: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """Mean log return below each quantile, (N, M); negative for small levels. Raises BadInput outside (0, 1]."""
        return self.law.expected_shortfall(np.atleast_1d(np.asarray(levels, np.float64)))


def law_of_next(model: GPT, tokenizer: ReturnTokenizer, pasts: Sequence[Past]) -> TokenLaw:
    """The laws of the returns that follow N histories."""
    masses_NV = np.concatenate(
        [_masses(model, [past.history for past in pasts[k : k + BATCH]]) for k in range(0, len(pasts), BATCH)]
    )
    states = [past.history.state for past in pasts]
    known_N = np.array([tokenizer.scaling.known_next(state) for state in states if state is not None])
    return TokenLaw(tokenizer, known_N, masses_NV)


def _masses(model: GPT, histories: Sequence[History]) -> np.ndarray:
    """Probabilities of the token after each of at most BATCH histories, float64, (N, V)."""
    length = model.config.sequence_len
    tokens_BT = np.zeros(
        (BATCH, length), np.int32
    )  # one shape, one compilation; what follows a token is not seen by it
    inputs_BTF, last_B = None, np.zeros(BATCH, np.int32)
    if model.config.inputs:
        inputs_BTF = np.zeros((BATCH, length, model.embed_inputs.shape[0]), np.float32)
    for row, history in enumerate(histories):
        n = len(history.tokens)
        tokens_BT[row, :n], last_B[row] = history.tokens, n - 1
        if inputs_BTF is not None and history.inputs is not None:
            inputs_BTF[row, :n] = history.inputs
    logits_BV = np.asarray(_last_logits(model, tokens_BT, inputs_BTF, last_B), np.float64)[: len(histories)]
    masses_NV = np.exp(logits_BV - logits_BV.max(axis=1, keepdims=True))
    return masses_NV / masses_NV.sum(axis=1, keepdims=True)


@jax.jit
def _last_logits(model: GPT, tokens_BT: Array, inputs_BTF: Array | None, last_B: Array) -> Array:
    return jnp.take_along_axis(model(tokens_BT, inputs_BTF), last_B[:, None, None], axis=1)[:, 0]
