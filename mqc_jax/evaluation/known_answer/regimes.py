"""S4: a hidden Markov chain of three regimes, seen through tokens.

Axis letters: C histories  T time  S regimes  K tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_pipeline.sources.processes import Hmm, stationary_law
from data_pipeline.tokenizers.bins import Bins
from mqc_jax.evaluation.known_answer.student import bin_masses
from mqc_jax.evaluation.known_answer.task import Simulated, Task, generators

LAW = Hmm()


def forward_filter(
    start_S: np.ndarray, transition_SS: np.ndarray, masses_SK: np.ndarray, tokens_CT: np.ndarray
) -> np.ndarray:
    """P(regime at t | tokens before t), (C, T, S): predict, weigh by the token, step; Baum et al. (1970)."""
    regimes_CTS = np.empty((*tokens_CT.shape, len(start_S)))
    regime_CS = np.tile(start_S, (len(tokens_CT), 1))
    for t in range(tokens_CT.shape[1]):
        regimes_CTS[:, t] = regime_CS
        joint_CS = regime_CS * masses_SK[:, tokens_CT[:, t]].T
        regime_CS = joint_CS / joint_CS.sum(axis=1, keepdims=True) @ transition_SS
    return regimes_CTS


@dataclass(frozen=True)
class Regimes(Task):
    """A history begins in the stationary law of its regimes."""

    law: Hmm = LAW

    @cached_property
    def masses(self) -> np.ndarray:
        """The law of a token in each regime, (S, K)."""
        return bin_masses(self.bins.edges, np.array(self.law.mean), np.array(self.law.volatility), self.law.nu)

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        start, transition = stationary_law(self.law.transition), np.array(self.law.transition)
        regimes_CTS = forward_filter(start, transition, self.masses, simulated.tokens_CT)
        return regimes_CTS.reshape(-1, len(start))[rows] @ self.masses

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, None]:
        return np.stack([self.law.simulate(length, rng) for rng in generators(seed, n_histories)]), None
