"""S0 and S1: tokens without memory, and tokens that depend on the last one or two.

Axis letters: C histories  T time  S contexts  K tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from data_pipeline.sources.processes import Iid
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.tails import PRIOR_SHAPE, Tail
from mqc_jax.evaluation.known_answer.floors import entropy
from mqc_jax.evaluation.known_answer.student import bin_masses
from mqc_jax.evaluation.known_answer.task import Simulated, Task, generators, innovations

LAW = Iid()
STEP = 0.002  # between the levels of a Markov chain, as log returns


@dataclass(frozen=True)
class Independent(Task):
    """S0: independent draws of a Student t, binned."""

    law: Iid = LAW

    @cached_property
    def masses(self) -> np.ndarray:
        """The law of every token, (K,)."""
        return bin_masses(self.bins.edges, self.law.mean, self.law.volatility, self.law.nu)

    @property
    def entropy_rate(self) -> float:
        """The floor in closed form, nats per token."""
        return float(entropy(self.masses))

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        return np.tile(self.masses, (len(simulated.tokens[rows]), 1))

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, None]:
        z_CT = innovations([self.law.nu] * n_histories, length, seed)
        return self.law.mean + self.law.volatility * z_CT, None


@dataclass(frozen=True)
class MarkovTokens(Task):
    """S1: a chain of the given order over K tokens, its rows drawn from a flat Dirichlet law.

    Before its first token a history is taken to have seen token 0, `order` times.
    """

    order: int = 1
    n_levels: int = 32
    matrix_seed: int = 0
    ordered: ClassVar[bool] = False

    @cached_property
    def transition(self) -> np.ndarray:
        """Law of the next token in each context, (S, K); the context is the last `order` tokens as digits of base K."""
        rng = np.random.default_rng(self.matrix_seed)
        return rng.dirichlet(np.ones(self.n_levels), self.n_levels**self.order)

    @cached_property
    def stationary(self) -> np.ndarray:
        """The share of time spent in each context, (S,): a step drops the oldest token and appends the next."""
        share, before = np.full(len(self.transition), 1 / len(self.transition)), np.inf
        while np.abs(share - before).max() > 1e-15:
            before = share
            joint = (share[:, None] * self.transition).reshape(self.n_levels, -1)
            share = joint.sum(axis=0) / joint.sum()
        return share

    @property
    def entropy_rate(self) -> float:
        """The floor in closed form, nats per token: −Σ_s π_s Σ_k P_sk ln P_sk."""
        return float(self.stationary @ entropy(self.transition))

    @cached_property
    def bins(self) -> Bins:
        """Equally spaced levels, so that the tokens can pass for returns."""
        levels = STEP * (np.arange(self.n_levels) - (self.n_levels - 1) / 2)
        share = self.stationary.reshape(-1, self.n_levels).sum(axis=0)
        tail = Tail(PRIOR_SHAPE, STEP)
        return Bins((levels[1:] + levels[:-1]) / 2, levels, share, tail, tail)

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, None]:
        draws_CT = np.stack([rng.random(length) for rng in generators(seed, n_histories)])
        borders_SK = np.cumsum(self.transition, axis=1)[:, :-1]
        tokens_CT = np.empty(draws_CT.shape, np.int64)
        context_C = np.zeros(n_histories, np.int64)
        for t in range(length):
            tokens_CT[:, t] = (borders_SK[context_C] <= draws_CT[:, t, None]).sum(axis=1)
            context_C = (context_C * self.n_levels + tokens_CT[:, t]) % len(self.transition)
        return self.bins.values[tokens_CT], None

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        context_CT = np.zeros(simulated.tokens_CT.shape, np.int64)
        for lag in range(1, self.order + 1):
            context_CT[:, lag:] += simulated.tokens_CT[:, :-lag] * self.n_levels ** (lag - 1)
        return self.transition[context_CT.ravel()[rows]]
